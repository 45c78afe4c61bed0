//! A model whose quantized tensors replace the original ones, for the forward pass.

use crate::codec::Format;
use crate::error::Result;
use crate::job::Artifact;
use crate::model::{StoredWeight, Weights};
use crate::source::{ModelConfig, Source};
use std::borrow::Cow;

/// A source seen through a finished quantization.
#[derive(Clone, Copy, Debug)]
pub struct Quantized<'a> {
    /// The original.
    pub source: &'a Source,
    /// What replaces its tensors.
    pub artifact: &'a Artifact,
}

impl Weights for Quantized<'_> {
    fn config(&self) -> &ModelConfig {
        &self.source.config
    }

    fn load(&self, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
        if let Some(shift) = self.artifact.shift_of_bias(name) {
            let shape = vec![shift.len()];
            let values = self.source.load(name)?.map_or(shift.clone(), |(bias, _)| bias.iter().zip(&shift).map(|(b, s)| b + s).collect());
            return Ok(Some((values, shape)));
        }
        let Some(values) = self.artifact.values(name) else { return self.source.load(name) };
        let Some(index) = self.source.find(name) else { return Ok(None) };
        Ok(Some((values, self.source.tensors[index].shape.clone())))
    }

    fn has(&self, name: &str) -> Result<bool> {
        self.source.has(name)
    }

    fn stored(&self, name: &str) -> Result<Option<StoredWeight<'_>>> {
        let Some((record, bytes)) = self.artifact.tensor(name) else { return self.source.stored(name) };
        let (None, Some(index)) = (self.artifact.residual(name), self.source.find(name)) else { return Ok(None) };
        Ok(Some(StoredWeight { format: record.stored_as, bytes: Cow::Borrowed(bytes), shape: self.source.tensors[index].shape.clone() }))
    }

    fn stored_as(&self, name: &str) -> Option<Format> {
        self.artifact.tensor(name).map_or_else(|| self.source.stored_as(name), |(record, _)| Some(record.stored_as))
    }
}
