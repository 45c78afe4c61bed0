//! The configuration from GGUF keys (`llama.block_count` …), as llama.cpp reads them.

use super::{Anatomy, MetaValue, Metadata, ModelConfig, Rope, RopeLayout, RopeScaling, anatomy_gguf};
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

/// Reads what the metadata says.
pub(super) fn from_metadata(metadata: &Metadata, reporter: &Reporter) -> ModelConfig {
    let text = |key: &str| metadata.get(key).and_then(MetaValue::as_str).map(str::to_owned);
    let mut config = ModelConfig::unknown();
    config.architecture = text("general.architecture").unwrap_or_default();
    config.name = text("general.name");
    config.license = text("general.license");
    let architecture = config.architecture.clone();
    let keys = Keys { metadata, architecture: &architecture };
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
    let mut anatomy = Anatomy::of(&config.architecture);
    let result = rope(&keys, &config).and_then(|rope| {
        config.rope = rope;
        anatomy.as_mut().map_or(Ok(()), |anatomy| anatomy_gguf::refine(&keys, &config, anatomy))
    });
    if let Err(why) = result {
        reporter.notice(None, NoticeKind::Other { text: format!("{why}, which has no forward pass here; the model opens weight-only") });
        config.departure = Some(why);
    }
    config.anatomy = anatomy;
    config
}

/// Llama 3's scaling has no key: the tensor `rope_freqs.weight` stands in for it, which whoever runs the model reads.
fn rope(keys: &Keys<'_>, config: &ModelConfig) -> Result<Option<Rope>, String> {
    let theta = keys.number("rope.freq_base");
    if theta.is_none() && !Anatomy::of(&config.architecture).is_some_and(|a| a.positions == super::Positions::Rotary) {
        return Ok(None);
    }
    let theta = theta.unwrap_or(10_000.0);
    let dimensions = match keys.size("rope.dimension_count") {
        0 => config.head_dim,
        dimensions => dimensions,
    };
    let factor = keys.number("rope.scaling.factor").or(keys.number("rope.scale_linear")).filter(|f| *f > 0.0).unwrap_or(1.0);
    let kind = keys.text("rope.scaling.type").unwrap_or(if keys.number("rope.scale_linear").is_some() { "linear" } else { "none" });
    let scaling = match kind {
        // The frequencies of longrope are tensors.
        "none" | "" | "longrope" => RopeScaling::None,
        "linear" if factor == 1.0 => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor },
        other => return Err(format!("its rotary scaling is of type {other}")),
    };
    let layout = if INTERLEAVED.contains(&config.architecture.as_str()) { RopeLayout::Interleaved } else { RopeLayout::Half };
    Ok(Some(Rope { theta, dimensions, layout, scaling }))
}

pub(super) struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Keys<'_> {
    pub(super) fn get(&self, key: &str) -> Option<&MetaValue> {
        self.metadata.get(&format!("{}.{key}", self.architecture))
    }

    /// A size; where the blocks differ, the largest. Zero when not said.
    pub(super) fn size(&self, key: &str) -> usize {
        let value = self.get(key);
        let largest = value.and_then(|v| v.as_array().map_or_else(|| v.as_u64(), |items| items.iter().filter_map(MetaValue::as_u64).max()));
        largest.and_then(|v| usize::try_from(v).ok()).unwrap_or(0)
    }

    pub(super) fn number(&self, key: &str) -> Option<f32> {
        self.get(key).and_then(MetaValue::as_f32).filter(|v| v.is_finite())
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(MetaValue::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, MetaValue)]) -> (ModelConfig, usize) {
        let base = [
            ("general.architecture", MetaValue::String("llama".into())),
            ("llama.embedding_length", MetaValue::U32(64)),
            ("llama.attention.head_count", MetaValue::Array(5, vec![MetaValue::I32(2), MetaValue::I32(4)])),
        ];
        let metadata = base.iter().chain(pairs).map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let reporter = Reporter::default();
        (from_metadata(&metadata, &reporter), reporter.notices().len())
    }

    #[test]
    fn sizes_that_differ_between_blocks_are_the_largest_and_missing_ones_follow_from_others() {
        let (config, notices) = config(&[]);
        assert_eq!((config.head_count, config.kv_head_count, config.head_dim), (4, 4, 16));
        let rope = config.rope.unwrap();
        assert_eq!((rope.theta, rope.dimensions, rope.layout, rope.scaling), (10_000.0, 16, RopeLayout::Interleaved, RopeScaling::None));
        assert_eq!(notices, 0);
    }

    #[test]
    fn rotary_scaling_is_read_or_said_to_be_unknown() {
        let kind = |name: &str| ("llama.rope.scaling.type", MetaValue::String(name.into()));
        let factor = ("llama.rope.scaling.factor", MetaValue::F32(4.0));
        let (linear, _) = config(&[kind("linear"), factor.clone()]);
        assert_eq!(linear.rope.unwrap().scaling, RopeScaling::Linear { factor: 4.0 });
        let (yarn, notices) = config(&[kind("yarn"), factor]);
        assert_eq!((yarn.rope, notices), (None, 1));
        assert!(yarn.forward_supported().is_err());
        let (experts, notices) = config(&[("llama.expert_count", MetaValue::U32(8))]);
        assert_eq!((experts.forward_supported().is_err(), notices), (true, 1));
    }
}
