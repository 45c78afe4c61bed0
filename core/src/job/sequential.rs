//! Quantization where each block is rounded for what the quantized blocks before it give, not for what the original gives: the inputs of
//! block k are collected behind the finished blocks 0 to k − 1, block k is rounded for them, and they go on through what it became.
//! (GPTQ, section 4, runs its layers so; here a block is the step, as in its public code.)
//!
//! In memory at a time: two blocks of weights, one block's matrices (so that `--memory` bounds those of a block, not of the model) and one
//! copy of the residual streams (GPTAQ: and one of the original's). The embedding, where it is also the head, is rounded last, for the head's input; the streams begin with
//! the original's. An embedding of its own is rounded first. Run again, the job goes on: blocks whose tensors are durable are only run.

use super::durable::{Finished, write_beside};
use super::encode::Encoder;
use super::journal::Journal;
use super::quantize::{Task, check, earlier, finish, tasks};
use super::{Artifact, JobContext, QuantizeOptions};
use crate::calibrate::{Calibration, CalibrationOptions, check_sequences, collect_block, collect_head, matrices_bytes};
use crate::codec::Format;
use crate::error::{Error, Result};
use crate::model::{Block, Transformer, Weights, ahead};
use crate::recipe::Recipe;
use crate::source::{ModelConfig, Source};
use indexmap::IndexMap;

/// The text whose activations the blocks are rounded for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequentialText {
    /// Token sequences.
    pub sequences: Vec<Vec<u32>>,
    /// Hash of the text they come from.
    pub text: String,
    /// How they are looked at; `gram_columns` is of one block.
    pub options: CalibrationOptions,
}

impl SequentialText {
    /// What stands in the job for the calibration: equal for equal statistics.
    fn identity(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{} {:?}", self.text, self.options).as_bytes());
        for token in self.sequences.iter().flatten() {
            hasher.update(&token.to_le_bytes());
        }
        format!("sequential {}", hasher.finalize().to_hex())
    }
}

/// Quantizes every tensor of the recipe, block after block. Running again resumes; a folder of another recipe or text is refused.
///
/// # Errors
/// As [`super::quantize()`]; `Unsupported` for an architecture without forward pass, `Input` for tokens of another model.
pub fn quantize_sequentially(source: &Source, text: &SequentialText, recipe: &Recipe, options: &QuantizeOptions, cx: &JobContext) -> Result<Artifact> {
    let rounder = check(source, None, recipe)?;
    if let Some(name) = recipe.residuals.keys().next() {
        return Err(Error::unsupported("residuals in a sequential job", format!("the recipe keeps one of {name}; quantize with a calibration instead")));
    }
    check_sequences(&source.config, &text.sequences, text.options.sequence_length, cx)?;
    let transformer = Transformer::on(source, cx)?;
    let order = Order::of(tasks(source, recipe)?, source, &transformer);
    let journal = Journal::begin(&options.folder, recipe, Some(text.identity()))?;
    let total = order.all().map(|t| source.tensors[t.index].size_bytes).sum();
    let walk =
        Walk { source, transformer, text, journal, encoder: Encoder::new(source, None, rounder, cx), original_inputs: rounder.uses_original_inputs(), cx };
    write_beside(total, cx, |hand_over| walk.run(&order, hand_over))?;
    Artifact::open(&options.folder)
}

/// When which tensor is rounded.
struct Order {
    /// Tensors that no block reads, and an embedding that is not the head.
    first: Vec<Task>,
    blocks: Vec<Vec<Task>>,
    /// The head.
    last: Vec<Task>,
}

impl Order {
    fn of(tasks: Vec<Task>, source: &Source, transformer: &Transformer<'_>) -> Self {
        let mut order = Self { first: Vec::new(), blocks: (0..transformer.blocks()).map(|_| Vec::new()).collect(), last: Vec::new() };
        for task in tasks {
            let name = source.tensors[task.index].name.as_str();
            match transformer.first_block(name) {
                _ if Some(name) == transformer.head_name() => order.last.push(task),
                Some(block) if name != "token_embd.weight" && block < order.blocks.len() => order.blocks[block].push(task),
                _ => order.first.push(task),
            }
        }
        order
    }

    fn all(&self) -> impl Iterator<Item = &Task> {
        self.first.iter().chain(self.blocks.iter().flatten()).chain(&self.last)
    }
}

struct Walk<'a> {
    source: &'a Source,
    transformer: Transformer<'a>,
    text: &'a SequentialText,
    journal: Journal,
    encoder: Encoder<'a>,
    /// Whether the rounder wants to know what the original's inputs were.
    original_inputs: bool,
    cx: &'a JobContext,
}

impl Walk<'_> {
    fn run(&self, order: &Order, hand_over: &mut dyn FnMut(Finished) -> Result<()>) -> Result<()> {
        let (source, cx, gram_columns) = (self.source, self.cx, self.text.options.gram_columns);
        let first = self.round(&order.first, &self.nothing(), hand_over)?;
        let of_a_block = ModelConfig { block_count: 1, ..source.config.clone() };
        let budget = cx.scratch.memory.saturating_sub(matrices_bytes(&of_a_block, gram_columns)) / if self.original_inputs { 2 } else { 1 };
        let rounded = Rounded { source, stored: first };
        let mut stream = Transformer::on(&rounded, cx)?.stream(&self.text.sequences, budget, cx)?;
        let mut originals = if self.original_inputs { Some(self.transformer.stream(&self.text.sequences, budget, cx)?) } else { None };
        let run = |index: usize, original: Block| {
            let tasks = &order.blocks[index];
            let calibration = if self.is_done(tasks) {
                originals.as_mut().map_or(Ok(()), |originals| originals.through(&original, None, cx))?;
                self.nothing()
            } else {
                self.calibration(collect_block(source, &original, &stream, originals.as_mut(), gram_columns, cx)?)
            };
            drop(original);
            let rounded = Rounded { source, stored: self.round(tasks, &calibration, hand_over)? };
            drop(calibration);
            stream.through(&Transformer::on(&rounded, cx)?.block(index)?, None, cx)
        };
        // What is loaded on another thread must not hold the encoder, which stays on this one.
        let transformer = &self.transformer;
        ahead(transformer.blocks(), |index| transformer.block(index), run)?;
        let calibration =
            if self.is_done(&order.last) { self.nothing() } else { self.calibration(collect_head(&self.transformer, &stream, gram_columns, cx)?) };
        self.round(&order.last, &calibration, hand_over).map(drop)
    }

    /// Whether an earlier run has made all of these durable.
    fn is_done(&self, tasks: &[Task]) -> bool {
        tasks.iter().all(|task| earlier(task, self.source, &self.journal, self.cx).is_some())
    }

    fn nothing(&self) -> Calibration {
        self.calibration(Default::default())
    }

    fn calibration(&self, (inputs, tensors): (IndexMap<String, crate::calibrate::InputStatistics>, IndexMap<String, String>)) -> Calibration {
        Calibration { model: self.source.fingerprint.clone(), text: self.text.text.clone(), options: self.text.options.clone(), inputs, tensors }
    }

    /// Rounds some tensors and keeps what they became.
    fn round(
        &self,
        tasks: &[Task],
        calibration: &Calibration,
        hand_over: &mut dyn FnMut(Finished) -> Result<()>,
    ) -> Result<IndexMap<String, (Format, Vec<u8>)>> {
        let encoder = self.encoder.with(calibration);
        let mut stored = IndexMap::new();
        for task in tasks {
            let finished = finish(task, self.source, &self.journal, &encoder, self.cx)?;
            let bytes = match &finished.write {
                Some((_, bytes)) => bytes.clone(),
                None => {
                    let name = || Error::MissingTensor { name: finished.header.tensor.clone() };
                    self.journal.record(task.position)?.ok_or_else(name)?.bytes().to_vec()
                }
            };
            stored.insert(finished.header.tensor.clone(), (finished.header.stored_as, bytes));
            hand_over(finished)?;
        }
        Ok(stored)
    }
}

/// The original with some tensors as they were rounded.
struct Rounded<'a> {
    source: &'a Source,
    stored: IndexMap<String, (Format, Vec<u8>)>,
}

impl Weights for Rounded<'_> {
    fn config(&self) -> &ModelConfig {
        &self.source.config
    }

    fn load(&self, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
        let (Some((format, bytes)), Some(index)) = (self.stored.get(name), self.source.find(name)) else { return self.source.load(name) };
        let shape = self.source.tensors[index].shape.clone();
        let mut values = vec![0.0; shape.iter().product()];
        format.decode(bytes, &mut values);
        Ok(Some((values, shape)))
    }

    fn has(&self, name: &str) -> Result<bool> {
        self.source.has(name)
    }
}
