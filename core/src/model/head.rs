//! From final hidden states to logits, and what two models' logits say of the same tokens.

use super::Arithmetic;
use super::activation::soft_cap;
use super::linear::multiply;
use super::values::{tensor_from, with_values};
use super::weights::StoredWeight;
use crate::compute::gpu::forward::{LogitRows, Matrix, RowComparison, Rows};
use crate::error::{Error, Result};
use crate::job::Accelerator;
use candle_core::Tensor;
use std::sync::Arc;

/// The loaded head.
#[derive(Clone, Debug)]
pub struct Head {
    pub(super) weight: Tensor,
    /// Logits go through cap·tanh(logit / cap).
    pub(super) soft_cap: Option<f32>,
    /// What the runtime multiplies with.
    pub(super) arithmetic: Arithmetic,
    /// The weight on a device.
    pub(super) resident: Option<Arc<(Arc<Accelerator>, Matrix)>>,
}

impl Head {
    /// Its weight on a device too, as it is stored where the kernels read that.
    pub(super) fn on(mut self, device: &Arc<Accelerator>, stored: Option<StoredWeight<'_>>) -> Result<Self> {
        let inputs = self.weight.dims2()?.1;
        let matrix = device.attempt(|gpu| match &stored {
            Some(stored) if Matrix::reads(stored.format, inputs) => Matrix::upload_format(gpu, stored.format, &stored.bytes, inputs),
            _ => with_values(&self.weight, |values| Matrix::upload(gpu, values, inputs)),
        })?;
        self.resident = matrix.map(|matrix| Arc::new((Arc::clone(device), matrix)));
        Ok(self)
    }

    /// vocab × hidden.
    pub(crate) fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// Logits go through cap·tanh(logit / cap).
    pub(crate) fn soft_cap(&self) -> Option<f32> {
        self.soft_cap
    }

    /// Tokens of the vocabulary.
    pub fn vocab(&self) -> usize {
        self.weight.dims().first().copied().unwrap_or(0)
    }

    /// Logits that stay on the device; None where there is none, or it has failed.
    ///
    /// # Errors
    /// `Mismatch` when the widths differ.
    pub(crate) fn resident_logits(&self, hidden: &Tensor) -> Result<Option<ResidentLogits>> {
        let Some(resident) = &self.resident else { return Ok(None) };
        let (device, matrix) = &**resident;
        if !device.holds(hidden.dims2()?.0, matrix.inputs()) {
            return Ok(None);
        }
        let rows = device.attempt(|gpu| {
            let hidden = with_values(hidden, |values| Rows::upload(gpu, values, matrix.inputs()))?;
            let hidden = match self.arithmetic.rounding() {
                Some(rounding) => hidden.rounded(rounding)?,
                None => hidden,
            };
            LogitRows::of(&hidden, matrix, self.soft_cap, self.arithmetic == Arithmetic::HalvedSums)
        })?;
        Ok(rows.map(|rows| ResidentLogits { rows, device: Arc::clone(device) }))
    }
}

/// Logits on a device.
pub(crate) struct ResidentLogits {
    rows: LogitRows,
    device: Arc<Accelerator>,
}

impl ResidentLogits {
    /// What another head makes of other hidden states of the same tokens, row by row; see [`LogitRows::compare`]. None when the device fails.
    ///
    /// # Errors
    /// `Mismatch` for another shape.
    pub(crate) fn compare(&self, hidden: &Tensor, head: &Head, targets: &[u32], top: usize) -> Result<Option<Vec<RowComparison>>> {
        let Some(after) = head.resident_logits(hidden)? else { return Ok(None) };
        self.device.attempt(|_| self.rows.compare(&after.rows, targets, top))
    }
}

/// Logits (tokens × vocab) of some hidden states.
///
/// # Errors
/// `Mismatch` when the widths differ, `Candle`.
pub fn logits_of(hidden: &Tensor, head: &Head) -> Result<Tensor> {
    let ((tokens, width), (vocab, inner)) = (hidden.dims2()?, head.weight.dims2()?);
    if width != inner {
        return Err(Error::Mismatch { operation: "logits", expected: format!("{inner} channels"), got: width.to_string() });
    }
    if let Some(there) = head.resident_logits(hidden)?
        && let Some(logits) = there.device.attempt(|_| there.rows.read())?
    {
        return tensor_from(logits, tokens, vocab);
    }
    let logits = with_values(hidden, |x| with_values(&head.weight, |w| Ok(logits(x, w, width, head.soft_cap, head.arithmetic))))?;
    tensor_from(logits, tokens, vocab)
}

/// As [`logits_of`], of slices.
pub(super) fn logits(hidden: &[f32], weight: &[f32], width: usize, cap: Option<f32>, arithmetic: Arithmetic) -> Vec<f32> {
    let mut logits = multiply(hidden, weight, width, arithmetic);
    if let Some(cap) = cap {
        soft_cap(&mut logits, 1.0, cap);
    }
    logits
}
