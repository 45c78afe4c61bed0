//! The figures of a comparison and how they come from the scored tokens. Names and definitions are those of llama.cpp's perplexity tool
//! where it has them.

use super::Runtime;
use super::base::KlBounds;
use super::compare::CompareOptions;
use super::noise::NoiseFloor;
use super::score::{TOP, scored_positions};
use super::worst::WorstToken;
use crate::numeric::metric::{mean_and_standard_error, quantile};
use serde::{Deserialize, Serialize};

/// Consecutive scored tokens that count as one observation for [`Comparison::kl_block_error`].
const BLOCK_TOKENS: usize = 64;

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
    /// How many of the five most likely tokens before are among the five after.
    #[serde(default)]
    pub top5_shared: u8,
}

/// The comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What was run.
    pub options: CompareOptions,
    /// Mean KL, nats per token.
    pub kl_mean: f64,
    /// Its standard error, over tokens, as llama.cpp prints it.
    pub kl_error: f64,
    /// Its standard error over blocks of 64 consecutive tokens, which does not take neighbours for independent.
    #[serde(default)]
    pub kl_block_error: f64,
    /// Median, 90 %, 99 %, 99.9 % and largest KL.
    pub kl_quantiles: [f64; 5],
    /// Perplexity before, and its standard error.
    pub perplexity_before: (f64, f64),
    /// Perplexity after, and its standard error.
    pub perplexity_after: (f64, f64),
    /// Perplexity after / before, and its standard error (from the paired differences, much smaller than those of the two).
    #[serde(default)]
    pub perplexity_ratio: (f64, f64),
    /// Share of positions whose most likely token stayed, and its standard error.
    pub top1: (f64, f64),
    /// Share of the five most likely tokens that are among the five after, and its standard error.
    #[serde(default)]
    pub top5: (f64, f64),
    /// Mean change of the true token's probability, and its standard error.
    #[serde(default)]
    pub delta_p_mean: (f64, f64),
    /// Root of the mean squared change of the true token's probability, and its standard error.
    #[serde(default)]
    pub delta_p_rms: (f64, f64),
    /// ‖after − before‖² / ‖before‖² of the residual stream behind each block, over all tokens; empty against a stored base.
    #[serde(default)]
    pub block_errors: Vec<f64>,
    /// Mean over tokens of the cosine between the two residual streams behind each block.
    #[serde(default)]
    pub block_cosines: Vec<f64>,
    /// The tokens with the largest KL, with their text.
    #[serde(default)]
    pub worst: Vec<WorstToken>,
    /// What the same model differs from itself by; when it was asked for.
    #[serde(default)]
    pub noise: Option<NoiseFloor>,
    /// Where the exact mean KL must lie when the original was a stored base.
    #[serde(default)]
    pub bounds: Option<KlBounds>,
    /// Every scored position in text order.
    pub tokens: Vec<TokenComparison>,
}

impl Comparison {
    /// The figures of these tokens, which come in chunks of `options.context`.
    pub(super) fn new(options: CompareOptions, tokens: Vec<TokenComparison>) -> Self {
        let column = |f: fn(&TokenComparison) -> f64| tokens.iter().map(f).collect::<Vec<f64>>();
        let mut kl = column(|t| t.kl);
        let (kl_mean, kl_error) = mean_and_standard_error(&kl);
        let kl_block_error = block_error(&kl, scored_positions(options.context));
        kl.sort_by(f64::total_cmp);
        let (log_ratio, log_ratio_error) = mean_and_standard_error(&column(|t| t.nll_after - t.nll_before));
        let delta_p = column(|t| (-t.nll_after).exp() - (-t.nll_before).exp());
        let (square, square_error) = mean_and_standard_error(&delta_p.iter().map(|d| d * d).collect::<Vec<f64>>());
        let rms = square.sqrt();
        Self {
            options,
            kl_mean,
            kl_error,
            kl_block_error,
            kl_quantiles: [0.5, 0.9, 0.99, 0.999, 1.0].map(|q| quantile(&kl, q)),
            perplexity_before: perplexity_of(&column(|t| t.nll_before)),
            perplexity_after: perplexity_of(&column(|t| t.nll_after)),
            perplexity_ratio: (log_ratio.exp(), log_ratio.exp() * log_ratio_error),
            top1: mean_and_standard_error(&column(|t| f64::from(u8::from(t.top_before == t.top_after)))),
            top5: mean_and_standard_error(&column(|t| f64::from(t.top5_shared) / TOP as f64)),
            delta_p_mean: mean_and_standard_error(&delta_p),
            delta_p_rms: (rms, if rms > 0.0 { 0.5 / rms * square_error } else { 0.0 }),
            tokens,
            ..Self::default()
        }
    }

    /// Whose arithmetic it is in.
    pub fn runtime(&self) -> Runtime {
        self.options.runtime
    }
}

/// exp(mean NLL), and its standard error to first order: PPL · SE(mean NLL).
pub(super) fn perplexity_of(nll: &[f64]) -> (f64, f64) {
    let (mean, error) = mean_and_standard_error(nll);
    (mean.exp(), mean.exp() * error)
}

/// Standard error of the mean of values in runs of `chunk`, from blocks of [`BLOCK_TOKENS`] inside the runs. Blocks are of unequal length,
/// so it is that of a ratio: √(B/(B−1)·Σ(Σx − n·mean)²) / N; 0 for fewer than two blocks.
fn block_error(values: &[f64], chunk: usize) -> f64 {
    let blocks: Vec<&[f64]> = values.chunks(chunk.max(1)).flat_map(|chunk| chunk.chunks(BLOCK_TOKENS)).collect();
    if blocks.len() < 2 {
        return 0.0;
    }
    let (n, b) = (values.len() as f64, blocks.len() as f64);
    let mean = values.iter().sum::<f64>() / n;
    let square: f64 = blocks.iter().map(|block| (block.iter().sum::<f64>() - block.len() as f64 * mean).powi(2)).sum();
    (b / (b - 1.0) * square).sqrt() / n
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng as _, SeedableRng as _};

    #[test]
    fn perplexity_of_a_fair_coin_is_two() {
        let (ppl, error) = perplexity_of(&[2f64.ln(); 10]);
        assert!((ppl - 2.0).abs() < 1e-12 && error.abs() < 1e-12, "{ppl} ± {error}");
    }

    #[test]
    fn neighbours_that_repeat_each_other_widen_the_block_error() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let independent: Vec<f64> = (0..2048).map(|_| random.random()).collect();
        let repeated: Vec<f64> = (0..2048).map(|i| independent[i / 64]).collect();
        let of_tokens = |values: &[f64]| mean_and_standard_error(values).1;
        assert!((block_error(&independent, 256) / of_tokens(&independent) - 1.0).abs() < 0.4, "independent tokens: about the same");
        assert!(block_error(&repeated, 256) > 5.0 * of_tokens(&repeated), "64 copies of each are 64 times fewer observations");
        assert_eq!(block_error(&[1.0; 10], 255), 0.0, "one block says nothing");
    }

    #[test]
    fn figures_of_two_tokens_are_the_hand_computed_ones() {
        let token = |kl, before: f64, after: f64, shared| TokenComparison {
            token: 1,
            kl,
            nll_before: -before.ln(),
            nll_after: -after.ln(),
            top_before: 1,
            top_after: u32::from(shared == 5),
            top5_shared: shared,
        };
        let c = Comparison::new(CompareOptions { context: 6, ..CompareOptions::default() }, vec![token(0.1, 0.5, 0.25, 5), token(0.3, 0.5, 0.5, 3)]);
        assert!((c.kl_mean - 0.2).abs() < 1e-12 && (c.kl_error - 0.1).abs() < 1e-12, "KL {} ± {}", c.kl_mean, c.kl_error);
        assert!((c.perplexity_ratio.0 - 2f64.sqrt()).abs() < 1e-12, "ratio {}", c.perplexity_ratio.0);
        assert!((c.delta_p_mean.0 + 0.125).abs() < 1e-12, "mean Δp {}", c.delta_p_mean.0);
        assert!((c.delta_p_rms.0 - (0.0625f64 / 2.0).sqrt()).abs() < 1e-12, "rms Δp {}", c.delta_p_rms.0);
        assert_eq!((c.top1.0, c.top5.0), (0.5, 0.8), "one of two, eight of ten");
    }
}
