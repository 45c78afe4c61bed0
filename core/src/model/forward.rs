//! The forward pass over many sequences, block by block: each block's weights are loaded once and dropped.

use super::block::{Block, batches, reborrow};
use super::linear::{load_shaped, multiply};
use super::rope::Rotary;
use super::values::{tensor_from, with_values};
use super::vector::rms_norm;
use super::{Arithmetic, Weights};
use crate::error::{Error, Result};
use crate::job::JobContext;
use candle_core::Tensor;
use std::sync::Arc;

const EMBEDDING: &str = "token_embd.weight";
const HEAD: &str = "output.weight";

/// Who looks at the inputs of linears on their way.
pub trait Taps {
    /// `input` (tokens × columns, f32) is about to enter the linears `names` (canonical), which share it: q, k and v; gate and up.
    ///
    /// # Errors
    /// Whatever stops the pass.
    fn linear_input(&mut self, names: &[String], input: &Tensor) -> Result<()>;
}

/// A runnable model. Nothing is kept in memory but its rotary frequencies; every step loads what it needs.
pub struct Transformer<'a> {
    weights: &'a dyn Weights,
    rotary: Arc<Rotary>,
    head_name: &'static str,
}

impl<'a> Transformer<'a> {
    /// Checks that the architecture can run.
    ///
    /// # Errors
    /// `Unsupported` with the reason; `Mismatch` for sizes that contradict each other.
    pub fn new(weights: &'a dyn Weights) -> Result<Self> {
        let config = weights.config();
        config.forward_supported()?;
        if weights.load("blk.0.ffn_gate_inp.weight")?.is_some() {
            return Err(Error::unsupported("running a mixture-of-experts model", "only dense llama models have a forward pass so far"));
        }
        let sizes = [
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
        if !config.head_count.is_multiple_of(config.kv_head_count) {
            return Err(Error::Mismatch {
                operation: "run model",
                expected: format!("query heads a multiple of {} key and value heads", config.kv_head_count),
                got: config.head_count.to_string(),
            });
        }
        let rope = config.rope.as_ref().ok_or_else(|| Error::unsupported("running a model without rotary embedding", "llama has one"))?;
        let rotary = Arc::new(Rotary::load(weights, rope, config.head_dim)?);
        let head_name = if config.tied_head { EMBEDDING } else { HEAD };
        Ok(Self { weights, rotary, head_name })
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.weights.config().block_count
    }

    /// Canonical name of the head's weight: the embedding's, when tied.
    pub fn head_name(&self) -> &'static str {
        self.head_name
    }

    /// The residual stream before the first block: one tokens × hidden tensor for each sequence.
    ///
    /// # Errors
    /// `Input` for an empty sequence or a token outside the vocabulary, `MissingTensor`, `Mismatch`.
    pub fn embed(&self, sequences: &[Vec<u32>]) -> Result<Vec<Tensor>> {
        let table = self.embedding()?;
        let hidden = self.weights.config().hidden_size;
        sequences.iter().map(|tokens| embed_with(&table, hidden, tokens)).collect()
    }

    /// The embedding's weight, vocab × hidden, row-major.
    pub(super) fn embedding(&self) -> Result<Vec<f32>> {
        load_shaped(self.weights, EMBEDDING, &[self.weights.config().vocab_size, self.weights.config().hidden_size])
    }

    /// The head's weight, vocab × hidden, row-major.
    pub(super) fn head_weight(&self) -> Result<Vec<f32>> {
        load_shaped(self.weights, self.head_name, &[self.weights.config().vocab_size, self.weights.config().hidden_size])
    }

    /// γ of the norm after the last block.
    pub(super) fn final_gamma(&self) -> Result<Vec<f32>> {
        load_shaped(self.weights, "output_norm.weight", &[self.weights.config().hidden_size])
    }

    /// Loads the weights of one block.
    ///
    /// # Errors
    /// `MissingTensor`, `Mismatch`, what reading says.
    pub fn block(&self, index: usize) -> Result<Block> {
        Block::load(self.weights, index, Arc::clone(&self.rotary))
    }

    /// Applies the norm after the last block.
    ///
    /// # Errors
    /// `MissingTensor`, `Mismatch`.
    pub fn final_norm(&self, hidden: &[Tensor]) -> Result<Vec<Tensor>> {
        let config = self.weights.config();
        let gamma = self.final_gamma()?;
        hidden
            .iter()
            .map(|tensor| {
                let (tokens, width) = tensor.dims2()?;
                if width != gamma.len() {
                    return Err(Error::Mismatch { operation: "final norm", expected: format!("{} channels", gamma.len()), got: width.to_string() });
                }
                with_values(tensor, |values| tensor_from(rms_norm(values, &gamma, config.norm_eps), tokens, width))
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

    /// Shows final hidden states to the taps as the input of the head, in the batches of the blocks.
    ///
    /// # Errors
    /// Whatever a tap says.
    pub fn show_head_input(&self, hidden: &[Tensor], taps: &mut dyn Taps) -> Result<()> {
        let name = [self.head_name.to_owned()];
        for batch in batches(hidden) {
            taps.linear_input(&name, &Tensor::cat(batch, 0)?)?;
        }
        Ok(())
    }

    /// The head's weight, vocab × hidden.
    ///
    /// # Errors
    /// `MissingTensor`, `Mismatch`.
    pub fn head(&self) -> Result<Tensor> {
        let config = self.weights.config();
        tensor_from(self.head_weight()?, config.vocab_size, config.hidden_size)
    }
}

/// Rows of an embedding table.
pub(super) fn embed_with(table: &[f32], hidden: usize, tokens: &[u32]) -> Result<Tensor> {
    if tokens.is_empty() {
        return Err(Error::Input("a sequence of no tokens cannot be run".to_owned()));
    }
    let mut values = Vec::with_capacity(tokens.len() * hidden);
    for &token in tokens {
        let from = token as usize * hidden;
        let row = table.get(from..from + hidden);
        values.extend_from_slice(row.ok_or_else(|| Error::Input(format!("token {token} is outside the vocabulary of {}", table.len() / hidden)))?);
    }
    tensor_from(values, tokens.len(), hidden)
}

/// Logits (tokens × vocab) of some hidden states.
///
/// # Errors
/// `Mismatch` when the widths differ, `Candle`.
pub fn logits_of(hidden: &Tensor, head: &Tensor) -> Result<Tensor> {
    logits_as(hidden, head, Arithmetic::F32)
}

/// As [`logits_of`], as a runtime of this arithmetic computes them.
///
/// # Errors
/// As [`logits_of`].
pub(crate) fn logits_as(hidden: &Tensor, head: &Tensor, arithmetic: Arithmetic) -> Result<Tensor> {
    let ((tokens, width), (vocab, inner)) = (hidden.dims2()?, head.dims2()?);
    if width != inner {
        return Err(Error::Mismatch { operation: "logits", expected: format!("{inner} channels"), got: width.to_string() });
    }
    let logits = with_values(hidden, |x| with_values(head, |w| Ok(multiply(x, w, width, arithmetic))))?;
    tensor_from(logits, tokens, vocab)
}
