//! The safetensors writer: dequantized weights, for anything that cannot read the codes.
//!
//! Layout: u64 header length, JSON header (padded with spaces to 8), data in the order of the catalog, under the names of the source.
//! A tensor keeps the element type it has in the source; block types and 8-bit floats, which nothing else reads, become F32, which holds
//! every dequantized value exactly. Always one file: an index and shards are only read. The `safetensors` crate serialises whole models
//! from memory and keeps its metadata in a hash map, hence the header is written here.

use super::delivery::{check_shifts, deliver, quoted, same_model};
use super::outgoing::{Content, Outgoing};
use super::{ExportFormat, Exported, Writer};
use crate::error::{Error, Result};
use crate::job::{Artifact, JobContext, not_the_same, write_atomically};
use crate::recipe::Recipe;
use crate::source::{Source, SourceFormat, TensorEntry};
use crate::tensor::{DType, TensorView};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What a folder of a model holds beside its weights; copied when the output is a folder.
pub(super) const COMPANIONS: [&str; 6] =
    ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model"];

/// Writes safetensors.
#[derive(Clone, Copy, Debug)]
pub struct SafetensorsWriter;

impl Writer for SafetensorsWriter {
    fn format(&self) -> ExportFormat {
        ExportFormat::Safetensors
    }

    /// Everything but a bias that the model does not have: whatever the codes are, their values are floats.
    fn supports(&self, source: &Source, recipe: &Recipe) -> Result<()> {
        check_shifts(source, recipe)
    }

    fn predict_bytes(&self, source: &Source, recipe: &Recipe) -> Result<u64> {
        self.supports(source, recipe)?;
        let tensors: Vec<_> = (0..source.tensors.len()).map(|i| outgoing_of(source, i, None)).collect();
        Ok(header(infos(&tensors))?.len() as u64 + tensors.iter().map(|t| t.bytes).sum::<u64>())
    }

    fn write(&self, source: &Source, artifact: &Artifact, path: &Path, cx: &JobContext) -> Result<Exported> {
        same_model(source, artifact)?;
        not_the_same(&source.path, path)?;
        not_the_same(&source.path, &output_file(path))?;
        self.supports(source, &artifact.recipe)?;
        let folder = is_folder(path);
        let file = output_file(path);
        if folder {
            std::fs::create_dir_all(path).map_err(Error::io("create the output folder", path))?;
        }
        let tensors = outgoing(source, artifact);
        let header = header(infos(&tensors))?;
        let size = header.len() as u64 + tensors.iter().map(|t| t.bytes).sum::<u64>();
        // Without its configuration beside it nothing serves it.
        let command = if folder && source.format == SourceFormat::Safetensors {
            format!("vllm serve {}", quoted(path))
        } else {
            format!("halftone inspect {}", quoted(&file))
        };
        let exported = deliver((ExportFormat::Safetensors, &file, command), &tensors, size, cx, |out, tensor| {
            out.write_all(&header)?;
            (0..tensors.len()).try_for_each(|index| tensor(index, out))
        })?;
        if folder && source.format == SourceFormat::Safetensors {
            let beside = if source.path.is_dir() { source.path.as_path() } else { source.path.parent().unwrap_or(Path::new("")) };
            for name in COMPANIONS {
                copy_companion(&beside.join(name), &path.join(name))?;
            }
        }
        Ok(exported)
    }
}

/// The file that is written when this output is asked for: the path itself, or `model.safetensors` in it when it names a folder.
pub(super) fn output_file(path: &Path) -> PathBuf {
    if is_folder(path) { path.join("model.safetensors") } else { path.to_owned() }
}

/// Whether an output names a folder.
pub(super) fn is_folder(path: &Path) -> bool {
    path.is_dir() || path.extension().is_none()
}

/// The tensors of the safetensors file that is written of an artifact.
pub(super) fn outgoing<'a>(source: &'a Source, artifact: &'a Artifact) -> Vec<Outgoing<'a>> {
    (0..source.tensors.len()).map(|i| outgoing_of(source, i, Some(artifact))).collect()
}

fn outgoing_of<'a>(source: &'a Source, index: usize, artifact: Option<&'a Artifact>) -> Outgoing<'a> {
    let entry: &TensorEntry = &source.tensors[index];
    let view = source.view(index);
    let shift = artifact.and_then(|a| a.shift_of_bias(&entry.name));
    let dtype = match entry.dtype {
        DType::Ggml(_) | DType::F8E4M3 | DType::F8E5M2 => DType::F32,
        plain => plain,
    };
    let residual = artifact.and_then(|a| a.residual(&entry.name)).filter(|(residual, _)| residual.needs_operator());
    let content = match artifact.and_then(|a| a.tensor(&entry.name)) {
        _ if shift.is_some() => Content::Shifted(TensorView { shape: &entry.shape, ..view }, shift.unwrap_or_default(), dtype),
        Some((record, bytes)) if residual.is_some() => {
            let (format, residual) = (record.stored_as, residual.unwrap_or_default());
            Content::Corrected { format, bytes, residual, turned: view.transposed, to: dtype }
        }
        Some((record, bytes)) if view.transposed => Content::Turned(record.stored_as, bytes, dtype),
        Some((record, bytes)) => Content::Decoded(record.stored_as, bytes, dtype),
        None if dtype == entry.dtype => Content::Stored(view.bytes),
        None => Content::Source(TensorView { shape: &entry.shape, ..view }, dtype),
    };
    let (name, mut shape, mut rows) = (entry.stored_name.clone(), entry.shape.clone(), entry.rows());
    if view.transposed {
        shape.reverse();
        rows = shape[0];
    }
    let bytes = (entry.elements() * dtype.block_bytes()) as u64;
    Outgoing { name, shape, dtype, bytes, rows, interleave: None, content }
}

fn infos<'a>(tensors: &'a [Outgoing<'_>]) -> impl Iterator<Item = (&'a str, DType, &'a [usize], u64)> {
    tensors.iter().map(|t| (t.name.as_str(), t.dtype, t.shape.as_slice(), t.bytes))
}

/// Length and JSON of the header of tensors of these names, types, shapes and bytes, padded so that the data begins at a multiple of 8.
pub(super) fn header<'a>(tensors: impl Iterator<Item = (&'a str, DType, &'a [usize], u64)>) -> Result<Vec<u8>> {
    let mut json = serde_json::Map::new();
    json.insert("__metadata__".to_owned(), serde_json::json!({ "format": "pt", "halftone.version": env!("CARGO_PKG_VERSION") }));
    let mut offset = 0;
    for (name, dtype, shape, bytes) in tensors {
        let end = offset + bytes;
        json.insert(name.to_owned(), serde_json::json!({ "dtype": dtype.to_string(), "shape": shape, "data_offsets": [offset, end] }));
        offset = end;
    }
    let mut text = serde_json::to_vec(&json).map_err(|e| Error::Input(format!("write the safetensors header: {e}")))?;
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok([(text.len() as u64).to_le_bytes().as_slice(), &text].concat())
}

/// Copies a file that is there.
pub(super) fn copy_companion(from: &Path, to: &Path) -> Result<()> {
    if !from.is_file() || from == to {
        return Ok(());
    }
    write_atomically(to, &std::fs::read(from).map_err(Error::io("read a file of the model's folder", from))?)
}
