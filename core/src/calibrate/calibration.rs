//! What a model does to its activations on a text: sums that can be merged.

use crate::error::Result;
use crate::job::JobContext;
use crate::source::Source;
use indexmap::IndexMap;
use std::path::Path;

/// How much text, and what to keep.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CalibrationOptions {
    /// Tokens to run, rounded down to whole sequences.
    pub tokens: usize,
    /// Tokens a sequence.
    pub sequence_length: usize,
    /// Keep H = XᵀX for inputs up to this many columns (0: only Σx²).
    pub gram_columns: usize,
}

impl Default for CalibrationOptions {
    fn default() -> Self {
        Self { tokens: 32_768, sequence_length: 512, gram_columns: 8192 }
    }
}

/// Sums over the tokens that entered one set of linears.
#[derive(Clone, Debug)]
pub struct InputStatistics {
    /// Tokens seen.
    pub tokens: u64,
    /// Σx² of each column.
    pub sum_squares: Vec<f32>,
    /// Σ xᵢxⱼ, `columns × columns`, full and symmetric, when it was kept.
    pub gram: Option<Vec<f32>>,
}

/// The activation statistics of a model on a text.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Fingerprint of the model.
    pub model: String,
    /// blake3 of the text.
    pub text: String,
    /// Options it was made with.
    pub options: CalibrationOptions,
    /// Statistics by input; the key is the first linear that reads it.
    pub inputs: IndexMap<String, InputStatistics>,
    /// Canonical tensor name → key of its input.
    pub tensors: IndexMap<String, String>,
}

impl Calibration {
    /// The statistics of what enters this tensor.
    pub fn of(&self, tensor: &str) -> Option<&InputStatistics> {
        self.inputs.get(self.tensors.get(tensor)?)
    }

    /// Per-column importance of a tensor: mean x².
    pub fn importance(&self, tensor: &str) -> Option<Vec<f32>> {
        let input = self.of(tensor)?;
        Some(input.sum_squares.iter().map(|s| s / input.tokens.max(1) as f32).collect())
    }

    /// blake3 over everything that was measured; part of every cache key right of here.
    pub fn hash(&self) -> String {
        todo!("calibrate room")
    }

    /// Saves as a safetensors file; an imatrix GGUF of the same name is written beside it.
    ///
    /// # Errors
    /// `Io`.
    pub fn save(&self, path: &Path) -> Result<()> {
        let _ = path;
        todo!("calibrate room")
    }

    /// Loads what [`Self::save`] wrote.
    ///
    /// # Errors
    /// `Io`, `Malformed`.
    pub fn load(path: &Path) -> Result<Self> {
        let _ = path;
        todo!("calibrate room")
    }
}

/// Runs the model over the text and collects the statistics of every linear's input.
///
/// # Errors
/// `Unsupported` for an architecture without forward, `Input` for too little text, `Cancelled`.
pub fn calibrate(source: &Source, text: &str, options: &CalibrationOptions, cx: &JobContext) -> Result<Calibration> {
    let _ = (source, text, options, cx);
    todo!("calibrate room")
}
