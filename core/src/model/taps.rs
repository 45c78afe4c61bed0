//! Looking at the inputs of linears while a model runs.

use super::values::{tensor_from, with_values};
use crate::error::Result;
use candle_core::Tensor;

/// Who looks at the inputs of linears on their way.
pub trait Taps {
    /// `input` (tokens × columns, f32) is about to enter the linears `names` (canonical), which share it: q, k and v; gate and up.
    ///
    /// # Errors
    /// Whatever stops the pass.
    fn linear_input(&mut self, names: &[String], input: &Tensor) -> Result<()>;

    /// As [`Self::linear_input`] for the tokens that were routed to one expert. Where a file stacks its experts, all of them have the name of
    /// the stack; who does not tell experts apart gets the sums over all.
    ///
    /// # Errors
    /// Whatever stops the pass.
    fn expert_input(&mut self, _expert: usize, names: &[String], input: &Tensor) -> Result<()> {
        self.linear_input(names, input)
    }
}

/// The names of the linears that share an input, for the taps.
pub(super) struct Readers {
    names: Vec<String>,
    expert: Option<usize>,
}

impl Readers {
    pub(super) fn new(names: Vec<String>, expert: Option<usize>) -> Self {
        Self { names, expert }
    }

    /// Shows an input (tokens × `width`) to the taps, if any, and runs the linears on it.
    pub(super) fn show<R>(&self, input: Vec<f32>, width: usize, taps: Option<&mut dyn Taps>, linears: impl FnOnce(&[f32]) -> R) -> Result<R> {
        let Some(taps) = taps else { return Ok(linears(&input)) };
        let rows = input.len() / width;
        let input = tensor_from(input, rows, width)?;
        match self.expert {
            None => taps.linear_input(&self.names, &input)?,
            Some(expert) => taps.expert_input(expert, &self.names, &input)?,
        }
        with_values(&input, |values| Ok(linears(values)))
    }
}

/// The same taps again, for a shorter time.
pub(super) fn reborrow<'a>(taps: &'a mut Option<&mut dyn Taps>) -> Option<&'a mut dyn Taps> {
    match taps {
        Some(taps) => Some(&mut **taps),
        None => None,
    }
}
