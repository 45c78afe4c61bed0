//! The measured KL of an allocation that differs from the best so far in a few tensors: the pass begins at the first block that changes,
//! from the residual streams that the best so far left there.
//!
//! Kept in memory, each as far as it fits: the streams before every so many blocks, the loaded blocks of the best so far, the original's
//! logits. What does not fit is computed or loaded again.

use super::moves::Change;
use super::store::{Rounded, Tensors};
use crate::allocate::Problem;
use crate::codec::Format;
use crate::error::Result;
use crate::eval::{Running, Runtime};
use crate::job::JobContext;
use crate::model::{Block, Head, Transformer, Weights, logits_of, with_values};
use crate::numeric::metric::kl_divergence;
use crate::source::ModelConfig;
use candle_core::Tensor;
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// Memory for streams, for loaded blocks and for logits, bytes each.
const KEPT_BYTES: usize = 1 << 30;

/// Measures allocations near one.
pub(super) struct Oracle<'a> {
    original: &'a dyn Weights,
    tensors: &'a dyn Tensors,
    runtime: Runtime,
    problem: &'a Problem,
    sequences: &'a [Vec<u32>],
    cx: &'a JobContext,
    picks: Vec<usize>,
    rounded: HashMap<String, Arc<dyn Rounded>>,
    /// What the original says.
    clean: Clean,
    /// Streams before blocks 0, stride, 2·stride …
    streams: Vec<Vec<Tensor>>,
    stride: usize,
    blocks: Vec<Option<Block>>,
    head: Option<Head>,
    /// KL of each token under the picks.
    tokens: Vec<f64>,
}

/// The original's final hidden states, or logits where those fit into memory.
enum Clean {
    Logits(Vec<Tensor>),
    Hidden(Vec<Tensor>, Head),
}

/// The original with some tensors rounded.
struct Allocated<'a> {
    original: &'a dyn Weights,
    rounded: &'a HashMap<String, Arc<dyn Rounded>>,
    /// Those of the changes, before the others.
    changed: &'a HashMap<String, Arc<dyn Rounded>>,
}

impl Allocated<'_> {
    fn find(&self, name: &str) -> Option<&Arc<dyn Rounded>> {
        self.changed.get(name).or_else(|| self.rounded.get(name))
    }
}

impl Weights for Allocated<'_> {
    fn config(&self) -> &ModelConfig {
        self.original.config()
    }

    fn load(&self, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
        let Some(rounded) = self.find(name) else { return self.original.load(name) };
        let Some((mut values, shape)) = self.original.load(name)? else { return Ok(None) };
        rounded.stored().decode(rounded.bytes(), &mut values, shape.last().copied().unwrap_or(1));
        Ok(Some((values, shape)))
    }

    fn stored_as(&self, name: &str) -> Option<Format> {
        self.find(name).map_or_else(|| self.original.stored_as(name), |rounded| Some(rounded.stored().format))
    }
}

impl<'a> Oracle<'a> {
    /// Measures the start.
    pub fn new(
        original: &'a dyn Weights,
        tensors: &'a dyn Tensors,
        runtime: Runtime,
        problem: &'a Problem,
        picks: Vec<usize>,
        sequences: &'a [Vec<u32>],
        cx: &'a JobContext,
    ) -> Result<Self> {
        let running = Running { weights: original, runtime };
        let clean = clean(&Transformer::on(&running, cx)?, sequences, cx)?;
        let mut rounded = HashMap::new();
        for (group, &pick) in problem.groups.iter().zip(&picks).filter(|(g, _)| !g.stays()) {
            for tensor in &group.tensors {
                cx.checkpoint()?;
                rounded.insert(tensor.clone(), tensors.get(tensor, group.choices[pick].candidate())?);
            }
        }
        let config = original.config();
        let stream_bytes = sequences.iter().map(Vec::len).sum::<usize>() * config.hidden_size * size_of::<f32>();
        let stride = (config.block_count * stream_bytes).div_ceil(KEPT_BYTES).max(1);
        let blocks = (0..config.block_count).map(|_| None).collect();
        let mut oracle = Self {
            original,
            tensors,
            runtime,
            problem,
            sequences,
            cx,
            picks,
            rounded,
            clean,
            streams: Vec::new(),
            stride,
            blocks,
            head: None,
            tokens: Vec::new(),
        };
        oracle.measure_again()?;
        Ok(oracle)
    }

    /// The allocation that changes are changes of.
    pub fn picks(&self) -> &[usize] {
        &self.picks
    }

    /// KL of each token under it.
    pub fn tokens(&self) -> &[f64] {
        &self.tokens
    }

    /// How many sequences there are.
    pub fn sequences(&self) -> usize {
        self.sequences.len()
    }

    /// KL of each token of the first `sequences` under some changes.
    pub fn measure(&self, changes: &[Change], sequences: usize) -> Result<Vec<f64>> {
        let changed = self.changed(changes)?;
        let allocated = Allocated { original: self.original, rounded: &self.rounded, changed: &changed };
        let running = Running { weights: &allocated, runtime: self.runtime };
        let model = Transformer::on(&running, self.cx)?;
        let firsts: Vec<usize> = changed.keys().filter_map(|name| model.first_block(name)).collect();
        let embedding = changed.contains_key("token_embd.weight");
        let first = firsts.iter().copied().min().unwrap_or(model.blocks());
        let from = if embedding { 0 } else { (first / self.stride).min(self.streams.len() - 1) };
        let mut hidden = if embedding { model.embed(&self.sequences[..sequences])? } else { self.streams[from][..sequences].to_vec() };
        for index in from * self.stride..model.blocks() {
            hidden = match self.blocks.get(index).and_then(Option::as_ref).filter(|_| !firsts.contains(&index)) {
                Some(block) => block.forward(&hidden, None, self.cx)?,
                None => model.block(index)?.forward(&hidden, None, self.cx)?,
            };
        }
        let own = model.head_name().is_some_and(|name| changed.contains_key(name)) || self.head.is_none();
        let head = if own { Some(model.head()?) } else { None };
        match head.as_ref().or(self.head.as_ref()) {
            Some(head) => self.score(&model.final_norm(&hidden)?, head),
            None => Ok(Vec::new()),
        }
    }

    /// Makes changes part of the allocation; [`Self::measure_again`] is due before anything else is measured.
    pub fn adopt(&mut self, changes: &[Change]) -> Result<()> {
        self.rounded.extend(self.changed(changes)?);
        changes.iter().for_each(|c| self.picks[c.group] = c.to);
        Ok(())
    }

    /// Runs the whole allocation, and keeps its streams, blocks and KL.
    pub fn measure_again(&mut self) -> Result<()> {
        let none = HashMap::new();
        let allocated = Allocated { original: self.original, rounded: &self.rounded, changed: &none };
        let running = Running { weights: &allocated, runtime: self.runtime };
        let model = Transformer::on(&running, self.cx)?;
        let config = self.original.config();
        let block_bytes =
            4 * (2 * config.hidden_size * config.head_dim * (config.head_count + config.kv_head_count) + 3 * config.hidden_size * config.intermediate_size);
        let kept = KEPT_BYTES / block_bytes.max(1);
        let mut hidden = model.embed(self.sequences)?;
        let mut streams = Vec::new();
        // The last blocks are run by every trial, the first by few.
        let first_kept = model.blocks().saturating_sub(kept);
        for index in 0..model.blocks() {
            if index % self.stride == 0 {
                streams.push(hidden.clone());
            }
            let block = model.block(index)?;
            hidden = block.forward(&hidden, None, self.cx)?;
            self.blocks[index] = (index >= first_kept).then_some(block);
        }
        if streams.is_empty() {
            streams.push(hidden.clone());
        }
        let head = model.head()?;
        let tokens = self.score(&model.final_norm(&hidden)?, &head)?;
        (self.streams, self.tokens, self.head) = (streams, tokens, Some(head));
        Ok(())
    }

    /// The rounded tensors of some changes.
    fn changed(&self, changes: &[Change]) -> Result<HashMap<String, Arc<dyn Rounded>>> {
        let mut changed = HashMap::new();
        for change in changes {
            let group = &self.problem.groups[change.group];
            for tensor in &group.tensors {
                self.cx.checkpoint()?;
                changed.insert(tensor.clone(), self.tensors.get(tensor, group.choices[change.to].candidate())?);
            }
        }
        Ok(changed)
    }

    /// KL of each token from final hidden states; a sequence's logits at a time.
    fn score(&self, hidden: &[Tensor], head: &Head) -> Result<Vec<f64>> {
        let mut tokens = Vec::new();
        for (sequence, after) in hidden.iter().enumerate() {
            self.cx.checkpoint()?;
            let after = logits_of(after, head)?;
            let made;
            let before = match &self.clean {
                Clean::Logits(logits) => &logits[sequence],
                Clean::Hidden(hidden, head) => {
                    made = logits_of(&hidden[sequence], head)?;
                    &made
                }
            };
            tokens.extend(kl_of_rows(before, &after)?);
        }
        Ok(tokens)
    }
}

fn clean(model: &Transformer<'_>, sequences: &[Vec<u32>], cx: &JobContext) -> Result<Clean> {
    let hidden = model.hidden(sequences, None, cx)?;
    let head = model.head()?;
    let bytes = sequences.iter().map(Vec::len).sum::<usize>() * head.vocab() * size_of::<f32>();
    if bytes > KEPT_BYTES {
        return Ok(Clean::Hidden(hidden, head));
    }
    Ok(Clean::Logits(hidden.iter().map(|h| logits_of(h, &head)).collect::<Result<_>>()?))
}

fn kl_of_rows(before: &Tensor, after: &Tensor) -> Result<Vec<f64>> {
    let vocab = before.dims()[1];
    with_values(before, |before| {
        with_values(after, |after| Ok(before.par_chunks(vocab).zip(after.par_chunks(vocab)).map(|(p, q)| kl_divergence(p, q).max(0.0)).collect()))
    })
}
