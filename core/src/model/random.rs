//! A seeded random llama for tests.

use super::Weights;
use crate::error::Result;
use crate::source::{Anatomy, ModelConfig, Rope, RopeLayout, RopeScaling};
use indexmap::IndexMap;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Its tensors, by canonical name; tests may change them.
#[derive(Clone)]
pub(crate) struct RandomLlama {
    pub(crate) config: ModelConfig,
    pub(crate) tensors: IndexMap<String, (Vec<f32>, Vec<usize>)>,
}

impl RandomLlama {
    /// Two blocks, 24 wide, 6 query and 2 key heads of 4 channels, 40 tokens.
    pub(crate) fn new(seed: u64, layout: RopeLayout, tied_head: bool) -> Self {
        let (vocab, hidden, inner, head_dim, heads, kv_heads) = (40, 24, 36, 4, 6, 2);
        let config = ModelConfig {
            architecture: "llama".into(),
            name: None,
            license: None,
            block_count: 2,
            hidden_size: hidden,
            intermediate_size: inner,
            head_count: heads,
            kv_head_count: kv_heads,
            head_dim,
            vocab_size: vocab,
            context_length: 64,
            norm_eps: 1e-5,
            rope: Some(Rope { theta: 100.0, dimensions: head_dim, layout, scaling: RopeScaling::None }),
            tied_head,
            anatomy: Anatomy::of("llama"),
            departure: None,
        };
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut tensors = IndexMap::new();
        let mut add = |name: String, shape: &[usize], centre: f32, spread: f32| {
            let values = (0..shape.iter().product()).map(|_| centre + spread * (random.random::<f32>() * 2.0 - 1.0)).collect();
            tensors.insert(name, (values, shape.to_vec()));
        };
        add("token_embd.weight".into(), &[vocab, hidden], 0.0, 1.0);
        for block in 0..config.block_count {
            let mut weight = |part: &str, shape: &[usize]| {
                let (centre, spread) = if shape.len() == 1 { (1.0, 0.2) } else { (0.0, 0.4) };
                add(format!("blk.{block}.{part}.weight"), shape, centre, spread);
            };
            weight("attn_norm", &[hidden]);
            weight("attn_q", &[heads * head_dim, hidden]);
            weight("attn_k", &[kv_heads * head_dim, hidden]);
            weight("attn_v", &[kv_heads * head_dim, hidden]);
            weight("attn_output", &[hidden, heads * head_dim]);
            weight("ffn_norm", &[hidden]);
            weight("ffn_gate", &[inner, hidden]);
            weight("ffn_up", &[inner, hidden]);
            weight("ffn_down", &[hidden, inner]);
        }
        add("output_norm.weight".into(), &[hidden], 1.0, 0.2);
        if !tied_head {
            add("output.weight".into(), &[vocab, hidden], 0.0, 1.0);
        }
        Self { config, tensors }
    }

    /// Seeded token sequences of these lengths.
    pub(crate) fn sequences(&self, lengths: &[usize]) -> Vec<Vec<u32>> {
        let mut random = ChaCha8Rng::seed_from_u64(99);
        lengths.iter().map(|&n| (0..n).map(|_| random.random_range(0..self.config.vocab_size as u32)).collect()).collect()
    }
}

impl Weights for RandomLlama {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn load(&self, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
        Ok(self.tensors.get(name).cloned())
    }
}
