//! The configuration from a config.json of Hugging Face's transformers, whose families call the same sizes by different names.

use super::{ModelConfig, Rope, RopeLayout, RopeScaling};
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
    config.norm_eps = epsilon.iter().find_map(|key| json.get(key)?.as_f64()).unwrap_or(if config.architecture == "llama" { 1e-6 } else { 0.0 }) as f32;
    match rope(json, &config).and_then(|rope| departures(json, &config).map(|()| rope)) {
        Ok(rope) => config.rope = rope,
        Err(why) => {
            let text = format!("{why}, which has no forward pass here; the model opens weight-only");
            reporter.notice(None, NoticeKind::Other { text });
        }
    }
    config
}

/// `rope_theta` and `rope_scaling` of older configs, `rope_parameters` of newer ones.
fn rope(json: &Value, config: &ModelConfig) -> Result<Option<Rope>, String> {
    let parameters = json.get("rope_parameters").filter(|p| p.is_object());
    let scaling = json.get("rope_scaling").filter(|p| p.is_object()).or(parameters);
    let number = |from: Option<&Value>, key: &str| from.and_then(|v| v.get(key)).and_then(Value::as_f64).map(|v| v as f32);
    let theta = number(Some(json), "rope_theta").or(number(parameters, "rope_theta"));
    if theta.is_none() && scaling.is_none() && config.architecture != "llama" {
        return Ok(None);
    }
    let partial = number(Some(json), "partial_rotary_factor").or(number(parameters, "partial_rotary_factor")).unwrap_or(1.0);
    let kind = scaling.and_then(|s| s.get("rope_type").or(s.get("type"))).and_then(Value::as_str).unwrap_or("default");
    let factor = number(scaling, "factor").unwrap_or(1.0);
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" if factor > 0.0 => RopeScaling::Linear { factor },
        "llama3" if factor > 0.0 => RopeScaling::Llama3 {
            factor,
            low_freq_factor: number(scaling, "low_freq_factor").unwrap_or(1.0),
            high_freq_factor: number(scaling, "high_freq_factor").unwrap_or(4.0),
            original_context: number(scaling, "original_max_position_embeddings").unwrap_or(8192.0),
        },
        other => return Err(format!("its rotary scaling is of type {other}")),
    };
    let dimensions = (config.head_dim as f32 * partial) as usize;
    Ok(Some(Rope { theta: theta.unwrap_or(10_000.0), dimensions, layout: RopeLayout::Half, scaling }))
}

/// Ways in which a llama config asks for more than the plain architecture.
fn departures(json: &Value, config: &ModelConfig) -> Result<(), String> {
    if config.architecture != "llama" {
        return Ok(());
    }
    if ["num_local_experts", "num_experts"].iter().any(|key| json.get(key).and_then(Value::as_u64).unwrap_or(0) > 0) {
        return Err("it is a mixture of experts".to_owned());
    }
    match json.get("hidden_act").and_then(Value::as_str) {
        None | Some("silu" | "swish") => Ok(()),
        Some(other) => Err(format!("its feed-forward uses {other}")),
    }
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
