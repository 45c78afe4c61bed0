//! Tokens a second of the forward pass: blocks as wide as SmolLM2-135M's thirty.

use halftone_core::Result;
use halftone_core::job::JobContext;
use halftone_core::model::{Transformer, Weights};
use halftone_core::source::{Anatomy, ModelConfig, Rope, RopeLayout, RopeScaling};
use rand::{Rng as _, SeedableRng as _};
use std::sync::LazyLock;

const BLOCKS: usize = 8;
const TOKENS: usize = 2048;

fn main() {
    divan::main();
}

/// Weights made when asked for, so that nothing but the block that runs is in memory.
struct Synthetic(ModelConfig);

impl Weights for Synthetic {
    fn config(&self) -> &ModelConfig {
        &self.0
    }

    fn load(&self, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
        let c = &self.0;
        let kv = c.kv_head_count * c.head_dim;
        let shape = match name.rsplit('.').nth(1).unwrap_or_default() {
            "token_embd" => vec![c.vocab_size, c.hidden_size],
            "attn_norm" | "ffn_norm" | "output_norm" => vec![c.hidden_size],
            _ if name.ends_with("bias") => return Ok(None),
            "attn_q" | "attn_output" => vec![c.hidden_size, c.hidden_size],
            "attn_k" | "attn_v" => vec![kv, c.hidden_size],
            "ffn_gate" | "ffn_up" => vec![c.intermediate_size, c.hidden_size],
            "ffn_down" => vec![c.hidden_size, c.intermediate_size],
            _ => return Ok(None),
        };
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(name.len() as u64);
        Ok(Some(((0..shape.iter().product()).map(|_| random.random::<f32>() * 0.1 - 0.05).collect(), shape)))
    }
}

static MODEL: LazyLock<Synthetic> = LazyLock::new(|| {
    Synthetic(ModelConfig {
        architecture: "llama".into(),
        name: None,
        license: None,
        block_count: BLOCKS,
        hidden_size: 576,
        intermediate_size: 1536,
        head_count: 9,
        kv_head_count: 3,
        head_dim: 64,
        vocab_size: 1024,
        context_length: 2048,
        norm_eps: 1e-5,
        rope: Some(Rope { theta: 1e5, dimensions: 64, layout: RopeLayout::Interleaved, scaling: RopeScaling::None }),
        tied_head: true,
        anatomy: Anatomy::of("llama"),
        departure: None,
    })
});

fn sequences() -> Vec<Vec<u32>> {
    (0..TOKENS as u32).map(|i| i * 7919 % 1024).collect::<Vec<u32>>().chunks(512).map(<[u32]>::to_vec).collect()
}

/// Four sequences of 512 tokens through one loaded block: divide by thirty for SmolLM2's tokens a second.
#[divan::bench]
fn block(bencher: divan::Bencher<'_, '_>) {
    let transformer = Transformer::new(&*MODEL).expect("a llama");
    let (block, hidden) = (transformer.block(0).expect("weights"), transformer.embed(&sequences()).expect("tokens"));
    bencher.counter(divan::counter::ItemsCount::new(TOKENS)).bench(|| block.forward(&hidden, None, &JobContext::silent()));
}

/// The whole pass, weights loaded and dropped block by block.
#[divan::bench(sample_count = 5)]
fn eight_blocks(bencher: divan::Bencher<'_, '_>) {
    let transformer = Transformer::new(&*MODEL).expect("a llama");
    bencher.counter(divan::counter::ItemsCount::new(TOKENS)).bench(|| transformer.hidden(&sequences(), None, &JobContext::silent()));
}
