//! The scored half of a chunk, as llama.cpp's perplexity tool chooses it: logits at positions `context / 2 .. context − 1`, each against
//! the token that follows.

use super::comparison::TokenComparison;
use crate::compute::gpu::forward::RowComparison;
use crate::error::{Error, Result};
use crate::model::{Head, logits_of, with_values};
use crate::numeric::metric::log_sum_exp;
use candle_core::Tensor;
use rayon::prelude::*;

/// Tokens of the top-5 agreement.
pub(super) const TOP: usize = 5;

/// Logits of the scored positions, and what really followed each.
pub(super) struct Scored {
    logits: Tensor,
    /// Columns of the logits.
    pub(super) vocab: usize,
    /// One token a row.
    pub(super) targets: Vec<u32>,
}

/// What one row of logits says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    /// log Σ exp of the logits.
    pub(super) log_z: f64,
    /// −log p of the token that followed, nats.
    pub(super) nll: f64,
    /// The most likely tokens, most likely first; the first id of equals.
    pub(super) top: [u32; TOP],
}

impl Score {
    /// Of a row whose next token is `target`.
    pub(super) fn of(row: &[f32], target: u32) -> Self {
        let log_z = log_sum_exp(row);
        Self { log_z, nll: log_z - f64::from(row[target as usize]), top: top_of(row) }
    }

    /// How many of the most likely tokens are among the other's.
    pub(super) fn shared(&self, other: &Self) -> u8 {
        self.top.iter().filter(|t| other.top.contains(t)).count() as u8
    }
}

/// The most likely tokens of a row; a vocabulary of fewer repeats its last.
fn top_of(row: &[f32]) -> [u32; TOP] {
    let mut top: Vec<(f32, u32)> = Vec::with_capacity(TOP + 1);
    for (id, &v) in row.iter().enumerate() {
        if top.len() == TOP && v <= top[TOP - 1].0 {
            continue;
        }
        let at = top.iter().position(|(t, _)| v > *t).unwrap_or(top.len());
        top.insert(at, (v, id as u32));
        top.truncate(TOP);
    }
    let last = top.last().map_or(0, |t| t.1);
    std::array::from_fn(|i| top.get(i).map_or(last, |t| t.1))
}

/// How many positions of a chunk of `context` tokens are scored.
pub(super) fn scored_positions(context: usize) -> usize {
    context - 1 - context / 2
}

/// The scored half of a chunk compared on the device, by the final hidden states and the heads of both models; None where the heads are not on
/// a device that works.
pub(super) fn compared_on_device(chunk: &[u32], hidden: [&Tensor; 2], heads: [&Head; 2]) -> Result<Option<Vec<TokenComparison>>> {
    let (first, rows) = (chunk.len() / 2, scored_positions(chunk.len()));
    let targets = &chunk[first + 1..];
    check_targets(targets, heads[0].vocab().min(heads[1].vocab()))?;
    let Some(before) = heads[0].resident_logits(&hidden[0].narrow(0, first, rows)?)? else { return Ok(None) };
    let compared = before.compare(&hidden[1].narrow(0, first, rows)?, heads[1], targets, TOP)?;
    let comparison = |(row, &token): (&RowComparison, &u32)| TokenComparison {
        token,
        kl: f64::from(row.divergence),
        nll_before: f64::from(row.nll_before),
        nll_after: f64::from(row.nll_after),
        top_before: row.top_before[0],
        top_after: row.top_after[0],
        top5_shared: row.top_before[..TOP].iter().filter(|t| row.top_after[..TOP].contains(t)).count() as u8,
    };
    Ok(compared.map(|rows| rows.iter().zip(targets).map(comparison).collect()))
}

fn check_targets(targets: &[u32], vocab: usize) -> Result<()> {
    match targets.iter().find(|t| **t as usize >= vocab) {
        Some(token) => Err(Error::Input(format!("token {token} is outside the head's {vocab}"))),
        None => Ok(()),
    }
}

/// The scored half of a chunk of at least 4 tokens, from its final hidden states.
pub(super) fn scored(chunk: &[u32], hidden: &Tensor, head: &Head) -> Result<Scored> {
    let (first, rows) = (chunk.len() / 2, scored_positions(chunk.len()));
    let vocab = head.vocab();
    let targets = chunk[first + 1..].to_vec();
    check_targets(&targets, vocab)?;
    Ok(Scored { logits: logits_of(&hidden.narrow(0, first, rows)?, head)?, vocab, targets })
}

impl Scored {
    /// `f` of every row of logits, rows in parallel: its place in the chunk's scored half, its logits, the token that followed.
    pub(super) fn map<R: Send>(&self, f: impl Fn(usize, &[f32], u32) -> R + Sync) -> Result<Vec<R>> {
        with_values(&self.logits, |logits| {
            let rows = logits.par_chunks(self.vocab).zip(&self.targets).enumerate();
            Ok(rows.map(|(i, (row, &target))| f(i, row, target)).collect())
        })
    }

    /// As [`Self::map`] of the rows of two models on the same chunk.
    pub(super) fn map_with<R: Send>(&self, other: &Self, f: impl Fn(usize, &[f32], &[f32], u32) -> R + Sync) -> Result<Vec<R>> {
        if (self.vocab, &self.targets) != (other.vocab, &other.targets) {
            let (expected, got) = (format!("{} logits a token", self.vocab), other.vocab.to_string());
            return Err(Error::Mismatch { operation: "compare logits", expected, got });
        }
        with_values(&other.logits, |others| self.map(|i, row, target| f(i, row, &others[i * self.vocab..(i + 1) * self.vocab], target)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_is_sorted_and_the_first_of_equals_wins() {
        assert_eq!(top_of(&[0.0, 3.0, 1.0, 3.0, -1.0, 2.0, 0.5]), [1, 3, 5, 2, 6], "sorted");
        assert_eq!(top_of(&[1.0, 2.0]), [1, 0, 0, 0, 0], "a vocabulary of two");
    }
}
