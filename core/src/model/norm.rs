//! RMSNorm and LayerNorm, as the configuration says.

use super::linear::load_shaped;
use super::vector::{layer_norm, rms_norm};
use super::weights::Weights;
use crate::error::Result;
use crate::source::{Anatomy, NormKind};

/// A loaded normalisation.
pub(super) struct Norm {
    kind: NormKind,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    eps: f32,
}

impl Norm {
    /// Loads `stem.weight`, and of a LayerNorm `stem.bias`. Where the file stores γ − 1, the 1 is added.
    pub(super) fn load(weights: &dyn Weights, anatomy: &Anatomy, stem: &str, width: usize) -> Result<Self> {
        let mut gamma = load_shaped(weights, &format!("{stem}.weight"), &[width])?;
        if anatomy.norm_offset != 0.0 {
            gamma.iter_mut().for_each(|g| *g += anatomy.norm_offset);
        }
        let beta = match anatomy.norm {
            NormKind::Rms => Vec::new(),
            NormKind::Layer => load_shaped(weights, &format!("{stem}.bias"), &[width])?,
        };
        Ok(Self { kind: anatomy.norm, gamma, beta, eps: weights.config().norm_eps })
    }

    /// Channels of a row.
    pub(super) fn width(&self) -> usize {
        self.gamma.len()
    }

    /// Each row normalised.
    pub(super) fn apply(&self, rows: &[f32]) -> Vec<f32> {
        match self.kind {
            NormKind::Rms => rms_norm(rows, &self.gamma, self.eps),
            NormKind::Layer => layer_norm(rows, &self.gamma, &self.beta, self.eps),
        }
    }
}
