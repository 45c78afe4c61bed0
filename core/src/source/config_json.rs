//! The configuration from a config.json of Hugging Face's transformers, whose families call the same sizes by different names.

use super::{Anatomy, LongRope, ModelConfig, Positions, Rope, RopeLayout, RopeScaling, anatomy_json};
use crate::report::{NoticeKind, Reporter};
use serde_json::Value;

/// What transformers calls an architecture that llama.cpp calls otherwise.
const ARCHITECTURES: &[(&str, &str)] = &[
    ("mistral", "llama"),
    ("mixtral", "llama"),
    ("qwen2_moe", "qwen2moe"),
    ("qwen3_moe", "qwen3moe"),
    ("gemma3_text", "gemma3"),
    ("gpt_neox", "gptneox"),
    ("gpt_bigcode", "starcoder"),
    ("cohere", "command-r"),
    ("deepseek_v2", "deepseek2"),
    ("deepseek_v3", "deepseek2"),
];

/// The part of a config.json that describes the language model.
pub(super) fn text_part(json: &Value) -> &Value {
    json.get("text_config").filter(|t| t.is_object() && json.get("hidden_size").is_none()).unwrap_or(json)
}

/// Whether the head is said to be the embedding. Families differ in the default, so silence is not yes.
pub(super) fn ties_head(json: &Value) -> bool {
    [text_part(json), json].iter().any(|part| part.get("tie_word_embeddings").and_then(Value::as_bool) == Some(true))
}

/// Reads what the config.json says.
pub(super) fn from_json(json: &Value, reporter: &Reporter) -> ModelConfig {
    let json = text_part(json);
    let size = |keys: &[&str]| keys.iter().find_map(|key| json.get(key)?.as_u64()).and_then(|v| usize::try_from(v).ok()).unwrap_or(0);
    let mut config = ModelConfig::unknown();
    let kind = json.get("model_type").and_then(Value::as_str).unwrap_or_default();
    config.architecture = ARCHITECTURES.iter().find(|(hf, _)| *hf == kind).map_or(kind, |(_, name)| name).to_owned();
    config.name = json.get("_name_or_path").and_then(Value::as_str).and_then(|n| n.rsplit(['/', '\\']).find(|p| !p.is_empty())).map(str::to_owned);
    config.block_count = size(&["num_hidden_layers", "n_layer", "n_layers", "num_layers"]);
    config.hidden_size = size(&["hidden_size", "n_embd", "d_model", "dim"]);
    config.intermediate_size = size(&["intermediate_size", "n_inner", "ffn_dim", "d_ff", "hidden_dim"]);
    config.head_count = size(&["num_attention_heads", "n_head", "n_heads", "num_heads"]);
    config.kv_head_count = match size(&["num_key_value_heads"]) {
        0 => config.head_count,
        heads => heads,
    };
    config.head_dim = match size(&["head_dim"]) {
        0 => config.hidden_size.checked_div(config.head_count).unwrap_or(0),
        channels => channels,
    };
    config.vocab_size = size(&["vocab_size"]);
    config.context_length = size(&["max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"]);
    let epsilon = ["rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "layer_norm_rms_epsilon"];
    config.norm_eps =
        epsilon.iter().find_map(|key| json.get(key)?.as_f64()).unwrap_or(if Anatomy::of(&config.architecture).is_some() { 1e-6 } else { 0.0 }) as f32;
    config.anatomy = Anatomy::of(&config.architecture);
    if let Err(why) = complete(json, kind, &mut config) {
        reporter.notice(None, NoticeKind::Other { text: format!("{why}, which has no forward pass here; the model opens weight-only") });
        config.departure = Some(why);
    }
    config
}

/// Rotary embedding and pieces of the blocks.
fn complete(json: &Value, kind: &str, config: &mut ModelConfig) -> Result<(), String> {
    let mut anatomy = config.anatomy.take();
    let rotary = anatomy.as_ref().is_some_and(|a| a.positions == Positions::Rotary);
    let result = ropes(json, rotary, config, anatomy.as_mut()).and_then(|()| match &mut anatomy {
        Some(anatomy) => anatomy_json::refine(json, kind, config, anatomy),
        None => Ok(()),
    });
    config.anatomy = anatomy;
    result
}

/// `rope_theta` and `rope_scaling` of older configs, `rope_parameters` of newer ones, which may differ by the kind of block.
fn ropes(json: &Value, rotary: bool, config: &mut ModelConfig, anatomy: Option<&mut Anatomy>) -> Result<(), String> {
    let parameters = json.get("rope_parameters").filter(|p| p.is_object());
    let global = parameters.and_then(|p| p.get("full_attention")).or(parameters);
    let local = parameters.and_then(|p| p.get("sliding_attention"));
    let old = json.get("rope_scaling").filter(|p| p.is_object());
    if global.is_none() && old.is_none() && json.get("rope_theta").is_none() && !rotary {
        return Ok(());
    }
    let (rope, long) = rope(json, &[old, global, Some(json)], config)?;
    config.rope = Some(rope);
    if let Some(anatomy) = anatomy {
        anatomy.long_rope = long;
        let theta = json.get("rope_local_base_freq").and_then(Value::as_f64).map(|v| v as f32);
        if let Some(theta) = theta {
            anatomy.local_rope = Some(Rope { theta, scaling: RopeScaling::None, ..rope });
        } else if local.is_some() {
            anatomy.local_rope = Some(self::rope(json, &[local], config)?.0);
        }
    }
    Ok(())
}

/// A rotary embedding from the first of the places that says each number.
fn rope(json: &Value, places: &[Option<&Value>], config: &ModelConfig) -> Result<(Rope, Option<LongRope>), String> {
    let said = |key: &str| places.iter().flatten().find_map(|place| place.get(key).filter(|v| !v.is_null()));
    let number = |key: &str| said(key).and_then(Value::as_f64).map(|v| v as f32);
    let kind = said("rope_type").or(said("type")).and_then(Value::as_str).unwrap_or("default");
    let factor = number("factor");
    let mut long = None;
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" if factor.is_some_and(|f| f > 0.0) => RopeScaling::Linear { factor: factor.unwrap_or(1.0) },
        "llama3" if factor.is_some_and(|f| f > 0.0) => RopeScaling::Llama3 {
            factor: factor.unwrap_or(1.0),
            low_freq_factor: number("low_freq_factor").unwrap_or(1.0),
            high_freq_factor: number("high_freq_factor").unwrap_or(4.0),
            original_context: number("original_max_position_embeddings").unwrap_or(8192.0),
        },
        "longrope" | "su" => {
            long = Some(long_rope(json, &said, config).ok_or_else(|| format!("its rotary scaling of type {kind} lacks its factors"))?);
            RopeScaling::None
        }
        other => return Err(format!("its rotary scaling is of type {other}")),
    };
    let partial = number("partial_rotary_factor").or(json.get("partial_rotary_factor").and_then(Value::as_f64).map(|v| v as f32)).unwrap_or(1.0);
    let dimensions = (config.head_dim as f32 * partial) as usize;
    Ok((Rope { theta: number("rope_theta").unwrap_or(10_000.0), dimensions, layout: RopeLayout::Half, scaling }, long))
}

/// The factor of the channels is √(1 + ln s / ln c) for a context stretched s times from c, where no other is given.
fn long_rope<'a>(json: &'a Value, said: &impl Fn(&str) -> Option<&'a Value>, config: &ModelConfig) -> Option<LongRope> {
    let factors = |key: &str| said(key)?.as_array()?.iter().map(|v| v.as_f64().map(|v| v as f32)).collect::<Option<Vec<f32>>>();
    let original = said("original_max_position_embeddings").or(json.get("original_max_position_embeddings"))?.as_u64()?;
    let stretched = said("factor").and_then(Value::as_f64).unwrap_or(config.context_length as f64 / original as f64);
    let derived = if stretched > 1.0 { (1.0 + stretched.ln() / (original as f64).ln()).sqrt() } else { 1.0 };
    let attention_factor = said("attention_factor").and_then(Value::as_f64).unwrap_or(derived) as f32;
    let (short, long) = (factors("short_factor")?, factors("long_factor")?);
    (attention_factor.is_finite()).then_some(LongRope { original_context: usize::try_from(original).ok()?, attention_factor, short, long })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn old_and_new_ways_of_writing_rope_agree() {
        let base = json!({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2});
        let with = |extra: Value| {
            let mut json = base.clone();
            json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            from_json(&json, &Reporter::default())
        };
        let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
        let old = with(json!({"rope_theta": 500000.0, "rope_scaling": scaling}));
        let mut parameters = scaling;
        parameters["rope_theta"] = json!(500000.0);
        let new = with(json!({"rope_parameters": parameters}));
        assert_eq!(old.rope, new.rope);
        assert_eq!(old.rope.unwrap().theta, 500_000.0);
        assert!(matches!(old.rope.unwrap().scaling, RopeScaling::Llama3 { factor: 8.0, .. }));
        assert_eq!((old.head_dim, old.kv_head_count), (16, 2));
        old.forward_supported().unwrap();
    }

    #[test]
    fn what_the_forward_pass_cannot_do_is_said_and_opens_weight_only() {
        for departure in [json!({"rope_scaling": {"type": "yarn", "factor": 4.0}}), json!({"num_local_experts": 8}), json!({"hidden_act": "gelu"})] {
            let mut json = json!({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4});
            json.as_object_mut().unwrap().extend(departure.as_object().unwrap().clone());
            let reporter = Reporter::default();
            assert!(from_json(&json, &reporter).forward_supported().is_err(), "{departure}");
            assert_eq!(reporter.notices().len(), 1, "{departure}");
        }
    }
}
