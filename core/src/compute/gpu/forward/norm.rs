//! RMSNorm and LayerNorm.

use super::super::Gpu;
use super::super::tiles::folded;
use super::{Cost, Rows};
use crate::error::Result;
use halftone_shaders::Kernel;
use halftone_shaders::twin::norm::Params;

/// γ, β and ε of a norm.
#[derive(Debug)]
pub struct NormWeights {
    gamma: Rows,
    beta: Option<Rows>,
    eps: f32,
}

impl NormWeights {
    /// A LayerNorm where `beta` is not empty.
    ///
    /// # Errors
    /// `Device`.
    pub fn upload(gpu: &Gpu, gamma: &[f32], beta: &[f32], eps: f32) -> Result<Self> {
        let beta = if beta.is_empty() { None } else { Some(Rows::upload(gpu, beta, beta.len())?) };
        Ok(Self { gamma: Rows::upload(gpu, gamma, gamma.len())?, beta, eps })
    }
}

impl Rows {
    /// Each run of as many values as γ has normalised.
    ///
    /// # Errors
    /// `Device`; `Mismatch` for rows that are not whole such runs.
    pub fn normed(&self, weights: &NormWeights) -> Result<Self> {
        let columns = weights.gamma.columns;
        self.fits("norm", columns > 0 && self.columns.is_multiple_of(columns), columns)?;
        let rows = self.rows * self.columns / columns;
        let y = Self::reserve(&self.gpu, self.rows, self.columns)?;
        let params = Params { rows: rows as u32, columns: columns as u32, centred: weights.beta.is_some().into(), eps: weights.eps };
        let beta = weights.beta.as_ref().unwrap_or(&weights.gamma);
        let memories = [&self.memory, &weights.gamma.memory, &beta.memory, &y.memory];
        self.gpu.record(Kernel::Norm, &params, &memories, folded(rows), &Cost::of_values(rows * columns, 2))?;
        Ok(y)
    }
}
