//! Writers. Each says beforehand whether it can hold the artifact, predicts its bytes exactly, writes beside and renames, and re-opens what it wrote.

mod delivery;
pub mod gguf;
mod model;
mod outgoing;
mod report;
mod safetensors;
mod verify;

pub use model::{WrittenModel, write_model};
pub use report::{Prediction, Proof, write_report};
pub use verify::{VerifyReport, verify};

use crate::error::Result;
use crate::job::{Artifact, JobContext};
use crate::recipe::Recipe;
use crate::source::Source;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    /// GGUF version 3, for llama.cpp and everything built on it.
    Gguf,
    /// safetensors with dequantized weights in the source's float type, for anything that cannot read the codes.
    Safetensors,
}

impl ExportFormat {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Gguf, Self::Safetensors];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gguf => "gguf",
            Self::Safetensors => "safetensors",
        }
    }
}

/// A written file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exported {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub format: ExportFormat,
    /// Its bytes.
    pub bytes: u64,
    /// blake3 of the file.
    pub hash: String,
    /// Tensors checked after re-opening.
    pub tensors_checked: usize,
    /// A command that uses the file.
    pub serve_command: String,
}

/// Something that writes one export format.
pub trait Writer: Send + Sync {
    /// Which.
    fn format(&self) -> ExportFormat;

    /// Whether it can hold what this recipe asks for; asked before any work.
    ///
    /// # Errors
    /// `Unsupported` with the first tensor that stands in the way.
    fn supports(&self, source: &Source, recipe: &Recipe) -> Result<()>;

    /// Exact bytes of the file it would write.
    ///
    /// # Errors
    /// As [`Self::supports`].
    fn predict_bytes(&self, source: &Source, recipe: &Recipe) -> Result<u64>;

    /// Writes, re-opens, checks.
    ///
    /// # Errors
    /// `Io`, `Mismatch` when the re-opened file differs, `Cancelled`.
    fn write(&self, source: &Source, artifact: &Artifact, path: &Path, cx: &JobContext) -> Result<Exported>;
}

/// The writer of a format.
pub fn writer(format: ExportFormat) -> &'static dyn Writer {
    match format {
        ExportFormat::Gguf => &gguf::GgufWriter,
        ExportFormat::Safetensors => &safetensors::SafetensorsWriter,
    }
}
