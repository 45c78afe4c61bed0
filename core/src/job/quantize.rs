//! The quantization itself: tensor by tensor, round ∘ codec, each made durable before the next is reported.

use super::{Artifact, JobContext};
use crate::calibrate::Calibration;
use crate::error::Result;
use crate::recipe::Recipe;
use crate::source::Source;
use std::path::PathBuf;

/// Where and how.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizeOptions {
    /// The job folder; what is there is resumed when the recipe's hash is the same.
    pub folder: PathBuf,
}

/// Quantizes every tensor of the recipe. Running again resumes; a folder of another recipe is refused.
///
/// # Errors
/// `Mismatch` for a recipe of another model, `Io`, `Cancelled` (finished tensors stay).
pub fn quantize(source: &Source, calibration: Option<&Calibration>, recipe: &Recipe, options: &QuantizeOptions, cx: &JobContext) -> Result<Artifact> {
    let _ = (source, calibration, recipe, options, cx);
    todo!("job room")
}
