//! What a config.json of transformers says of an architecture's pieces.

use super::anatomy::MOST_BLOCKS;
use super::{Activation, Anatomy, Experts, ModelConfig};
use serde_json::Value;

/// Completes the pieces of a known architecture. `kind` is transformers' own name of it.
///
/// # Errors
/// In which way the model departs from what can be run.
pub(super) fn refine(json: &Value, kind: &str, config: &ModelConfig, anatomy: &mut Anatomy) -> Result<(), String> {
    let number = |key: &str| json.get(key).and_then(Value::as_f64).map(|v| v as f32);
    let flag = |key: &str| json.get(key).and_then(Value::as_bool);
    check_activation(json, anatomy)?;
    for (key, allowed) in
        [("is_decoder", false), ("scale_attn_by_inverse_layer_idx", false), ("scale_attn_weights", true), ("use_bidirectional_attention", false)]
    {
        if flag(key).is_some_and(|said| said != allowed) {
            return Err(format!("its {key} is {}", !allowed));
        }
    }
    if let Some(kind) = json.get("position_embedding_type").and_then(Value::as_str).filter(|kind| *kind != "absolute") {
        return Err(format!("its positions are {kind}"));
    }
    if config.architecture.starts_with("gemma") {
        anatomy.norm_offset = 1.0;
        anatomy.attention_scale = number("query_pre_attn_scalar").filter(|v| *v > 0.0).map(|v| 1.0 / v.sqrt());
        anatomy.attention_soft_cap = number("attn_logit_softcapping").filter(|v| *v > 0.0);
        anatomy.logit_soft_cap = number("final_logit_softcapping").filter(|v| *v > 0.0);
    }
    if kind != "llama" {
        windows(json, config, anatomy);
    }
    anatomy.experts = experts(json, kind, config)?;
    Ok(())
}

fn check_activation(json: &Value, anatomy: &Anatomy) -> Result<(), String> {
    let said = ["hidden_activation", "hidden_act", "activation_function"].iter().find_map(|key| json.get(key)?.as_str());
    let known = match said {
        None => return Ok(()),
        Some("silu" | "swish") => Some(Activation::Silu),
        Some("gelu_pytorch_tanh" | "gelu_new" | "gelu_fast") => Some(Activation::GeluTanh),
        // The first gemma's files say "gelu" and mean its approximation.
        Some("gelu") if anatomy.scaled_embedding => Some(Activation::GeluTanh),
        Some("gelu") => Some(Activation::Gelu),
        Some(_) => None,
    };
    if known == Some(anatomy.activation) { Ok(()) } else { Err(format!("its feed-forward uses {}", said.unwrap_or_default())) }
}

/// Which blocks see only a window, in the order of how plainly files say it.
fn windows(json: &Value, config: &ModelConfig, anatomy: &mut Anatomy) {
    let size = |key: &str| json.get(key).and_then(Value::as_u64).and_then(|v| usize::try_from(v).ok()).filter(|v| *v > 0);
    let used = json.get("use_sliding_window").and_then(Value::as_bool).unwrap_or(!kind_is_qwen(config));
    let Some(window) = size("sliding_window").filter(|_| used) else { return };
    anatomy.window = Some(window);
    anatomy.local = if let Some(types) = json.get("layer_types").and_then(Value::as_array) {
        types.iter().map(|kind| kind.as_str() == Some("sliding_attention")).collect()
    } else if let Some(period) = size("sliding_window_pattern").or(Anatomy::default_period(&config.architecture)) {
        Anatomy::period(config.block_count, period)
    } else if let Some(first) = json.get("max_window_layers").and_then(Value::as_u64) {
        (0..config.block_count.min(MOST_BLOCKS)).map(|block| block as u64 >= first).collect()
    } else {
        Vec::new()
    };
    if !anatomy.local.is_empty() && !anatomy.local.contains(&true) {
        (anatomy.window, anatomy.local) = (None, Vec::new());
    }
}

/// Qwen's files name a window that they do not use unless they say so.
fn kind_is_qwen(config: &ModelConfig) -> bool {
    config.architecture.starts_with("qwen")
}

fn experts(json: &Value, kind: &str, config: &ModelConfig) -> Result<Option<Experts>, String> {
    let size = |keys: &[&str]| keys.iter().find_map(|key| json.get(key)?.as_u64()).and_then(|v| usize::try_from(v).ok()).unwrap_or(0);
    let count = size(&["num_local_experts", "num_experts"]);
    let mixture = matches!(kind, "mixtral" | "qwen2_moe" | "qwen3_moe");
    if count == 0 && !mixture {
        return Ok(None);
    }
    let used = size(&["num_experts_per_tok"]);
    if !mixture {
        return Err("it is a mixture of experts".to_owned());
    }
    if used == 0 || used > count {
        return Err(format!("it sends a token to {used} of {count} experts"));
    }
    let of_its_own = size(&["moe_intermediate_size"]);
    Ok(Some(Experts {
        count,
        used,
        size: if of_its_own > 0 { of_its_own } else { config.intermediate_size },
        shared_size: size(&["shared_expert_intermediate_size"]),
        normalized: kind == "mixtral" || json.get("norm_topk_prob").and_then(Value::as_bool).unwrap_or(false),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Reporter;
    use crate::source::config_json::from_json;
    use serde_json::json;

    #[test]
    fn windows_are_read_however_a_file_says_them() {
        let local = |json: Value| {
            let anatomy = from_json(&json, &Reporter::default()).anatomy.unwrap();
            (0..4).map(|block| anatomy.window_of(block)).collect::<Vec<_>>()
        };
        let with = |kind: &str, extra: Value| {
            let mut json = json!({"model_type": kind, "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 4, "sliding_window": 8});
            json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            local(json)
        };
        let (yes, no) = (Some(8), None);
        assert_eq!(with("mistral", json!({})), [yes; 4]);
        assert_eq!(with("mistral", json!({"sliding_window": null})), [no; 4]);
        assert_eq!(with("llama", json!({})), [no; 4], "llama has none, whatever is written");
        assert_eq!(with("gemma2", json!({})), [yes, no, yes, no]);
        assert_eq!(with("gemma3_text", json!({"sliding_window_pattern": 3})), [yes, yes, no, yes]);
        assert_eq!(with("qwen2", json!({"max_window_layers": 2})), [no; 4], "said but not used");
        assert_eq!(with("qwen2", json!({"use_sliding_window": true, "max_window_layers": 2})), [no, no, yes, yes]);
        assert_eq!(
            with("qwen3", json!({"use_sliding_window": true, "layer_types": ["full_attention", "sliding_attention", "full_attention"]})),
            [no, yes, no, no]
        );
    }
}
