//! Choosing text for a mixture of experts: sequences that send tokens to the experts that would otherwise see few.
//!
//! Every candidate runs once and each block's router says how many of its tokens each expert gets. Then sequences are taken one after the
//! other, always the one that adds most to Σ ln(1 + tokens) over all experts of all blocks: a token counts for more where there are few.
//! The sum is submodular and grows with every sequence, so that this is within 1 − 1/e of the best choice (Nemhauser, Wolsey & Fisher 1978).

use crate::error::Result;
use crate::job::{JobContext, Stage};
use crate::model::{Block, Taps, Transformer, Weights, ahead};
use candle_core::Tensor;
use std::collections::BTreeMap;

/// The numbers of `count` of the sequences, in the order they stand in; `None` for a model without experts.
///
/// # Errors
/// As the forward pass; `Cancelled`.
pub fn balanced_choice(weights: &dyn Weights, sequences: &[Vec<u32>], count: usize, cx: &JobContext) -> Result<Option<Vec<usize>>> {
    if weights.config().anatomy.as_ref().is_none_or(|anatomy| anatomy.experts.is_none()) {
        return Ok(None);
    }
    let counts = routed(weights, sequences, cx)?;
    Ok(counts.iter().any(|c| !c.is_empty()).then(|| choose(&counts, count)))
}

/// Tokens of each sequence that each expert (entrance of its network, number) gets.
type Counts = BTreeMap<(String, usize), u64>;

struct Router<'a>(&'a mut Counts);

impl Taps for Router<'_> {
    fn linear_input(&mut self, _: &[String], _: &Tensor) -> Result<()> {
        Ok(())
    }

    fn expert_input(&mut self, expert: usize, names: &[String], input: &Tensor) -> Result<()> {
        if let Some(name) = names.first().filter(|name| !name.contains(".ffn_down")) {
            *self.0.entry((name.clone(), expert)).or_default() += input.dim(0)? as u64;
        }
        Ok(())
    }
}

fn routed(weights: &dyn Weights, sequences: &[Vec<u32>], cx: &JobContext) -> Result<Vec<Counts>> {
    let transformer = Transformer::on(weights, cx)?;
    let mut stream = transformer.stream(sequences, cx.scratch.memory, cx)?;
    let mut counts = vec![Counts::new(); sequences.len()];
    let total = transformer.blocks() as u64;
    let run = |index: usize, block: Block| {
        cx.progress(Stage::Calibrate, index as u64, total);
        // One at a time, so that it is known whose tokens an expert gets.
        stream.replace(|range, batch| {
            let one = |(sequence, before): (usize, &Tensor)| {
                let after = block.forward(std::slice::from_ref(before), Some(&mut Router(&mut counts[sequence])), cx)?;
                Ok(after.into_iter().next())
            };
            range.zip(batch).map(one).filter_map(Result::transpose).collect()
        })
    };
    ahead(transformer.blocks(), |index| transformer.block(index), run)?;
    Ok(counts)
}

fn choose(counts: &[Counts], count: usize) -> Vec<usize> {
    let mut seen: BTreeMap<&(String, usize), u64> = BTreeMap::new();
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < count.min(counts.len()) {
        let gain = |sequence: &usize| -> f64 {
            let added = |(expert, tokens): (&(String, usize), &u64)| (*tokens as f64 / (1 + seen.get(expert).copied().unwrap_or(0)) as f64).ln_1p();
            counts[*sequence].iter().map(added).sum()
        };
        // Of equals the first.
        let left = (0..counts.len()).filter(|s| !chosen.contains(s));
        let Some((best, _)) = left.map(|s| (s, gain(&s))).reduce(|a, b| if b.1 > a.1 { b } else { a }) else { break };
        for (expert, tokens) in &counts[best] {
            *seen.entry(expert).or_default() += tokens;
        }
        chosen.push(best);
    }
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(usize, u64)]) -> Counts {
        of.iter().map(|&(expert, tokens)| (("blk.0".to_owned(), expert), tokens)).collect()
    }

    #[test]
    fn a_sequence_that_reaches_a_rare_expert_is_taken_before_more_of_the_same() {
        let all = [counts(&[(0, 500), (1, 12)]), counts(&[(0, 490), (1, 22)]), counts(&[(0, 500), (2, 3)]), counts(&[(0, 512)])];
        assert_eq!(choose(&all, 2), [1, 2], "the rare one, and the best of the others");
        assert_eq!(choose(&all, 9), [0, 1, 2, 3], "no more than there are");
    }
}
