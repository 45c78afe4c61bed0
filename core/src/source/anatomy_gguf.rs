//! What GGUF keys say of an architecture's pieces, and what llama.cpp takes for granted where they say nothing.

use super::config_gguf::Keys;
use super::{Anatomy, Experts, LongRope, MetaValue, ModelConfig, Rope, RopeScaling};

/// Completes the pieces of a known architecture.
///
/// # Errors
/// In which way the model departs from what can be run.
pub(super) fn refine(keys: &Keys<'_>, config: &ModelConfig, anatomy: &mut Anatomy) -> Result<(), String> {
    let architecture = config.architecture.as_str();
    if architecture.starts_with("gemma") {
        let said = keys.number("attention.scale").filter(|v| *v > 0.0);
        anatomy.attention_scale = said.or_else(|| implied_scale(architecture, config));
        anatomy.attention_soft_cap = keys.number("attn_logit_softcapping").filter(|v| *v > 0.0);
        anatomy.logit_soft_cap = keys.number("final_logit_softcapping").filter(|v| *v > 0.0);
    }
    windows(keys, config, anatomy);
    if let (Some(rope), Some(context @ 1..)) = (config.rope, Some(keys.size("rope.scaling.original_context_length"))) {
        // Files of models without long frequencies name the context too; it is then the whole one.
        if architecture == "phi3" && context < config.context_length && rope.scaling == RopeScaling::None {
            let attention_factor = keys.number("rope.scaling.attn_factor").unwrap_or(1.0);
            anatomy.long_rope = Some(LongRope { original_context: context, attention_factor, short: Vec::new(), long: Vec::new() });
        }
    }
    let count = keys.size("expert_count");
    if count > 0 {
        let used = keys.size("expert_used_count");
        if used == 0 || used > count {
            return Err(format!("it sends a token to {used} of {count} experts"));
        }
        let or = |size: usize, otherwise: usize| if size > 0 { size } else { otherwise };
        let size = if architecture == "llama" { config.intermediate_size } else { config.intermediate_size / used };
        anatomy.experts = Some(Experts {
            count,
            used,
            size: or(keys.size("expert_feed_forward_length"), size),
            shared_size: or(keys.size("expert_shared_feed_forward_length"), config.intermediate_size),
            normalized: architecture != "qwen2moe",
        });
    }
    Ok(())
}

/// The factor of q·k that llama.cpp takes, which has no key: the largest models of gemma divide by the width of the stream.
pub(super) fn implied_scale(architecture: &str, config: &ModelConfig) -> Option<f32> {
    let largest = matches!((architecture, config.block_count), ("gemma2", 46) | ("gemma3", 62));
    largest.then(|| 1.0 / (config.hidden_size.checked_div(config.head_count).unwrap_or(1) as f32).sqrt())
}

fn windows(keys: &Keys<'_>, config: &ModelConfig, anatomy: &mut Anatomy) {
    anatomy.window = match keys.size("attention.sliding_window") {
        0 => (config.architecture == "gemma2").then_some(4096),
        window => Some(window),
    };
    if anatomy.window.is_none() {
        return;
    }
    let pattern = keys.get("attention.sliding_window_pattern");
    anatomy.local = match (pattern.and_then(MetaValue::as_array), pattern.and_then(MetaValue::as_u64)) {
        (Some(listed), _) => listed.iter().map(|local| local.as_bool().unwrap_or_else(|| local.as_u64().is_some_and(|v| v > 0))).collect(),
        (None, Some(period)) => Anatomy::period(config.block_count, usize::try_from(period).unwrap_or(1)),
        (None, None) => Anatomy::default_period(&config.architecture).map_or_else(Vec::new, |period| Anatomy::period(config.block_count, period)),
    };
    if config.architecture == "gemma3"
        && let Some(rope) = config.rope
    {
        let theta = keys.number("rope.freq_base_swa").unwrap_or(10_000.0);
        anatomy.local_rope = Some(Rope { theta, scaling: RopeScaling::None, ..rope });
    }
}
