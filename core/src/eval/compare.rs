//! Before against after on held-out text, as llama.cpp's perplexity tool counts: chunks of `context` tokens, second half scored.

use crate::error::Result;
use crate::job::JobContext;
use crate::model::Weights;
use crate::source::Tokenizer;
use serde::{Deserialize, Serialize};

/// How much text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompareOptions {
    /// Chunks.
    pub chunks: usize,
    /// Tokens a chunk.
    pub context: usize,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self { chunks: 16, context: 512 }
    }
}

/// What happened at one scored position.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenComparison {
    /// The token that really follows.
    pub token: u32,
    /// KL(before ‖ after), nats.
    pub kl: f64,
    /// −log p of the token before.
    pub nll_before: f64,
    /// −log p of the token after.
    pub nll_after: f64,
    /// Most likely token before.
    pub top_before: u32,
    /// Most likely token after.
    pub top_after: u32,
}

/// The comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What was run.
    pub options: CompareOptions,
    /// Mean KL, nats per token.
    pub kl_mean: f64,
    /// Its standard error, over tokens.
    pub kl_error: f64,
    /// Median, 90 %, 99 %, 99.9 % and largest KL.
    pub kl_quantiles: [f64; 5],
    /// Perplexity before, and its standard error.
    pub perplexity_before: (f64, f64),
    /// Perplexity after, and its standard error.
    pub perplexity_after: (f64, f64),
    /// Share of positions whose most likely token stayed, and its standard error.
    pub top1: (f64, f64),
    /// Every scored position in text order.
    pub tokens: Vec<TokenComparison>,
}

/// Runs both models over the text.
///
/// # Errors
/// `Unsupported` without a forward pass, `Input` for too little text, `Cancelled`.
pub fn compare(before: &dyn Weights, after: &dyn Weights, tokenizer: &Tokenizer, text: &str, options: CompareOptions, cx: &JobContext) -> Result<Comparison> {
    let _ = (before, after, tokenizer, text, options, cx);
    todo!("eval room")
}

/// Perplexity and its standard error over the scored positions, as llama.cpp prints them.
///
/// # Errors
/// As [`compare`].
pub fn perplexity(model: &dyn Weights, tokenizer: &Tokenizer, text: &str, options: CompareOptions, cx: &JobContext) -> Result<(f64, f64)> {
    let _ = (model, tokenizer, text, options, cx);
    todo!("eval room")
}
