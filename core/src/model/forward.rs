//! The forward pass over many sequences, block by block: each block's weights are loaded once and dropped.

use super::Weights;
use crate::error::Result;
use crate::job::JobContext;
use candle_core::Tensor;

/// Who looks at the inputs of linears on their way.
pub trait Taps {
    /// `input` (tokens × columns, f32) is about to enter the linears `names` (canonical), which share it: q, k and v; gate and up.
    ///
    /// # Errors
    /// Whatever stops the pass.
    fn linear_input(&mut self, names: &[String], input: &Tensor) -> Result<()>;
}

/// A runnable model.
pub struct Transformer<'a> {
    #[expect(dead_code, reason = "model room")]
    weights: &'a dyn Weights,
}

impl<'a> Transformer<'a> {
    /// Checks that the architecture can run.
    ///
    /// # Errors
    /// `Unsupported` with the reason.
    pub fn new(weights: &'a dyn Weights) -> Result<Self> {
        weights.config().forward_supported()?;
        Ok(Self { weights })
    }

    /// Final hidden states (after the last norm), one tokens × hidden tensor for each sequence.
    ///
    /// # Errors
    /// `MissingTensor`, `Candle`, `Cancelled`.
    pub fn hidden(&self, sequences: &[Vec<u32>], taps: Option<&mut dyn Taps>, cx: &JobContext) -> Result<Vec<Tensor>> {
        let _ = (sequences, taps, cx);
        todo!("model room")
    }

    /// The head's weight, vocab × hidden.
    ///
    /// # Errors
    /// `MissingTensor`, `Candle`.
    pub fn head(&self) -> Result<Tensor> {
        todo!("model room")
    }
}

/// Logits (tokens × vocab) of some hidden states.
///
/// # Errors
/// `Candle`.
pub fn logits_of(hidden: &Tensor, head: &Tensor) -> Result<Tensor> {
    Ok(hidden.matmul(&head.t()?)?)
}
