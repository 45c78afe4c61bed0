//! The pieces of an architecture in the GGUF keys that llama.cpp reads, and what GGUF cannot say.

use super::anatomy::MOST_BLOCKS;
use super::{Anatomy, MetaValue, Metadata, ModelConfig, RopeScaling, anatomy_gguf};

/// GGUF's number of the boolean type.
const BOOL: u32 = 7;

/// Adds the keys.
pub(super) fn insert(metadata: &mut Metadata, config: &ModelConfig, anatomy: &Anatomy) {
    let architecture = &config.architecture;
    let mut put = |key: &str, value: MetaValue| metadata.insert(format!("{architecture}.{key}"), value);
    let size = |value: usize| u32::try_from(value).ok().filter(|v| *v > 0).map(MetaValue::U32);
    for (key, cap) in [("attn_logit_softcapping", anatomy.attention_soft_cap), ("final_logit_softcapping", anatomy.logit_soft_cap)] {
        if let Some(cap) = cap {
            put(key, MetaValue::F32(cap));
        }
    }
    if !anatomy.causal {
        put("attention.causal", MetaValue::Bool(false));
    }
    match anatomy.window.and_then(size) {
        Some(window) => {
            put("attention.sliding_window", window);
            let implied = Anatomy::default_period(architecture).map_or_else(Vec::new, |period| Anatomy::period(config.block_count, period));
            if anatomy.local != implied {
                let local = (0..config.block_count.min(MOST_BLOCKS)).map(|block| MetaValue::Bool(anatomy.window_of(block).is_some())).collect();
                put("attention.sliding_window_pattern", MetaValue::Array(BOOL, local));
            }
        }
        // llama.cpp takes silence for the usual window.
        None if architecture == "gemma2" => {
            put("attention.sliding_window", MetaValue::U32(u32::try_from(config.context_length.max(1)).unwrap_or(u32::MAX)));
        }
        None => {}
    }
    if let Some(rope) = anatomy.local_rope {
        put("rope.freq_base_swa", MetaValue::F32(rope.theta));
    }
    if let Some(long) = &anatomy.long_rope {
        if let Some(context) = size(long.original_context) {
            put("rope.scaling.original_context_length", context);
        }
        put("rope.scaling.attn_factor", MetaValue::F32(long.attention_factor));
    }
    if let Some(experts) = anatomy.experts {
        let keys = [
            ("expert_count", experts.count),
            ("expert_used_count", experts.used),
            ("expert_feed_forward_length", experts.size),
            ("expert_shared_feed_forward_length", experts.shared_size),
        ];
        for (key, value) in keys {
            if let Some(value) = size(value) {
                put(key, value);
            }
        }
    }
}

impl ModelConfig {
    /// Whether a GGUF can say all that sets this model's computation apart, so that llama.cpp computes the same.
    ///
    /// # Errors
    /// What it cannot say.
    pub(crate) fn said_by_gguf(&self) -> Result<(), String> {
        if let Some(departure) = &self.departure {
            return Err(departure.clone());
        }
        let Some(anatomy) = &self.anatomy else { return Ok(()) };
        let architecture = self.architecture.as_str();
        let head = 1.0 / (self.head_dim as f32).sqrt();
        let (scale, implied) = (anatomy.attention_scale.unwrap_or(head), anatomy_gguf::implied_scale(architecture, self).unwrap_or(head));
        if (scale / implied - 1.0).abs() > 1e-5 {
            return Err(format!("its attention is scaled by {scale}, where llama.cpp scales this architecture by {implied}"));
        }
        if anatomy.experts.is_some_and(|experts| experts.normalized == (architecture == "qwen2moe")) {
            let adds = if architecture == "qwen2moe" { "do not add" } else { "add" };
            return Err(format!("llama.cpp takes the shares of an {architecture}'s experts to {adds} up to one"));
        }
        if anatomy.local_rope.is_some_and(|rope| rope.scaling != RopeScaling::None) {
            return Err("the rotary embedding of its local blocks is scaled".to_owned());
        }
        Ok(())
    }
}
