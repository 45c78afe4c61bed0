//! Where a forward pass gets its weights: an opened source, or a source with some tensors replaced by their quantized selves.

use crate::error::{Error, Result};
use crate::source::{ModelConfig, Source};

/// A named set of weights of one architecture.
pub trait Weights: Send + Sync {
    /// Sizes and architecture.
    fn config(&self) -> &ModelConfig;

    /// All values of a tensor and its shape, by canonical name; `None` when the model has no such tensor.
    ///
    /// # Errors
    /// What reading it says.
    fn load(&self, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>>;
}

impl Weights for Source {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn load(&self, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
        let Some(index) = self.find(name) else { return Ok(None) };
        Ok(Some((self.view(index).to_f32()?, self.tensors[index].shape.clone())))
    }
}

/// As [`Weights::load`], and a missing tensor is an error.
pub(crate) fn require(weights: &dyn Weights, name: &str) -> Result<(Vec<f32>, Vec<usize>)> {
    weights.load(name)?.ok_or_else(|| Error::MissingTensor { name: name.to_owned() })
}
