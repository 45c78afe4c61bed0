//! Checks a file that was written, on its own or against what it was made from.

use super::{ExportFormat, delivery, gguf, safetensors};
use crate::error::{Error, Result};
use crate::job::{Artifact, JobContext, Stage};
use crate::source::{self, Source, SourceFormat};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What a check found in a file that passed it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifyReport {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub format: ExportFormat,
    /// Its bytes.
    pub bytes: u64,
    /// blake3 of the file.
    pub hash: String,
    /// Tensors in it, every one decoded.
    pub tensors: usize,
    /// Values decoded, all of them finite.
    pub values: u64,
    /// The bytes were compared with an artifact and are equal.
    pub compared: bool,
}

/// Re-opens a file and decodes every tensor; with `against`, every tensor must also have the bytes that the artifact gives it.
///
/// # Errors
/// What opening says of a damaged file; `Mismatch` naming the first tensor with a value that is not finite, or with other bytes.
pub fn verify(path: &Path, against: Option<(&Source, &Artifact)>, cx: &JobContext) -> Result<VerifyReport> {
    let path = if path.is_dir() { safetensors::output_file(path) } else { path.to_owned() };
    let file = source::open(&path, &cx.reporter)?;
    let format = match file.format {
        SourceFormat::Gguf(_) => ExportFormat::Gguf,
        SourceFormat::Safetensors => ExportFormat::Safetensors,
    };
    let total = file.size_bytes();
    let (mut done, mut values) = (0, 0);
    for (index, entry) in file.tensors.iter().enumerate() {
        cx.checkpoint()?;
        let decoded = file.view(index).to_f32()?;
        if let Some(at) = decoded.iter().position(|v| !v.is_finite()) {
            let got = format!("{} at index {at} of {}", decoded[at], entry.name);
            return Err(Error::Mismatch { operation: "check the file", expected: "finite values".to_owned(), got });
        }
        values += decoded.len() as u64;
        done += entry.size_bytes;
        cx.progress(Stage::Verify, done, total);
    }
    if let Some((source, artifact)) = against {
        delivery::same_model(source, artifact)?;
        let tensors = match format {
            ExportFormat::Gguf => gguf::outgoing(source, artifact),
            ExportFormat::Safetensors => safetensors::outgoing(source, artifact),
        };
        delivery::compare(&file, &tensors, cx)?;
    }
    let bytes = std::fs::metadata(&path).map_err(Error::io("measure the file", &path))?.len();
    let hash = delivery::hash_file(&path)?;
    Ok(VerifyReport { path, format, bytes, hash, tensors: file.tensors.len(), values, compared: against.is_some() })
}
