//! The scored half of a chunk, as llama.cpp's perplexity tool chooses it: logits at positions `context / 2 .. context − 1`, each against
//! the token that follows.

use crate::error::{Error, Result};
use crate::model::{Head, logits_of, with_values};
use crate::numeric::metric::{argmax, log_sum_exp};
use candle_core::Tensor;
use rayon::prelude::*;

/// Logits of the scored positions, and what really followed each.
pub(super) struct Scored {
    logits: Tensor,
    /// Columns of the logits.
    pub(super) vocab: usize,
    /// One token a row.
    pub(super) targets: Vec<u32>,
}

/// One position.
pub(super) struct Score {
    /// −log p of the token that followed, nats.
    pub(super) nll: f64,
    /// The most likely token.
    pub(super) top: u32,
}

/// The scored half of a chunk of at least 4 tokens, from its final hidden states.
pub(super) fn scored(chunk: &[u32], hidden: &Tensor, head: &Head) -> Result<Scored> {
    let first = chunk.len() / 2;
    let rows = chunk.len() - 1 - first;
    let vocab = head.vocab();
    let targets = chunk[first + 1..].to_vec();
    if let Some(token) = targets.iter().find(|t| **t as usize >= vocab) {
        return Err(Error::Input(format!("token {token} is outside the head's {vocab}")));
    }
    Ok(Scored { logits: logits_of(&hidden.narrow(0, first, rows)?, head)?, vocab, targets })
}

/// Likelihood and most likely token of every row.
pub(super) fn score(scored: &Scored) -> Result<Vec<Score>> {
    scored.rows(|logits| {
        let rows = logits.par_chunks(scored.vocab).zip(&scored.targets);
        Ok(rows.map(|(row, &target)| Score { nll: log_sum_exp(row) - f64::from(row[target as usize]), top: argmax(row) as u32 }).collect())
    })
}

impl Scored {
    /// Lets `f` see the logits, row after row.
    pub(super) fn rows<R>(&self, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
        with_values(&self.logits, f)
    }
}
