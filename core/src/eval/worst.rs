//! The tokens where the outputs moved most, as a person reads them.

use super::comparison::Comparison;
use super::score::scored_positions;
use crate::source::Tokenizer;
use serde::{Deserialize, Serialize};

/// Tokens that are listed.
const LISTED: usize = 20;
/// Tokens of text before each.
const CONTEXT_TOKENS: usize = 16;

/// One of the worst.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorstToken {
    /// Its place among [`Comparison::tokens`].
    pub index: usize,
    /// Which chunk.
    pub chunk: usize,
    /// Which token of the chunk, from 0.
    pub position: usize,
    /// KL(before ‖ after), nats.
    pub kl: f64,
    /// The text before it.
    pub context: String,
    /// The token that really followed.
    pub token: String,
    /// Its probability before and after.
    pub p: (f64, f64),
    /// The most likely token before.
    pub top_before: String,
    /// The most likely token after.
    pub top_after: String,
}

/// The worst tokens of a comparison over these chunks, worst first.
pub(super) fn worst(comparison: &Comparison, chunks: &[Vec<u32>], tokenizer: &Tokenizer) -> Vec<WorstToken> {
    let tokens = &comparison.tokens;
    let per_chunk = scored_positions(comparison.options.context).max(1);
    let mut order: Vec<usize> = (0..tokens.len()).collect();
    order.sort_by(|&a, &b| tokens[b].kl.total_cmp(&tokens[a].kl).then(a.cmp(&b)));
    let told = order.into_iter().take(LISTED).filter_map(|index| {
        let (token, chunk) = (&tokens[index], index / per_chunk);
        let text = chunks.get(chunk)?;
        let position = text.len() / 2 + 1 + index % per_chunk;
        Some(WorstToken {
            index,
            chunk,
            position,
            kl: token.kl,
            context: tokenizer.decode(text.get(position.saturating_sub(CONTEXT_TOKENS)..position)?),
            token: tokenizer.piece(token.token),
            p: ((-token.nll_before).exp(), (-token.nll_after).exp()),
            top_before: tokenizer.piece(token.top_before),
            top_after: tokenizer.piece(token.top_after),
        })
    });
    told.collect()
}
