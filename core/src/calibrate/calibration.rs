//! What a model does to its activations on a text: sums that can be merged.

use super::collect::Collector;
use super::cross::{Cross, Keep};
use super::{CalibrationText, ExpertSums, matrices_bytes, sequences, text_hash};
use crate::error::{Error, Result};
use crate::job::{JobContext, Stage};
use crate::model::{Block, Stream, Transformer, Weights, ahead};
use crate::report::NoticeKind;
use crate::source::{ModelConfig, Source};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// How much text, and what to keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalibrationOptions {
    /// Tokens to run, rounded down to whole sequences.
    pub tokens: usize,
    /// Tokens a sequence.
    pub sequence_length: usize,
    /// Keep H = XᵀX for inputs up to this many columns (0: only Σx²).
    pub gram_columns: usize,
}

impl Default for CalibrationOptions {
    fn default() -> Self {
        Self { tokens: 32_768, sequence_length: 512, gram_columns: 8192 }
    }
}

/// Sums over the tokens that entered one set of linears. An imatrix file has only tokens and Σx².
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputStatistics {
    /// Tokens seen.
    pub tokens: u64,
    /// Σx² of each column.
    pub sum_squares: Vec<f32>,
    /// Σ xᵢxⱼ, `columns × columns`, full and symmetric, when it was kept.
    pub gram: Option<Vec<f32>>,
    /// Σ (x̃ᵢ − xᵢ)·xⱼ with x̃ the same tokens' inputs in the original model, row i, where a sequential job looked at both; not kept in files.
    pub cross: Option<Vec<f32>>,
    /// Σx of each column; empty when unknown.
    pub sums: Vec<f32>,
    /// Largest |x| of each column; empty when unknown.
    pub absmax: Vec<f32>,
    /// The tokens with the largest single values, largest first, at most [`PEAKS`] of them.
    pub peaks: Vec<Peak>,
    /// Of a stack of experts: the sums of each; empty for everything else.
    pub experts: Vec<ExpertSums>,
}

/// Tokens that are remembered for their largest value.
pub const PEAKS: usize = 8;

/// A token's largest value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// Which token of the calibration, from 0; its place in its sequence is this modulo the sequence's length.
    pub token: u64,
    /// Which channel.
    pub channel: u32,
    /// The value.
    pub value: f32,
}

impl InputStatistics {
    /// Mean x of each column; empty when unknown.
    pub fn means(&self) -> Vec<f32> {
        self.sums.iter().map(|s| s / self.tokens.max(1) as f32).collect()
    }

    /// The peaks that are massive activations: above 100, and above 1000 times the root mean square of the median channel (after Sun et al.
    /// 2024, "Massive Activations in Large Language Models", §2, with a median that sums can give).
    pub fn massive(&self) -> Vec<Peak> {
        let mut squares = self.sum_squares.clone();
        squares.sort_by(f32::total_cmp);
        let median = squares.get(squares.len() / 2).map_or(0.0, |s| (s / self.tokens.max(1) as f32).sqrt());
        self.peaks.iter().copied().filter(|p| p.value.abs() > 100.0 && p.value.abs() > 1000.0 * median).collect()
    }
}

/// The activation statistics of a model on a text.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Fingerprint of the model.
    pub model: String,
    /// blake3 of the text.
    pub text: String,
    /// Options it was made with.
    pub options: CalibrationOptions,
    /// Statistics by input; the key is the first linear that reads it.
    pub inputs: IndexMap<String, InputStatistics>,
    /// Canonical tensor name → key of its input.
    pub tensors: IndexMap<String, String>,
}

impl Calibration {
    /// The statistics of what enters this tensor.
    pub fn of(&self, tensor: &str) -> Option<&InputStatistics> {
        self.inputs.get(self.tensors.get(tensor)?)
    }

    /// Tokens that were run.
    pub fn tokens(&self) -> u64 {
        self.tensors.values().filter_map(|input| self.inputs.get(input)).map(|input| input.tokens).max().unwrap_or(0)
    }

    /// blake3 over everything that was measured; part of every cache key right of here. Reads all sums: keep it rather than ask again.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let options = &self.options;
        let head = (&self.model, &self.text, options.tokens, options.sequence_length, options.gram_columns, &self.tensors);
        // Strings and integers always serialise; Debug spells them as well.
        hasher.update(format!("{head:?}").as_bytes());
        for (key, input) in &self.inputs {
            hasher.update(format!("{key:?} {} {} {}", input.tokens, input.sum_squares.len(), input.gram.is_some()).as_bytes());
            hasher.update(bytemuck::cast_slice(&input.sum_squares));
            hasher.update(bytemuck::cast_slice(input.gram.as_deref().unwrap_or_default()));
            hasher.update(bytemuck::cast_slice(&input.sums));
            hasher.update(bytemuck::cast_slice(&input.absmax));
            for expert in &input.experts {
                hasher.update(&expert.tokens.to_le_bytes());
                hasher.update(bytemuck::cast_slice(&expert.sum_squares));
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// Runs the model over the text and collects the statistics of every linear's input. In memory at a time: the weights of a block and of
/// the next one, the sums, and the residual streams of all tokens as far as the context's memory goes beside the sums; else they are in
/// a temporary file.
///
/// # Errors
/// `Unsupported` for an architecture without forward, `Input` for too little text, `Cancelled`.
pub fn calibrate(source: &Source, text: &CalibrationText, options: &CalibrationOptions, cx: &JobContext) -> Result<Calibration> {
    let length = options.sequence_length;
    let count = options.tokens.checked_div(length).unwrap_or(0);
    if count == 0 {
        return Err(Error::Input(format!("{} tokens are not one sequence of {length}", options.tokens)));
    }
    cx.progress(Stage::Tokenize, 0, 1);
    let sequences = sequences(&*source.tokenizer()?, text.as_str(), length, Some(count))?;
    cx.progress(Stage::Tokenize, 1, 1);
    if sequences.len() < count {
        let text = format!("the text has only {} of the {} tokens to calibrate with", sequences.len() * length, count * length);
        cx.reporter.notice(None, NoticeKind::Other { text });
    }
    calibrate_sequences(source, &sequences, text_hash(text.as_str()), options, cx)
}

/// As [`calibrate`], of text that is already cut into sequences; `text` is its hash.
///
/// # Errors
/// As [`calibrate`].
pub fn calibrate_sequences(source: &Source, sequences: &[Vec<u32>], text: String, options: &CalibrationOptions, cx: &JobContext) -> Result<Calibration> {
    check_sequences(&source.config, sequences, options.sequence_length, cx)?;
    let (inputs, tensors) = collect(source, sequences, options.gram_columns, cx)?;
    Ok(Calibration { model: source.fingerprint.clone(), text, options: options.clone(), inputs, tensors })
}

/// Refuses tokens that the model does not know, and tells of sequences longer than it was trained for.
pub(crate) fn check_sequences(config: &ModelConfig, sequences: &[Vec<u32>], length: usize, cx: &JobContext) -> Result<()> {
    let (vocab, trained) = (config.vocab_size, config.context_length);
    if let Some(token) = sequences.iter().flatten().find(|t| **t as usize >= vocab) {
        return Err(Error::Input(format!("the tokenizer is not this model's: it gives token {token}, the model knows {vocab}")));
    }
    if (1..length).contains(&trained) {
        let text = format!("sequences of {length} tokens are longer than the {trained} the model was trained for");
        cx.reporter.notice(None, NoticeKind::Other { text });
    }
    Ok(())
}

/// Experts of a block; 0 for a model without.
fn experts(weights: &dyn Weights) -> usize {
    weights.config().anatomy.as_ref().and_then(|anatomy| anatomy.experts.as_ref()).map_or(0, |experts| experts.count)
}

/// Statistics by input, and each tensor's input.
type Collected = (IndexMap<String, InputStatistics>, IndexMap<String, String>);

/// The statistics of the inputs inside one block, whose own inputs are `stream`; that stays as it is. With the streams of the original, also how
/// far the inputs have moved from its; those go through the block.
pub(crate) fn collect_block(
    weights: &dyn Weights,
    block: &Block,
    stream: &Stream,
    originals: Option<&mut Stream>,
    gram_columns: usize,
    cx: &JobContext,
) -> Result<Collected> {
    let Some(originals) = originals else {
        return again_where_sums_are_lost(cx, || {
            let mut collector = Collector::new(gram_columns, &cx.reporter).with_experts(experts(weights)).with_device(block.device().cloned());
            for batch in stream.batches() {
                block.forward(&stream.read(batch)?, Some(&mut collector), cx)?;
            }
            collector.settle()?;
            Ok(collector.finish())
        });
    };
    // These streams move on, so that there is no second time: sums are made on the host.
    let mut collector = Collector::new(gram_columns, &cx.reporter).with_experts(experts(weights));
    let mut cross = Cross { widest: gram_columns, kept: IndexMap::new(), sums: IndexMap::new() };
    originals.replace(|range, batch| {
        let mut keep = Keep { taps: &mut collector, inputs: std::mem::take(&mut cross.kept) };
        block.forward(&stream.read(range)?, Some(&mut keep), cx)?;
        cross.kept = keep.inputs;
        block.forward(batch, Some(&mut cross), cx)
    })?;
    let (mut inputs, tensors) = collector.finish();
    for (key, sums) in cross.sums {
        if let Some(input) = inputs.get_mut(&key) {
            input.cross = Some(sums);
        }
    }
    Ok((inputs, tensors))
}

/// The statistics of the head's input, from the streams behind the last block.
pub(crate) fn collect_head(transformer: &Transformer<'_>, stream: &Stream, gram_columns: usize, cx: &JobContext) -> Result<Collected> {
    let mut collector = Collector::new(gram_columns, &cx.reporter);
    show_head(transformer, stream, &mut collector)?;
    Ok(collector.finish())
}

fn show_head(transformer: &Transformer<'_>, stream: &Stream, collector: &mut Collector<'_>) -> Result<()> {
    for batch in stream.batches() {
        transformer.show_head_input(&transformer.final_norm(&stream.read(batch)?)?, collector)?;
    }
    Ok(())
}

/// The statistics of every linear's input over these sequences, and which tensor reads which input.
pub(super) fn collect(weights: &dyn Weights, sequences: &[Vec<u32>], gram_columns: usize, cx: &JobContext) -> Result<Collected> {
    again_where_sums_are_lost(cx, || collect_once(weights, sequences, gram_columns, cx))
}

/// Sums that were on a device are lost with it. It is not asked again, so the second time is the last.
fn again_where_sums_are_lost(cx: &JobContext, collect: impl Fn() -> Result<Collected>) -> Result<Collected> {
    let found = collect();
    if matches!(found, Err(Error::Device { .. })) && cx.accelerator().is_none() {
        return collect();
    }
    found
}

fn collect_once(weights: &dyn Weights, sequences: &[Vec<u32>], gram_columns: usize, cx: &JobContext) -> Result<Collected> {
    let transformer = Transformer::on(weights, cx)?;
    let total = transformer.blocks() as u64 + 1;
    let mut collector = Collector::new(gram_columns, &cx.reporter).with_experts(experts(weights)).with_device(transformer.device().cloned());
    let budget = cx.scratch.memory.saturating_sub(matrices_bytes(weights.config(), gram_columns));
    let mut stream = transformer.stream(sequences, budget, cx)?;
    let run = |index, block: Block| {
        cx.progress(Stage::Calibrate, index as u64, total);
        stream.through(&block, Some(&mut collector), cx)?;
        collector.settle()
    };
    ahead(transformer.blocks(), |index| transformer.block(index), run)?;
    cx.progress(Stage::Calibrate, total - 1, total);
    show_head(&transformer, &stream, &mut collector)?;
    cx.progress(Stage::Calibrate, total, total);
    Ok(collector.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::RandomLlama;
    use crate::model::with_values;
    use crate::source::RopeLayout;
    use candle_core::Tensor;

    #[test]
    fn every_weight_matrix_gets_an_input_of_its_width_and_the_sums_are_of_that_input() {
        let model = RandomLlama::new(11, RopeLayout::Half, false);
        let sequences = model.sequences(&[16, 16, 16]);
        let (inputs, tensors) = collect(&model, &sequences, 100, &JobContext::silent()).unwrap();
        for (name, (_, shape)) in model.tensors.iter().filter(|(name, (_, shape))| shape.len() == 2 && *name != "token_embd.weight") {
            let input = &inputs[&tensors[name]];
            assert_eq!((input.sum_squares.len(), input.tokens), (shape[1], 48), "{name}");
        }
        // The head's input is what `hidden` returns.
        let hidden = Transformer::new(&model).unwrap().hidden(&sequences, None, &JobContext::silent()).unwrap();
        let all = with_values(&Tensor::cat(&hidden, 0).unwrap(), |x| Ok(x.to_vec())).unwrap();
        let first: f64 = all.chunks(24).map(|row| f64::from(row[0]).powi(2)).sum();
        assert!((f64::from(inputs["output.weight"].sum_squares[0]) / first - 1.0).abs() < 1e-5, "Σx² of the head's first channel");
    }

    #[test]
    fn weights_with_nan_are_told_and_the_job_goes_on() {
        let mut model = RandomLlama::new(12, RopeLayout::Half, true);
        model.tensors["blk.1.ffn_up.weight"].0[5 * 24] = f32::NAN;
        let cx = JobContext::silent();
        let (inputs, tensors) = collect(&model, &model.sequences(&[16]), 100, &cx).unwrap();
        assert!(inputs.contains_key("blk.1.ffn_gate.weight") && !tensors.contains_key("blk.1.ffn_down.weight"), "up to the bad tensor");
        let notices: Vec<String> = cx.reporter.notices().iter().map(ToString::to_string).collect();
        assert!(notices[0].starts_with("blk.1.ffn_down.weight: channel 5"), "{notices:?}");
    }

    #[test]
    fn statistics_have_the_same_bits_when_activations_do_not_fit_in_memory() {
        let model = RandomLlama::new(14, RopeLayout::Half, false);
        let (sequences, folder) = (model.sequences(&[40; 60]), tempfile::tempdir().unwrap());
        let with = |memory| {
            let mut cx = JobContext::silent();
            cx.scratch = crate::job::Scratch { memory, folder: folder.path().to_owned() };
            let found = collect(&model, &sequences, 100, &cx).unwrap();
            (found, cx.reporter.notices().len())
        };
        // The matrices of 24 and 36 columns and 60 × 40 tokens of 24 channels.
        let matrices = matrices_bytes(&model.config, 100);
        assert_eq!(matrices, 4 * (11 * 24 * 24 + 2 * 36 * 36), "what the sums take");
        let needed = matrices + 4 * 24 * 2400;
        let (in_memory, spilled) = (with(needed), with(needed - 1));
        assert!(in_memory.0 == spilled.0, "the same sums, maxima and matrices");
        assert_eq!((in_memory.1, spilled.1), (0, 1), "the file is told");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "and nothing is left of it");
    }

    #[test]
    fn a_calibration_that_is_cancelled_leaves_no_file_behind() {
        let model = RandomLlama::new(15, RopeLayout::Half, false);
        let folder = tempfile::tempdir().unwrap();
        let token = crate::job::CancelToken::default();
        let cancel = token.clone();
        let sink = move |event: crate::job::JobEvent| {
            if matches!(event, crate::job::JobEvent::Progress(p) if p.done == 1) {
                cancel.cancel();
            }
        };
        let mut cx = JobContext::new(crate::compute::DeviceChoice::Cpu, sink);
        (cx.cancel, cx.scratch) = (token, crate::job::Scratch { memory: 0, folder: folder.path().to_owned() });
        assert!(matches!(collect(&model, &model.sequences(&[16; 4]), 0, &cx), Err(Error::Cancelled)), "in the second block");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing");
    }

    #[test]
    fn a_cancelled_calibration_stops() {
        let model = RandomLlama::new(13, RopeLayout::Half, true);
        let cx = JobContext::silent();
        cx.cancel.cancel();
        assert!(matches!(collect(&model, &model.sequences(&[16]), 0, &cx), Err(Error::Cancelled)), "before the first block");
    }
}
