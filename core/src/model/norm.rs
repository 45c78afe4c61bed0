//! RMSNorm and LayerNorm, as the configuration says.

use super::linear::load_shaped;
use super::values::{Input, Values};
use super::vector::{layer_norm, rms_norm};
use super::weights::Weights;
use crate::compute::gpu::forward::NormWeights;
use crate::error::Result;
use crate::job::Accelerator;
use crate::source::{Anatomy, NormKind};
use std::sync::Arc;

/// A loaded normalisation.
pub(super) struct Norm {
    kind: NormKind,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    eps: f32,
    resident: Option<NormWeights>,
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
        Ok(Self { kind: anatomy.norm, gamma, beta, eps: weights.config().norm_eps, resident: None })
    }

    /// Its weights on the device too, if there is one.
    pub(super) fn on(mut self, device: Option<&Arc<Accelerator>>) -> Result<Self> {
        if let Some(device) = device {
            self.resident = device.attempt(|gpu| NormWeights::upload(gpu, &self.gamma, &self.beta, self.eps))?;
        }
        Ok(self)
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

    /// As [`Self::apply`], where the rows are.
    pub(super) fn run(&self, input: Input<'_>) -> Result<Values> {
        match (input, &self.resident) {
            (Input::Device(rows), Some(resident)) => Ok(Values::Device(rows.normed(resident)?)),
            (Input::Device(rows), None) => input.beside(self.apply(&rows.read()?), rows.columns()),
            (Input::Host(rows), _) => Ok(Values::Host(self.apply(rows))),
        }
    }
}
