//! Where a forward pass gets its weights: an opened source, or a source with some tensors replaced by their quantized selves.

use super::Arithmetic;
use crate::codec::Format;
use crate::error::{Error, Result};
use crate::source::{ModelConfig, Source};
use crate::tensor::DType;
use std::borrow::Cow;

/// A tensor as it is stored: rows of whole blocks.
#[derive(Clone, Debug)]
pub struct StoredWeight<'a> {
    /// As what.
    pub format: Format,
    /// Its bytes.
    pub bytes: Cow<'a, [u8]>,
    /// Outermost first.
    pub shape: Vec<usize>,
}

/// A named set of weights of one architecture.
pub trait Weights: Send + Sync {
    /// Sizes and architecture.
    fn config(&self) -> &ModelConfig;

    /// All values of a tensor and its shape, by canonical name; `None` when the model has no such tensor.
    ///
    /// # Errors
    /// What reading it says.
    fn load(&self, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>>;

    /// Whether there is a tensor of this name.
    ///
    /// # Errors
    /// As [`Self::load`], which it uses where nothing quicker is known.
    fn has(&self, name: &str) -> Result<bool> {
        Ok(self.load(name)?.is_some())
    }

    /// What a tensor is stored as, where that is known and has a name of ours.
    fn stored_as(&self, _name: &str) -> Option<Format> {
        None
    }

    /// A tensor as it is stored, where decoding that is all that [`Self::load`] does; a device may then decode it itself.
    ///
    /// # Errors
    /// As [`Self::load`].
    fn stored(&self, _name: &str) -> Result<Option<StoredWeight<'_>>> {
        Ok(None)
    }

    /// How the input of the linear with this weight is represented when it is multiplied.
    fn arithmetic(&self, _name: &str) -> Arithmetic {
        Arithmetic::F32
    }

    /// How keys and values are kept.
    fn cache_arithmetic(&self) -> Arithmetic {
        Arithmetic::F32
    }
}

impl Weights for Source {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn load(&self, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
        let Some(index) = self.find(name) else { return Ok(None) };
        Ok(Some((self.view(index).to_f32()?, self.tensors[index].shape.clone())))
    }

    fn has(&self, name: &str) -> Result<bool> {
        Ok(self.find(name).is_some())
    }

    fn stored_as(&self, name: &str) -> Option<Format> {
        match self.tensors[self.find(name)?].dtype {
            DType::F32 => Some(Format::F32),
            DType::F16 => Some(Format::F16),
            DType::Bf16 => Some(Format::Bf16),
            DType::Ggml(t) => Some(Format::Ggml(t)),
            _ => None,
        }
    }

    fn stored(&self, name: &str) -> Result<Option<StoredWeight<'_>>> {
        let (Some(index), Some(format)) = (self.find(name), self.stored_as(name)) else { return Ok(None) };
        let view = self.view(index);
        let stored = StoredWeight { format, bytes: Cow::Borrowed(view.bytes), shape: view.shape.to_vec() };
        Ok((!view.transposed).then_some(stored))
    }
}

/// As [`Weights::load`], and a missing tensor is an error.
pub(crate) fn require(weights: &dyn Weights, name: &str) -> Result<(Vec<f32>, Vec<usize>)> {
    weights.load(name)?.ok_or_else(|| Error::MissingTensor { name: name.to_owned() })
}
