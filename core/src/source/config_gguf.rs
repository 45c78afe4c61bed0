//! The configuration from GGUF keys (`llama.block_count` …), as llama.cpp reads them.

use super::{MetaValue, Metadata, ModelConfig, Rope, RopeLayout, RopeScaling};
use crate::report::{NoticeKind, Reporter};

/// Architectures whose rotary embedding pairs neighbours in llama.cpp; the others pair halves, or have none.
const INTERLEAVED: &[&str] = &[
    "llama",
    "llama4",
    "deci",
    "baichuan",
    "starcoder",
    "internlm2",
    "minicpm",
    "xverse",
    "command-r",
    "cohere2",
    "olmo",
    "arctic",
    "deepseek",
    "deepseek2",
    "chatglm",
    "granite",
    "granitemoe",
    "chameleon",
    "bailingmoe",
    "smollm3",
    "arcee",
    "ernie4_5",
];

/// The values of `rope_freqs.weight`, where the file has it.
pub(super) type FrequencyFactors = Option<Vec<f32>>;

/// Reads what the metadata says.
pub(super) fn from_metadata(metadata: &Metadata, factors: &FrequencyFactors, reporter: &Reporter) -> ModelConfig {
    let text = |key: &str| metadata.get(key).and_then(MetaValue::as_str).map(str::to_owned);
    let mut config = ModelConfig::unknown();
    config.architecture = text("general.architecture").unwrap_or_default();
    config.name = text("general.name");
    config.license = text("general.license");
    let keys = Keys { metadata, architecture: &config.architecture };
    config.block_count = keys.size("block_count");
    config.hidden_size = keys.size("embedding_length");
    config.intermediate_size = keys.size("feed_forward_length");
    config.head_count = keys.size("attention.head_count");
    config.kv_head_count = match keys.size("attention.head_count_kv") {
        0 => config.head_count,
        heads => heads,
    };
    config.head_dim = match keys.size("attention.key_length") {
        0 => config.hidden_size.checked_div(config.head_count).unwrap_or(0),
        channels => channels,
    };
    let tokens = metadata.get("tokenizer.ggml.tokens").and_then(MetaValue::as_array).map_or(0, <[_]>::len);
    config.vocab_size = if tokens > 0 { tokens } else { keys.size("vocab_size") };
    config.context_length = keys.size("context_length");
    config.norm_eps = keys.number("attention.layer_norm_rms_epsilon").or(keys.number("attention.layer_norm_epsilon")).unwrap_or(0.0);
    config.rope = rope(&keys, &config, factors, reporter);
    if config.architecture == "llama" && keys.size("expert_count") > 0 {
        let text = "the model is a mixture of experts, which has no forward pass here; it opens weight-only".to_owned();
        reporter.notice(None, NoticeKind::Other { text });
        config.rope = None;
    }
    config
}

fn rope(keys: &Keys<'_>, config: &ModelConfig, factors: &FrequencyFactors, reporter: &Reporter) -> Option<Rope> {
    let theta = keys.number("rope.freq_base");
    if theta.is_none() && config.architecture != "llama" {
        return None;
    }
    let theta = theta.unwrap_or(10_000.0);
    let dimensions = match keys.size("rope.dimension_count") {
        0 => config.head_dim,
        dimensions => dimensions,
    };
    let factor = keys.number("rope.scaling.factor").or(keys.number("rope.scale_linear")).filter(|f| *f > 0.0).unwrap_or(1.0);
    let kind = keys.text("rope.scaling.type").unwrap_or(if keys.number("rope.scale_linear").is_some() { "linear" } else { "none" });
    let scaling = match (kind, factors) {
        ("none" | "", None) => RopeScaling::None,
        ("linear", None) if factor == 1.0 => RopeScaling::None,
        ("linear", None) => RopeScaling::Linear { factor },
        ("none" | "" | "linear", Some(factors)) if factor == 1.0 && llama3(factors, theta, dimensions).is_some() => llama3(factors, theta, dimensions)?,
        _ => {
            let text = format!(
                "rotary scaling of type {kind}{} has no forward pass here; the model opens weight-only",
                if factors.is_some() { " with frequency factors" } else { "" }
            );
            reporter.notice(None, NoticeKind::Other { text });
            return None;
        }
    };
    let layout = if INTERLEAVED.contains(&config.architecture.as_str()) { RopeLayout::Interleaved } else { RopeLayout::Half };
    Some(Rope { theta, dimensions, layout, scaling })
}

/// Recognises Llama 3's scaling in the divisors of the frequencies that its converter stores. Only the factor varies between the
/// published models; the rest are the constants of Llama 3.1, and the whole list must agree.
fn llama3(factors: &[f32], theta: f32, dimensions: usize) -> Option<RopeScaling> {
    let (low, high, context) = (1.0f32, 4.0, 8192.0);
    let factor = factors.iter().copied().fold(1.0, f32::max);
    let agrees = |(i, stored): (usize, &f32)| {
        let wavelength = 2.0 * std::f32::consts::PI * theta.powf(2.0 * i as f32 / dimensions as f32);
        let smooth = ((context / wavelength - low) / (high - low)).clamp(0.0, 1.0);
        let expected = 1.0 / ((1.0 - smooth) / factor + smooth);
        (stored - expected).abs() <= 1e-2 * expected
    };
    (factors.len() == dimensions / 2 && factor > 1.0 && factors.iter().enumerate().all(agrees)).then_some(RopeScaling::Llama3 {
        factor,
        low_freq_factor: low,
        high_freq_factor: high,
        original_context: context,
    })
}

struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&MetaValue> {
        self.metadata.get(&format!("{}.{key}", self.architecture))
    }

    /// A size; where the blocks differ, the largest. Zero when not said.
    fn size(&self, key: &str) -> usize {
        let value = self.get(key);
        let largest = value.and_then(|v| v.as_array().map_or_else(|| v.as_u64(), |items| items.iter().filter_map(MetaValue::as_u64).max()));
        largest.and_then(|v| usize::try_from(v).ok()).unwrap_or(0)
    }

    fn number(&self, key: &str) -> Option<f32> {
        self.get(key).and_then(MetaValue::as_f32).filter(|v| v.is_finite())
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(MetaValue::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_scaling_is_recognised_by_its_frequency_factors() {
        let (theta, dimensions, factor) = (500_000.0f32, 64, 32.0f32);
        let stored: Vec<f32> = (0..dimensions / 2)
            .map(|i| {
                let wavelength = 2.0 * std::f32::consts::PI * theta.powf(2.0 * i as f32 / dimensions as f32);
                if wavelength < 2048.0 {
                    1.0
                } else if wavelength > 8192.0 {
                    factor
                } else {
                    let smooth = (8192.0 / wavelength - 1.0) / 3.0;
                    1.0 / ((1.0 - smooth) / factor + smooth)
                }
            })
            .collect();
        assert!(matches!(llama3(&stored, theta, dimensions), Some(RopeScaling::Llama3 { factor: 32.0, .. })));
        let mut other = stored;
        other[20] *= 1.5;
        assert_eq!(llama3(&other, theta, dimensions), None);
    }
}
