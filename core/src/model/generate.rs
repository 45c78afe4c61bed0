//! Continuing a prompt, token by token, with cached keys and values.

use super::Arithmetic;
use super::Weights;
use super::block::{Block, KeyValueCache};
use super::embedding::Embedding;
use super::forward::Transformer;
use super::head::logits;
use super::norm::Norm;
use super::values::with_values;
use crate::error::Result;
use crate::job::JobContext;
use crate::numeric::metric::argmax;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// How to choose tokens, and how many.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct GenerateOptions {
    /// Most tokens to make.
    pub tokens: usize,
    /// Logits are divided by it; 0 takes the most likely token.
    pub temperature: f32,
    /// Only this many most likely tokens are drawn from (0: all).
    pub top_k: usize,
    /// Of the generator; the same seed gives the same text.
    pub seed: u64,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { tokens: 64, temperature: 0.0, top_k: 40, seed: 0 }
    }
}

/// A model held whole in memory (4 bytes a weight) with the state of one sequence.
pub struct Generator {
    embedding: Embedding,
    last_norm: Option<Norm>,
    blocks: Vec<(Block, KeyValueCache)>,
    /// `None`: the embedding serves.
    head: Option<Vec<f32>>,
    soft_cap: Option<f32>,
    /// Tokens of the sequence so far.
    tokens: usize,
}

impl Generator {
    /// Loads all weights.
    ///
    /// # Errors
    /// As the steps of [`Transformer`]; `Unsupported` for an encoder; `Cancelled`.
    pub fn new(weights: &dyn Weights, cx: &JobContext) -> Result<Self> {
        let transformer = Transformer::new(weights)?;
        weights.config().predicts_tokens()?;
        let mut blocks = Vec::with_capacity(transformer.blocks());
        for index in 0..transformer.blocks() {
            cx.checkpoint()?;
            blocks.push((transformer.block(index)?, KeyValueCache::default()));
        }
        let soft_cap = weights.config().runnable()?.logit_soft_cap;
        let head = if weights.config().tied_head { None } else { Some(with_values(&transformer.head()?.weight, |values| Ok(values.to_vec()))?) };
        Ok(Self { embedding: transformer.embedding()?, last_norm: transformer.last_norm()?, blocks, head, soft_cap, tokens: 0 })
    }

    /// Forgets the sequence.
    pub fn reset(&mut self) {
        self.tokens = 0;
        for (_, cache) in &mut self.blocks {
            *cache = KeyValueCache::default();
        }
    }

    /// Appends tokens to the sequence; returns the logits of what follows the last one.
    ///
    /// # Errors
    /// `Input` for no tokens or one outside the vocabulary; `Candle`. After an error, [`Self::reset`].
    pub fn advance(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let mut hidden = self.embedding.embed(tokens, self.tokens)?;
        self.tokens += tokens.len();
        for (block, cache) in &mut self.blocks {
            hidden = block.advance(&hidden, cache)?;
        }
        let width = hidden.dims2()?.1;
        let last = with_values(&hidden, |values| Ok(values[values.len() - width..].to_vec()))?;
        let last = self.last_norm.as_ref().map_or_else(|| last.clone(), |norm| norm.apply(&last));
        Ok(logits(&last, self.head.as_deref().unwrap_or(self.embedding.table()), width, self.soft_cap, Arithmetic::F32))
    }
}

/// Continues `prompt` until `options.tokens` or the token `end`; `on_token` is told each token as it is made. Returns the new tokens,
/// without `end`.
///
/// # Errors
/// `Input` for an empty prompt; as [`Generator`]; `Cancelled`.
pub fn generate(
    weights: &dyn Weights,
    prompt: &[u32],
    end: Option<u32>,
    options: &GenerateOptions,
    cx: &JobContext,
    mut on_token: impl FnMut(u32),
) -> Result<Vec<u32>> {
    let mut generator = Generator::new(weights, cx)?;
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    let mut made = Vec::with_capacity(options.tokens);
    let mut logits = generator.advance(prompt)?;
    while made.len() < options.tokens {
        cx.checkpoint()?;
        let token = sample(&logits, options, &mut random);
        if end == Some(token) {
            break;
        }
        made.push(token);
        on_token(token);
        if made.len() < options.tokens {
            logits = generator.advance(&[token])?;
        }
    }
    Ok(made)
}

/// One token: the most likely at temperature 0, else drawn from the softmax of the `top_k` most likely.
fn sample(logits: &[f32], options: &GenerateOptions, random: &mut ChaCha8Rng) -> u32 {
    if options.temperature <= 0.0 {
        return argmax(logits) as u32;
    }
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    if options.top_k > 0 {
        order.truncate(options.top_k);
    }
    let Some(&first) = order.first() else { return 0 };
    let highest = f64::from(logits[first as usize]);
    let weights: Vec<f64> = order.iter().map(|&t| ((f64::from(logits[t as usize]) - highest) / f64::from(options.temperature)).exp()).collect();
    let mut left = random.random::<f64>() * weights.iter().sum::<f64>();
    for (&token, weight) in order.iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return token;
        }
    }
    first
}
