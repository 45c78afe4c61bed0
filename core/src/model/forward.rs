//! The forward pass over many sequences, block by block: each block's weights are loaded once and dropped.

use super::Weights;
use super::block::{Block, Shared, batches, lengths_of};
use super::embedding::{EMBEDDING, Embedding};
use super::head::Head;
use super::linear::load_shaped;
use super::norm::Norm;
use super::relative::RelativeBias;
use super::rope::Rotary;
use super::stream::Stream;
use super::taps::{Taps, reborrow};
use super::values::{tensor_from, with_values};
use crate::error::{Error, Result};
use crate::job::Accelerator;
use crate::job::JobContext;
use crate::report::NoticeKind;
use crate::source::{Anatomy, NormPlacement, Positions};
use candle_core::Tensor;
use std::sync::Arc;

const HEAD: &str = "output.weight";
/// Of any size that a file claims; products of two do not overflow.
const LARGEST: usize = 1 << 28;

/// A runnable model. Nothing is kept in memory but what turns positions into numbers; every step loads what it needs.
pub struct Transformer<'a> {
    weights: &'a dyn Weights,
    anatomy: &'a Anatomy,
    shared: Shared,
    device: Option<Arc<Accelerator>>,
}

impl<'a> Transformer<'a> {
    /// Checks that the architecture can run.
    ///
    /// # Errors
    /// `Unsupported` with the reason; `Mismatch` for sizes that contradict each other.
    pub fn new(weights: &'a dyn Weights) -> Result<Self> {
        let config = weights.config();
        let anatomy = config.runnable()?;
        let experts = anatomy.experts.map_or([1; 2], |experts| [experts.count, experts.size.max(experts.shared_size)]);
        let sizes = [
            ("experts", experts[0]),
            ("feed-forward size of an expert", experts[1]),
            ("hidden size", config.hidden_size),
            ("feed-forward size", config.intermediate_size),
            ("heads", config.head_count),
            ("key and value heads", config.kv_head_count),
            ("channels a head", config.head_dim),
            ("tokens in the vocabulary", config.vocab_size),
        ];
        if let Some((what, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(Error::Mismatch { operation: "run model", expected: (*what).to_owned(), got: "none".to_owned() });
        }
        if let Some((what, size)) = sizes.iter().find(|(_, size)| *size > LARGEST) {
            return Err(Error::Mismatch { operation: "run model", expected: format!("at most {LARGEST} {what}"), got: size.to_string() });
        }
        if !config.head_count.is_multiple_of(config.kv_head_count) {
            return Err(Error::Mismatch {
                operation: "run model",
                expected: format!("query heads a multiple of {} key and value heads", config.kv_head_count),
                got: config.head_count.to_string(),
            });
        }
        let rotary = match (&config.rope, anatomy.positions) {
            (Some(rope), Positions::Rotary) => Some(Arc::new(Rotary::load(weights, rope, anatomy.long_rope.as_ref(), config.head_dim)?)),
            _ => None,
        };
        let local_rotary = match &anatomy.local_rope {
            Some(rope) => Some(Arc::new(Rotary::load(weights, rope, None, config.head_dim)?)),
            None => None,
        };
        let bias = if anatomy.relative_bias { Some(Arc::new(RelativeBias::load(weights, config.head_count)?)) } else { None };
        Ok(Self { weights, anatomy, shared: Shared { rotary, local_rotary, bias }, device: None })
    }

    /// As [`Self::new`], with its blocks and its head on the device of the context, if that means one and it is the faster; where it fails, the
    /// CPU goes on.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn on(weights: &'a dyn Weights, cx: &JobContext) -> Result<Self> {
        let config = weights.config();
        let device = cx.accelerator().filter(|_| cx.backend().suits_products(config.intermediate_size, config.hidden_size));
        Ok(Self { device, ..Self::new(weights)? })
    }

    /// The device that its blocks are on.
    pub fn device(&self) -> Option<&Arc<Accelerator>> {
        self.device.as_ref()
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.weights.config().block_count
    }

    /// What turns queries and keys of a block.
    pub(crate) fn rotary_of(&self, block: usize) -> Option<Arc<Rotary>> {
        let local = self.shared.local_rotary.as_ref().filter(|_| self.anatomy.window_of(block).is_some());
        local.or(self.shared.rotary.as_ref()).cloned()
    }

    /// Canonical name of the head's weight: the embedding's, when tied; `None` for an encoder.
    pub fn head_name(&self) -> Option<&'static str> {
        let name = if self.weights.config().tied_head { EMBEDDING } else { HEAD };
        self.anatomy.causal.then_some(name)
    }

    /// Where a tensor comes first in the pass: 0 for the embedding and block 0, the number of blocks for an untied head; `None` when no
    /// linear of the pass reads it.
    pub fn first_block(&self, name: &str) -> Option<usize> {
        if name == EMBEDDING {
            return Some(0);
        }
        if Some(name) == self.head_name() {
            return Some(self.blocks());
        }
        let (block, part) = name.strip_prefix("blk.")?.split_once('.')?;
        // An expert that is kept apart has its number at the end.
        let part = part.strip_suffix(".weight")?;
        let part = part.split_once('.').map_or(part, |(part, _)| part);
        let block = block.parse().ok()?;
        (LINEARS.contains(&part) && block < self.blocks()).then_some(block)
    }

    /// The residual stream before the first block: one tokens × hidden tensor for each sequence.
    ///
    /// # Errors
    /// `Input` for an empty sequence, one longer than the model's table of positions, or a token outside the vocabulary; `MissingTensor`,
    /// `Mismatch`.
    pub fn embed(&self, sequences: &[Vec<u32>]) -> Result<Vec<Tensor>> {
        let embedding = self.embedding()?;
        sequences.iter().map(|tokens| embedding.embed(tokens, 0)).collect()
    }

    /// As [`Self::embed`], in memory up to `budget` bytes and else in a temporary file in the context's folder, which is told.
    ///
    /// # Errors
    /// As [`Self::embed`]; `Io` for a folder that cannot be written, or a full disk.
    pub fn stream(&self, sequences: &[Vec<u32>], budget: u64, cx: &JobContext) -> Result<Stream> {
        let embedding = self.embedding()?;
        let lengths = sequences.iter().map(Vec::len).collect();
        let stream = Stream::new(lengths, self.weights.config().hidden_size, budget, &cx.scratch.folder, |range| {
            cx.checkpoint()?;
            sequences[range].iter().map(|tokens| embedding.embed(tokens, 0)).collect()
        })?;
        if stream.is_spilled() {
            let text = format!(
                "the activations between two blocks ({:.1} MB) are kept in a temporary file, because memory for {:.1} MB of them is left; --memory gives more ({})",
                stream.size_bytes() as f64 / 1e6,
                budget as f64 / 1e6,
                cx.scratch.folder.display()
            );
            cx.reporter.notice(None, NoticeKind::Other { text });
        }
        Ok(stream)
    }

    /// The loaded embedding.
    pub(super) fn embedding(&self) -> Result<Embedding> {
        Embedding::load(self.weights, self.anatomy)
    }

    /// The norm after the last block; an encoder's last block ends with one of its own.
    pub(super) fn last_norm(&self) -> Result<Option<Norm>> {
        if self.anatomy.placement == NormPlacement::After {
            return Ok(None);
        }
        Norm::load(self.weights, self.anatomy, "output_norm", self.weights.config().hidden_size).map(Some)
    }

    /// Loads the weights of one block.
    ///
    /// # Errors
    /// `MissingTensor`, `Mismatch`, what reading says.
    pub fn block(&self, index: usize) -> Result<Block> {
        Block::load(self.weights, self.anatomy, index, &self.shared, self.device.as_ref().filter(|device| device.gpu().is_some()))
    }

    /// Applies the norm after the last block.
    ///
    /// # Errors
    /// `MissingTensor`, `Mismatch`.
    pub fn final_norm(&self, hidden: &[Tensor]) -> Result<Vec<Tensor>> {
        let Some(norm) = self.last_norm()? else { return Ok(hidden.to_vec()) };
        hidden
            .iter()
            .map(|tensor| {
                let (tokens, width) = tensor.dims2()?;
                if width != norm.width() {
                    return Err(Error::Mismatch { operation: "final norm", expected: format!("{} channels", norm.width()), got: width.to_string() });
                }
                with_values(tensor, |values| tensor_from(norm.apply(values), tokens, width))
            })
            .collect()
    }

    /// Final hidden states (after the last norm), one tokens × hidden tensor for each sequence. Taps see the inputs of all linears, the
    /// head's too.
    ///
    /// # Errors
    /// `MissingTensor`, `Mismatch`, `Input`, `Cancelled`.
    pub fn hidden(&self, sequences: &[Vec<u32>], mut taps: Option<&mut dyn Taps>, cx: &JobContext) -> Result<Vec<Tensor>> {
        let mut hidden = self.embed(sequences)?;
        for index in 0..self.blocks() {
            hidden = self.block(index)?.forward(&hidden, reborrow(&mut taps), cx)?;
        }
        let hidden = self.final_norm(&hidden)?;
        if let Some(taps) = taps {
            self.show_head_input(&hidden, taps)?;
        }
        Ok(hidden)
    }

    /// Shows final hidden states to the taps as the input of the head, if there is one, in the batches of the blocks.
    ///
    /// # Errors
    /// Whatever a tap says.
    pub fn show_head_input(&self, hidden: &[Tensor], taps: &mut dyn Taps) -> Result<()> {
        let Some(name) = self.head_name() else { return Ok(()) };
        let name = [name.to_owned()];
        for batch in batches(&lengths_of(hidden)) {
            taps.linear_input(&name, &Tensor::cat(&hidden[batch], 0)?)?;
        }
        Ok(())
    }

    /// The head.
    ///
    /// # Errors
    /// `Unsupported` for an encoder, which has none; `MissingTensor`, `Mismatch`.
    pub fn head(&self) -> Result<Head> {
        let config = self.weights.config();
        config.predicts_tokens()?;
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let name = if config.tied_head { EMBEDDING } else { HEAD };
        let head = Head {
            weight: tensor_from(load_shaped(self.weights, name, &[vocab, hidden])?, vocab, hidden)?,
            soft_cap: self.anatomy.logit_soft_cap,
            arithmetic: self.weights.arithmetic(name),
            resident: None,
        };
        match &self.device {
            None => Ok(head),
            Some(device) => head.on(device, self.weights.stored(name)?.filter(|stored| stored.shape == [vocab, hidden])),
        }
    }
}

/// The parts of a block that are linears, or stacks of them.
const LINEARS: [&str; 15] = [
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_qkv",
    "attn_output",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
    "ffn_gate_exps",
    "ffn_up_exps",
    "ffn_gate_up_exps",
    "ffn_down_exps",
    "ffn_gate_shexp",
    "ffn_up_shexp",
    "ffn_down_shexp",
];
