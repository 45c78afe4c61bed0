//! The Safetensors writer.

use super::{ExportFormat, Exported, Writer};
use crate::error::Result;
use crate::job::{Artifact, JobContext};
use crate::recipe::Recipe;
use crate::source::Source;
use std::path::Path;

/// Writes Safetensors.
#[derive(Clone, Copy, Debug)]
pub struct SafetensorsWriter;

impl Writer for SafetensorsWriter {
    fn format(&self) -> ExportFormat {
        ExportFormat::Safetensors
    }

    fn supports(&self, source: &Source, recipe: &Recipe) -> Result<()> {
        let _ = (source, recipe);
        todo!("export room")
    }

    fn predict_bytes(&self, source: &Source, recipe: &Recipe) -> Result<u64> {
        let _ = (source, recipe);
        todo!("export room")
    }

    fn write(&self, source: &Source, artifact: &Artifact, path: &Path, cx: &JobContext) -> Result<Exported> {
        let _ = (source, artifact, path, cx);
        todo!("export room")
    }
}
