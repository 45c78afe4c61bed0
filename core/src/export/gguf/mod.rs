//! The Gguf writer.

use super::{ExportFormat, Exported, Writer};
use crate::error::Result;
use crate::job::{Artifact, JobContext};
use crate::recipe::Recipe;
use crate::source::Source;
use std::path::Path;

/// Writes Gguf.
#[derive(Clone, Copy, Debug)]
pub struct GgufWriter;

impl Writer for GgufWriter {
    fn format(&self) -> ExportFormat {
        ExportFormat::Gguf
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

/// Bytes of a GGUF of this source that no allocation changes: header, metadata, tensor infos, alignment before the data, and the
/// tensors that are not quantizable, padded. Add `padded` bytes of each quantizable tensor for the whole file.
pub fn fixed_bytes(source: &Source) -> u64 {
    let _ = source;
    todo!("export room")
}

/// Bytes a tensor takes in the data section: rounded up to the alignment that the writer uses (32).
pub fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(32)
}
