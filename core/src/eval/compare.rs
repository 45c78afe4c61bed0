//! Before against after on held-out text, as llama.cpp's perplexity tool counts: chunks of `context` tokens, second half scored.
//!
//! Both models run in lockstep, a block of each at a time, so that the error of the residual stream behind every block comes with it. The
//! original can also be a stored base ([`super::base`]); then only the other model runs.

use super::base::{BaseBuilder, CompactBase, KlBounds};
use super::comparison::{Comparison, TokenComparison, perplexity_of};
use super::noise::noise_floor;
use super::runtime::{Running, Runtime};
use super::score::{Score, Scored, compared_on_device, scored};
use super::stream::{check_finite, stream_error};
use super::worst::worst;
use crate::calibrate::{HoldOutText, sequences};
use crate::error::{Error, Result};
use crate::job::{JobContext, Stage};
use crate::model::{Block, Stream, Transformer, Weights, ahead};
use crate::numeric::metric::kl_between;
use crate::report::NoticeKind;
use crate::source::Tokenizer;
use serde::{Deserialize, Serialize};

/// How much text, and in whose arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CompareOptions {
    /// Chunks.
    pub chunks: usize,
    /// Tokens a chunk.
    pub context: usize,
    /// Whose arithmetic.
    pub runtime: Runtime,
    /// Also measure the noise floor; it takes two more comparisons.
    pub noise_floor: bool,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self { chunks: 16, context: 512, runtime: Runtime::default(), noise_floor: false }
    }
}

/// Runs both models over the text. A text shorter than `options.chunks` chunks is used as far as it goes.
///
/// # Errors
/// `Unsupported` without a forward pass, `Input` for too little text, NaN in a stream or a tokenizer of another model, `Mismatch` for models
/// of different sizes, `Cancelled`.
pub fn compare(
    before: &dyn Weights,
    after: &dyn Weights,
    tokenizer: &Tokenizer,
    text: &HoldOutText,
    options: CompareOptions,
    cx: &JobContext,
) -> Result<Comparison> {
    Ok(run(before, after, tokenizer, text, options, None, cx)?.0)
}

/// As [`compare`], and what the original says is kept in a base.
///
/// # Errors
/// As [`compare`].
pub fn compare_saving_base(
    before: &dyn Weights,
    after: &dyn Weights,
    tokenizer: &Tokenizer,
    text: &HoldOutText,
    options: CompareOptions,
    model: &str,
    cx: &JobContext,
) -> Result<(Comparison, CompactBase)> {
    let (comparison, base) = run(before, after, tokenizer, text, options, Some(model), cx)?;
    let base = base.ok_or_else(|| Error::Input("no base was made".to_owned()))?;
    Ok((comparison, base))
}

fn run(
    before: &dyn Weights,
    after: &dyn Weights,
    tokenizer: &Tokenizer,
    text: &HoldOutText,
    options: CompareOptions,
    model: Option<&str>,
    cx: &JobContext,
) -> Result<(Comparison, Option<CompactBase>)> {
    let chunks = chunks(before, tokenizer, text, options, cx)?;
    let mut base = model.map(|model| BaseBuilder::new(model, options, &chunks));
    let mut comparison = compare_chunks([before, after], [options.runtime; 2], &chunks, options, base.as_mut(), cx)?;
    comparison.worst = worst(&comparison, &chunks, tokenizer);
    if options.noise_floor {
        comparison.noise = Some(noise_floor(before, &chunks, options, cx)?);
    }
    Ok((comparison, base.map(BaseBuilder::finish)))
}

/// As [`compare`], of tokens already cut into chunks, each model in its own arithmetic.
pub(super) fn compare_chunks(
    models: [&dyn Weights; 2],
    runtimes: [Runtime; 2],
    chunks: &[Vec<u32>],
    options: CompareOptions,
    mut base: Option<&mut BaseBuilder>,
    cx: &JobContext,
) -> Result<Comparison> {
    let running = [0, 1].map(|i| Running { weights: models[i], runtime: runtimes[i] });
    let models = [Transformer::on(&running[0], cx)?, Transformer::on(&running[1], cx)?];
    if models[0].blocks() != models[1].blocks() {
        let (expected, got) = (format!("{} blocks", models[0].blocks()), models[1].blocks().to_string());
        return Err(Error::Mismatch { operation: "compare models", expected, got });
    }
    let blocks = models[0].blocks() as u64;
    let total = 2 * blocks + chunks.len() as u64;
    let budget = cx.scratch.memory / 2;
    let mut streams = [models[0].stream(chunks, budget, cx)?, models[1].stream(chunks, budget, cx)?];
    let (mut block_errors, mut block_cosines) = (Vec::new(), Vec::new());
    // A block of the one, then the same block of the other.
    let run = |step: usize, block: Block| {
        cx.progress(Stage::Compare, step as u64, total);
        advance(["the original", "the quantized model"][step % 2], step / 2, &block, &mut streams[step % 2], cx)?;
        if step % 2 == 1 {
            let (error, cosine) = stream_error(&streams[0], &streams[1])?;
            block_errors.push(error);
            block_cosines.push(cosine);
        }
        Ok(())
    };
    ahead(2 * models[0].blocks(), |step| models[step % 2].block(step / 2), run)?;
    for (model, stream) in models.iter().zip(&mut streams) {
        stream.replace(|_, batch| model.final_norm(batch))?;
    }
    let heads = [models[0].head()?, models[1].head()?];
    let mut tokens = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        cx.checkpoint()?;
        cx.progress(Stage::Compare, 2 * blocks + index as u64, total);
        let [before, after] = [0, 1].map(|i| streams[i].read(index..index + 1));
        let hidden = [before?.swap_remove(0), after?.swap_remove(0)];
        // A base is made of the logits themselves.
        if base.is_none()
            && let Some(compared) = compared_on_device(chunk, [&hidden[0], &hidden[1]], [&heads[0], &heads[1]])?
        {
            tokens.extend(compared);
            continue;
        }
        let (before, after) = (scored(chunk, &hidden[0], &heads[0])?, scored(chunk, &hidden[1], &heads[1])?);
        tokens.extend(before.map_with(&after, |_, p, q, target| {
            let (before, after) = (Score::of(p, target), Score::of(q, target));
            token_comparison(target, kl_between(p, before.log_z, q, after.log_z), &before, &after)
        })?);
        if let Some(base) = &mut base {
            base.add(&before)?;
        }
    }
    cx.progress(Stage::Compare, total, total);
    Ok(Comparison { block_errors, block_cosines, ..Comparison::new(CompareOptions { chunks: chunks.len(), ..options }, tokens) })
}

/// One model's streams through one of its blocks; `which` is what messages call the model.
fn advance(which: &str, index: usize, block: &Block, stream: &mut Stream, cx: &JobContext) -> Result<()> {
    stream.replace(|sequences, batch| {
        let after = block.forward(batch, None, cx)?;
        check_finite(which, index, sequences.start, &after)?;
        Ok(after)
    })
}

fn token_comparison(token: u32, kl: f64, before: &Score, after: &Score) -> TokenComparison {
    TokenComparison {
        token,
        kl,
        nll_before: before.nll,
        nll_after: after.nll,
        top_before: before.top[0],
        top_after: after.top[0],
        top5_shared: before.shared(after),
    }
}

/// What the original says about a text, kept small; see [`super::base`]. `model` is its fingerprint.
///
/// # Errors
/// As [`compare`].
pub fn make_base(
    weights: &dyn Weights,
    tokenizer: &Tokenizer,
    text: &HoldOutText,
    options: CompareOptions,
    model: &str,
    cx: &JobContext,
) -> Result<CompactBase> {
    let chunks = chunks(weights, tokenizer, text, options, cx)?;
    let mut base = BaseBuilder::new(model, options, &chunks);
    single(weights, &chunks, options.runtime, cx, |_, scored| base.add(scored))?;
    Ok(base.finish())
}

/// Compares a model with a stored base, on the base's own text and in its arithmetic.
///
/// # Errors
/// As [`compare`].
pub fn compare_with_base(base: &CompactBase, after: &dyn Weights, tokenizer: &Tokenizer, cx: &JobContext) -> Result<Comparison> {
    let vocab = after.config().vocab_size;
    if vocab != base.vocab() || tokenizer.vocab_size() > vocab {
        let (expected, got) = (format!("a vocabulary of {}", base.vocab()), vocab.max(tokenizer.vocab_size()).to_string());
        return Err(Error::Mismatch { operation: "compare with the base", expected, got });
    }
    let options = base.options();
    let (mut tokens, mut bounds) = (Vec::new(), Vec::new());
    single(after, base.chunks(), options.runtime, cx, |chunk, scored| {
        let records = base.records_of(chunk)?;
        for row in scored.map(|i, logits, target| {
            let (after, record) = (Score::of(logits, target), &records[i]);
            let kl = record.kl(logits, after.log_z);
            (token_comparison(target, kl.estimate, &record.score(), &after), kl)
        })? {
            tokens.push(row.0);
            bounds.push(row.1);
        }
        Ok(())
    })?;
    let mut comparison = Comparison::new(options, tokens);
    comparison.bounds = Some(KlBounds::of(&bounds));
    comparison.worst = worst(&comparison, base.chunks(), tokenizer);
    Ok(comparison)
}

/// Perplexity and its standard error over the scored positions, as llama.cpp prints them.
///
/// # Errors
/// As [`compare`].
pub fn perplexity(model: &dyn Weights, tokenizer: &Tokenizer, text: &HoldOutText, options: CompareOptions, cx: &JobContext) -> Result<(f64, f64)> {
    let chunks = chunks(model, tokenizer, text, options, cx)?;
    let mut nll = Vec::new();
    single(model, &chunks, options.runtime, cx, |_, scored| {
        nll.extend(scored.map(|_, row, target| Score::of(row, target).nll)?);
        Ok(())
    })?;
    Ok(perplexity_of(&nll))
}

/// Runs one model and hands on the scored half of each chunk.
fn single(weights: &dyn Weights, chunks: &[Vec<u32>], runtime: Runtime, cx: &JobContext, mut each: impl FnMut(usize, &Scored) -> Result<()>) -> Result<()> {
    let running = Running { weights, runtime };
    let model = Transformer::on(&running, cx)?;
    let total = (model.blocks() + chunks.len()) as u64;
    let mut stream = model.stream(chunks, cx.scratch.memory, cx)?;
    let run = |index: usize, block: Block| {
        cx.progress(Stage::Compare, index as u64, total);
        advance("the model", index, &block, &mut stream, cx)
    };
    ahead(model.blocks(), |index| model.block(index), run)?;
    stream.replace(|_, batch| model.final_norm(batch))?;
    let head = model.head()?;
    for (index, chunk) in chunks.iter().enumerate() {
        cx.checkpoint()?;
        cx.progress(Stage::Compare, (model.blocks() + index) as u64, total);
        each(index, &scored(chunk, &stream.read(index..index + 1)?[0], &head)?)?;
    }
    cx.progress(Stage::Compare, total, total);
    Ok(())
}

fn chunks(model: &dyn Weights, tokenizer: &Tokenizer, text: &HoldOutText, options: CompareOptions, cx: &JobContext) -> Result<Vec<Vec<u32>>> {
    let CompareOptions { chunks: count, context, .. } = options;
    if context < 4 || count == 0 {
        return Err(Error::Input(format!("{count} chunks of {context} tokens leave nothing to score")));
    }
    cx.progress(Stage::Tokenize, 0, 1);
    let chunks = sequences(tokenizer, text.as_str(), context, Some(count))?;
    cx.progress(Stage::Tokenize, 1, 1);
    let vocab = model.config().vocab_size;
    if let Some(token) = chunks.iter().flatten().find(|t| **t as usize >= vocab) {
        return Err(Error::Input(format!("the tokenizer is not this model's: it gives token {token}, the model knows {vocab}")));
    }
    let tell = |text: String| cx.reporter.notice(None, NoticeKind::Other { text });
    if chunks.len() < count {
        tell(format!("the text has only {} of {count} chunks of {context} tokens", chunks.len()));
    }
    let trained = model.config().context_length;
    if (1..context).contains(&trained) {
        tell(format!("chunks of {context} tokens are longer than the {trained} the model was trained for; figures behind that say little"));
    }
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::RandomLlama;
    use crate::source::RopeLayout;

    const OPTIONS: CompareOptions = CompareOptions { chunks: 2, context: 16, runtime: Runtime::Exact, noise_floor: false };

    fn compare_random(before: &RandomLlama, after: &RandomLlama) -> Result<Comparison> {
        compare_chunks([before, after], [Runtime::Exact; 2], &before.sequences(&[16, 16]), OPTIONS, None, &JobContext::silent())
    }

    #[test]
    fn a_model_compared_with_itself_has_no_divergence() {
        let model = RandomLlama::new(21, RopeLayout::Half, true);
        let same = compare_random(&model, &model).unwrap();
        assert!(same.kl_mean.abs() < 1e-12 && same.kl_quantiles[4].abs() < 1e-12, "KL {} {}", same.kl_mean, same.kl_quantiles[4]);
        assert_eq!((same.top1, same.top5), ((1.0, 0.0), (1.0, 0.0)), "every top token stays");
        assert_eq!(same.block_errors, [0.0, 0.0], "no error behind any block");
        assert_eq!(same.block_cosines, [1.0, 1.0], "the same direction");
        assert_eq!(same.perplexity_before, same.perplexity_after, "one perplexity");
        assert_eq!((same.perplexity_ratio, same.delta_p_rms), ((1.0, 0.0), (0.0, 0.0)), "nothing changed");
        assert_eq!(same.tokens.len(), 2 * 7, "positions 8..15 of each chunk, each predicting the next token");
    }

    #[test]
    fn larger_damage_gives_larger_divergence_and_shows_behind_the_damaged_block() {
        let model = RandomLlama::new(22, RopeLayout::Half, true);
        let damaged = |amount: f32| {
            let mut other = model.clone();
            other.tensors["blk.1.ffn_down.weight"].0.iter_mut().enumerate().for_each(|(i, w)| *w += amount * (i as f32).sin());
            compare_random(&model, &other).unwrap()
        };
        let (little, much) = (damaged(0.01), damaged(0.1));
        assert!(0.0 < little.kl_mean && little.kl_mean < much.kl_mean, "{} < {}", little.kl_mean, much.kl_mean);
        assert_eq!(little.block_errors[0], 0.0, "the first block is whole");
        assert!(0.0 < little.block_errors[1] && little.block_errors[1] < much.block_errors[1], "the second is not");
        assert!(1.0 > little.block_cosines[1] && little.block_cosines[1] > much.block_cosines[1], "and points elsewhere");
        assert!(little.kl_quantiles.windows(2).all(|w| w[0] <= w[1]), "quantiles are sorted");
        assert!((little.kl_quantiles[4] - little.tokens.iter().fold(0.0, |m: f64, t| m.max(t.kl))).abs() < 1e-15, "the largest is the last quantile");
    }

    #[test]
    fn a_comparison_has_the_same_bits_when_activations_do_not_fit_in_memory() {
        let model = RandomLlama::new(26, RopeLayout::Half, true);
        let mut other = model.clone();
        other.tensors["blk.0.attn_v.weight"].0[3] += 0.5;
        let folder = tempfile::tempdir().unwrap();
        let with = |memory| {
            let mut cx = JobContext::silent();
            cx.scratch = crate::job::Scratch { memory, folder: folder.path().to_owned() };
            let found = compare_chunks([&model, &other], [Runtime::Exact; 2], &model.sequences(&[16, 16]), OPTIONS, None, &cx).unwrap();
            (found, cx.reporter.notices().len())
        };
        let (in_memory, spilled) = (with(1 << 20), with(0));
        assert_eq!(in_memory.0, spilled.0, "every figure");
        assert_eq!((in_memory.1, spilled.1), (0, 1), "the file is told, once");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "and nothing is left");
    }

    #[test]
    fn models_of_different_depth_are_refused() {
        let model = RandomLlama::new(23, RopeLayout::Half, true);
        let mut shallow = model.clone();
        shallow.config.block_count = 1;
        assert!(matches!(compare_random(&model, &shallow), Err(Error::Mismatch { .. })), "one block and two");
    }

    #[test]
    fn a_model_with_nan_is_named_with_block_channel_and_token() {
        let model = RandomLlama::new(24, RopeLayout::Half, true);
        let mut broken = model.clone();
        broken.tensors["blk.1.ffn_down.weight"].0[7 * 36] = f32::NAN;
        let error = compare_random(&model, &broken).unwrap_err().to_string();
        assert!(error.starts_with("the quantized model gives NaN or infinity: behind block 1, channel 7, first at token 0"), "{error}");
    }

    #[test]
    fn the_noise_floor_is_small_and_bf16_is_above_the_order_of_sums() {
        let model = RandomLlama::new(25, RopeLayout::Half, true);
        let noise = noise_floor(&model, &model.sequences(&[16, 16]), OPTIONS, &JobContext::silent()).unwrap();
        assert!(noise.other_order < 1e-9, "order of sums {}", noise.other_order);
        assert!(noise.bf16 > 1e-8 && noise.bf16 < 1e-2, "bf16 {}", noise.bf16);
    }
}
