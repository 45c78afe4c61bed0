//! Before against after on held-out text, as llama.cpp's perplexity tool counts: chunks of `context` tokens, second half scored.
//!
//! Both models run in lockstep, a block of each at a time, so that the error of the residual stream behind every block comes with it.

use super::score::{Scored, score, scored};
use crate::calibrate::sequences;
use crate::error::{Error, Result};
use crate::job::{JobContext, Stage};
use crate::model::{Transformer, Weights, with_values};
use crate::numeric::metric::{kl_divergence, mean_and_standard_error, quantile, ratio};
use crate::source::Tokenizer;
use candle_core::Tensor;
use rayon::prelude::*;
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
    /// ‖after − before‖² / ‖before‖² of the residual stream behind each block, over all tokens.
    #[serde(default)]
    pub block_errors: Vec<f64>,
    /// Every scored position in text order.
    pub tokens: Vec<TokenComparison>,
}

/// Runs both models over the text. A text shorter than `options.chunks` chunks is used as far as it goes.
///
/// # Errors
/// `Unsupported` without a forward pass, `Input` for too little text, `Mismatch` for models of different sizes, `Cancelled`.
pub fn compare(before: &dyn Weights, after: &dyn Weights, tokenizer: &Tokenizer, text: &str, options: CompareOptions, cx: &JobContext) -> Result<Comparison> {
    let chunks = chunks(tokenizer, text, options, cx)?;
    compare_chunks(before, after, &chunks, options, cx)
}

/// As [`compare`], of tokens already cut into chunks.
fn compare_chunks(before: &dyn Weights, after: &dyn Weights, chunks: &[Vec<u32>], options: CompareOptions, cx: &JobContext) -> Result<Comparison> {
    let models = [Transformer::new(before)?, Transformer::new(after)?];
    if models[0].blocks() != models[1].blocks() {
        let (expected, got) = (format!("{} blocks", models[0].blocks()), models[1].blocks().to_string());
        return Err(Error::Mismatch { operation: "compare models", expected, got });
    }
    let blocks = models[0].blocks() as u64;
    let total = 2 * blocks + chunks.len() as u64;
    let mut streams = [models[0].embed(chunks)?, models[1].embed(chunks)?];
    let mut block_errors = Vec::with_capacity(models[0].blocks());
    for index in 0..models[0].blocks() {
        let done = 2 * index as u64;
        cx.progress(Stage::Compare, done, total);
        streams[0] = models[0].block(index)?.forward(&streams[0], None, cx)?;
        cx.progress(Stage::Compare, done + 1, total);
        streams[1] = models[1].block(index)?.forward(&streams[1], None, cx)?;
        block_errors.push(stream_error(&streams[0], &streams[1])?);
    }
    let hidden = [models[0].final_norm(&streams[0])?, models[1].final_norm(&streams[1])?];
    drop(streams);
    let heads = [models[0].head()?, models[1].head()?];
    let mut tokens = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        cx.checkpoint()?;
        cx.progress(Stage::Compare, 2 * blocks + index as u64, total);
        let before = scored(chunk, &hidden[0][index], &heads[0])?;
        let after = scored(chunk, &hidden[1][index], &heads[1])?;
        tokens.extend(compare_rows(&before, &after)?);
    }
    cx.progress(Stage::Compare, total, total);
    Ok(summary(options, block_errors, tokens))
}

/// Perplexity and its standard error over the scored positions, as llama.cpp prints them.
///
/// # Errors
/// As [`compare`].
pub fn perplexity(model: &dyn Weights, tokenizer: &Tokenizer, text: &str, options: CompareOptions, cx: &JobContext) -> Result<(f64, f64)> {
    let chunks = chunks(tokenizer, text, options, cx)?;
    let transformer = Transformer::new(model)?;
    let total = (transformer.blocks() + chunks.len()) as u64;
    let mut stream = transformer.embed(&chunks)?;
    for index in 0..transformer.blocks() {
        cx.progress(Stage::Compare, index as u64, total);
        stream = transformer.block(index)?.forward(&stream, None, cx)?;
    }
    let hidden = transformer.final_norm(&stream)?;
    let head = transformer.head()?;
    let mut nll = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        cx.checkpoint()?;
        cx.progress(Stage::Compare, (transformer.blocks() + index) as u64, total);
        nll.extend(score(&scored(chunk, &hidden[index], &head)?)?.into_iter().map(|s| s.nll));
    }
    cx.progress(Stage::Compare, total, total);
    Ok(perplexity_of(&nll))
}

fn chunks(tokenizer: &Tokenizer, text: &str, options: CompareOptions, cx: &JobContext) -> Result<Vec<Vec<u32>>> {
    if options.context < 4 || options.chunks == 0 {
        return Err(Error::Input(format!("{} chunks of {} tokens leave nothing to score", options.chunks, options.context)));
    }
    cx.progress(Stage::Tokenize, 0, 1);
    let chunks = sequences(tokenizer, text, options.context, Some(options.chunks))?;
    cx.progress(Stage::Tokenize, 1, 1);
    if chunks.len() < options.chunks {
        let text = format!("the text has only {} of {} chunks of {} tokens", chunks.len(), options.chunks, options.context);
        cx.reporter.notice(None, crate::report::NoticeKind::Other { text });
    }
    Ok(chunks)
}

/// ‖b − a‖² / ‖a‖² over all sequences.
fn stream_error(a: &[Tensor], b: &[Tensor]) -> Result<f64> {
    let (mut error, mut norm) = (0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (e, n) = with_values(a, |a| {
            with_values(b, |b| {
                Ok(a.iter().zip(b).fold((0.0f64, 0.0f64), |(e, n), (&a, &b)| {
                    let (a, b) = (f64::from(a), f64::from(b));
                    (e + (b - a) * (b - a), n + a * a)
                }))
            })
        })?;
        error += e;
        norm += n;
    }
    Ok(ratio(error, norm))
}

fn compare_rows(before: &Scored, after: &Scored) -> Result<Vec<TokenComparison>> {
    let kl: Vec<f64> =
        before.rows(|p| after.rows(|q| Ok(p.par_chunks(before.vocab).zip(q.par_chunks(before.vocab)).map(|(p, q)| kl_divergence(p, q)).collect())))?;
    let rows = score(before)?.into_iter().zip(score(after)?);
    Ok(rows
        .zip(kl)
        .zip(&before.targets)
        .map(|(((b, a), kl), &token)| TokenComparison { token, kl, nll_before: b.nll, nll_after: a.nll, top_before: b.top, top_after: a.top })
        .collect())
}

fn summary(options: CompareOptions, block_errors: Vec<f64>, tokens: Vec<TokenComparison>) -> Comparison {
    let column = |f: fn(&TokenComparison) -> f64| tokens.iter().map(f).collect::<Vec<f64>>();
    let mut kl = column(|t| t.kl);
    let (kl_mean, kl_error) = mean_and_standard_error(&kl);
    kl.sort_by(f64::total_cmp);
    Comparison {
        options,
        kl_mean,
        kl_error,
        kl_quantiles: [0.5, 0.9, 0.99, 0.999, 1.0].map(|q| quantile(&kl, q)),
        perplexity_before: perplexity_of(&column(|t| t.nll_before)),
        perplexity_after: perplexity_of(&column(|t| t.nll_after)),
        top1: mean_and_standard_error(&column(|t| f64::from(u8::from(t.top_before == t.top_after)))),
        block_errors,
        tokens,
    }
}

/// exp(mean NLL), and its standard error to first order: PPL · SE(mean NLL).
fn perplexity_of(nll: &[f64]) -> (f64, f64) {
    let (mean, error) = mean_and_standard_error(nll);
    (mean.exp(), mean.exp() * error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::RandomLlama;
    use crate::source::RopeLayout;

    const OPTIONS: CompareOptions = CompareOptions { chunks: 2, context: 16 };

    #[test]
    fn a_model_compared_with_itself_has_no_divergence() {
        let model = RandomLlama::new(21, RopeLayout::Half, true);
        let same = compare_chunks(&model, &model, &model.sequences(&[16, 16]), OPTIONS, &JobContext::silent()).unwrap();
        assert!(same.kl_mean.abs() < 1e-12 && same.kl_quantiles[4].abs() < 1e-12, "KL {} {}", same.kl_mean, same.kl_quantiles[4]);
        assert_eq!(same.top1, (1.0, 0.0), "every top token stays");
        assert_eq!(same.block_errors, [0.0, 0.0], "no error behind any block");
        assert_eq!(same.perplexity_before, same.perplexity_after, "one perplexity");
        assert_eq!(same.tokens.len(), 2 * 7, "positions 8..15 of each chunk, each predicting the next token");
    }

    #[test]
    fn larger_damage_gives_larger_divergence_and_shows_behind_the_damaged_block() {
        let model = RandomLlama::new(22, RopeLayout::Half, true);
        let damaged = |amount: f32| {
            let mut other = model.clone();
            other.tensors["blk.1.ffn_down.weight"].0.iter_mut().enumerate().for_each(|(i, w)| *w += amount * (i as f32).sin());
            compare_chunks(&model, &other, &model.sequences(&[16, 16]), OPTIONS, &JobContext::silent()).unwrap()
        };
        let (little, much) = (damaged(0.01), damaged(0.1));
        assert!(0.0 < little.kl_mean && little.kl_mean < much.kl_mean, "{} < {}", little.kl_mean, much.kl_mean);
        assert_eq!(little.block_errors[0], 0.0, "the first block is whole");
        assert!(0.0 < little.block_errors[1] && little.block_errors[1] < much.block_errors[1], "the second is not");
        assert!(little.kl_quantiles.windows(2).all(|w| w[0] <= w[1]), "quantiles are sorted");
        assert!((little.kl_quantiles[4] - little.tokens.iter().fold(0.0, |m: f64, t| m.max(t.kl))).abs() < 1e-15, "the largest is the last quantile");
    }

    #[test]
    fn models_of_different_depth_are_refused() {
        let model = RandomLlama::new(23, RopeLayout::Half, true);
        let mut shallow = model.clone();
        shallow.config.block_count = 1;
        let result = compare_chunks(&model, &shallow, &model.sequences(&[16]), OPTIONS, &JobContext::silent());
        assert!(matches!(result, Err(Error::Mismatch { .. })), "{result:?}");
    }

    #[test]
    fn perplexity_of_a_fair_coin_is_two() {
        let (ppl, error) = perplexity_of(&[2f64.ln(); 10]);
        assert!((ppl - 2.0).abs() < 1e-12 && error.abs() < 1e-12, "{ppl} ± {error}");
    }
}
