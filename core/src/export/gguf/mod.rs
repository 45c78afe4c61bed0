//! The GGUF writer, for llama.cpp and everything built on it: any tensor any ggml type; keys and tokenizer carried over.
//!
//! Invariant: the file's size is known before anything runs ([`Writer::predict_bytes`]), to the byte, and equal inputs give equal bytes.
//! Absent on purpose: split files, and weights stored as group-wise integers, for which GGUF has no type.

mod container;
mod layout;

pub use container::{ALIGNMENT, Container, TensorInfo, padded};
pub(super) use container::{dtype_id, file_type};

use super::delivery::{check_shifts, deliver, quoted, same_model};
use super::outgoing::{Content, Outgoing};
use super::{ExportFormat, Exported, Writer};
use crate::error::{Error, Result};
use crate::job::{Artifact, JobContext, not_the_same};
use crate::recipe::Recipe;
use crate::report::NoticeKind;
use crate::source::{Source, SourceFormat, TensorEntry, expert_of};
use crate::tensor::TensorView;
use std::path::Path;

/// Longest tensor name (GGML_MAX_NAME with its terminator) and most dimensions (GGML_MAX_DIMS) that llama.cpp loads.
const NAME_BYTES: usize = 63;
const DIMENSIONS: usize = 4;

/// Architectures whose safetensors are converted. Others need changes of their own to the weights, or tokenizers that are not translated,
/// and a file that loads and computes something else is worse than none.
const CONVERTED: [&str; 10] = ["llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "gemma", "gemma2", "gemma3", "phi3", "gpt2"];

/// Architectures of which llama.cpp takes the embedding for the head, whatever the file has, and refuses a file with both.
const SHARED_HEAD: [&str; 2] = ["gemma", "gemma2"];

/// Whether llama.cpp reads a head of its own.
///
/// # Errors
/// `Unsupported`.
pub(super) fn check_separate_head(architecture: &str) -> Result<()> {
    if !SHARED_HEAD.contains(&architecture) {
        return Ok(());
    }
    let why = format!("llama.cpp takes the embedding of a {architecture} for its head, and this model has a head of its own");
    Err(Error::unsupported("GGUF of this model", why))
}

/// Writes GGUF.
#[derive(Clone, Copy, Debug)]
pub struct GgufWriter;

impl Writer for GgufWriter {
    fn format(&self) -> ExportFormat {
        ExportFormat::Gguf
    }

    fn supports(&self, source: &Source, recipe: &Recipe) -> Result<()> {
        if let Some((tensor, format)) = recipe.tensors.iter().find(|(_, f)| !f.is_gguf()) {
            return Err(Error::unsupported(
                format!("{format} in GGUF"),
                format!("{tensor} is to be {format}, for which GGUF has no type; choose a ggml format, or export dequantized safetensors"),
            ));
        }
        if let Some((tensor, residual)) = recipe.residuals.iter().find(|(_, residual)| residual.needs_operator()) {
            let why = format!("{tensor} keeps {residual} of its rounding error, for which llama.cpp has no operator; comparisons and safetensors have it");
            return Err(Error::unsupported("a residual in GGUF", why));
        }
        check_shifts(source, recipe)?;
        let architecture = &source.config.architecture;
        if source.format == SourceFormat::Safetensors && !CONVERTED.contains(&architecture.as_str()) {
            let why = format!("llama.cpp cannot load {architecture} written from safetensors; export as safetensors");
            return Err(Error::unsupported("GGUF of this model", why));
        }
        if source.format == SourceFormat::Safetensors {
            source.config.said_by_gguf().map_err(|why| Error::unsupported("GGUF of this model", why))?;
        }
        if source.find("output.weight").is_some() {
            check_separate_head(architecture)?;
        }
        for entry in &source.tensors {
            let why = if let Some(why) = layout::stack_of(source, &entry.name).and_then(|(stack, _)| unlike(source, recipe, &stack, entry)) {
                why
            } else if entry.name.len() > NAME_BYTES {
                format!("the name {} has more than {NAME_BYTES} bytes", entry.name)
            } else if entry.shape.len() > DIMENSIONS {
                format!("{} has {} dimensions, llama.cpp takes {DIMENSIONS}", entry.name, entry.shape.len())
            } else if layout::interleaved_heads(source, &entry.name).is_some_and(|heads| !entry.shape[0].is_multiple_of(2 * heads.max(1))) {
                format!(
                    "{} has {} rows, which {} query and {} key heads do not divide",
                    entry.name, entry.shape[0], source.config.head_count, source.config.kv_head_count
                )
            } else if layout::is_foreign(source, entry) {
                format!("llama.cpp has no tensor {} in a {architecture}", entry.name)
            } else {
                continue;
            };
            return Err(Error::unsupported("GGUF of this model", why));
        }
        Ok(())
    }

    fn predict_bytes(&self, source: &Source, recipe: &Recipe) -> Result<u64> {
        self.supports(source, recipe)?;
        let tensors = layout::layout(source, |name| stored_as(source, recipe, name).map(|format| (format, [].as_slice())));
        Ok(layout::container(source, &tensors, None).size_bytes())
    }

    fn write(&self, source: &Source, artifact: &Artifact, path: &Path, cx: &JobContext) -> Result<Exported> {
        same_model(source, artifact)?;
        not_the_same(&source.path, path)?;
        self.supports(source, &artifact.recipe)?;
        if !source.metadata.contains_key("tokenizer.ggml.model") {
            let text = "the file has no tokenizer, because none was found beside the model; llama.cpp will not load it".to_owned();
            cx.reporter.notice(None, NoticeKind::Other { text });
        }
        if let Some(window) = source.config.anatomy.as_ref().and_then(|a| a.window)
            && !source.config.architecture.starts_with("gemma")
        {
            let text = format!("llama.cpp gives this architecture no window of {window} tokens; texts longer than that are computed otherwise");
            cx.reporter.notice(None, NoticeKind::Other { text });
        }
        let tensors = outgoing(source, artifact);
        let container = layout::container(source, &tensors, Some(&artifact.recipe.hash()));
        let command = format!("llama-cli -m {}", quoted(path));
        deliver((ExportFormat::Gguf, path, command), &tensors, container.size_bytes(), cx, |out, tensor| container.write(out, tensor))
    }
}

/// The tensors of the GGUF that is written of an artifact.
pub(super) fn outgoing<'a>(source: &'a Source, artifact: &'a Artifact) -> Vec<Outgoing<'a>> {
    let mut tensors = layout::layout(source, |name| artifact.tensor(name).map(|(record, bytes)| (record.stored_as, bytes)));
    for tensor in &mut tensors {
        if let (Some(shift), Some(index)) = (artifact.shift_of_bias(&tensor.name), source.find(&tensor.name)) {
            let view = TensorView { shape: &source.tensors[index].shape, ..source.view(index) };
            tensor.content = Content::Shifted(view, shift, tensor.dtype);
        }
    }
    tensors
}

/// Bytes of a GGUF of this source that no allocation changes: header, metadata, tensor infos, alignment before the data, and the
/// tensors that are not quantizable, padded. Add [`padded`] bytes of each quantizable tensor for the whole file.
pub fn fixed_bytes(source: &Source) -> u64 {
    let tensors = layout::layout(source, |_| None);
    let first_of = |name: &str| source.find(name).or_else(|| layout::experts_of(source, name).first().copied());
    let quantizable = |name: &str| first_of(name).is_some_and(|i| source.tensors[i].quantizable());
    let kept: u64 = tensors.iter().filter(|t| !quantizable(&t.name)).map(|t| padded(t.bytes)).sum();
    layout::container(source, &tensors, None).header_bytes() + kept
}

/// What a recipe's format becomes for the rows of this tensor.
fn stored_as(source: &Source, recipe: &Recipe, name: &str) -> Option<crate::codec::Format> {
    let format = recipe.tensors.get(name)?;
    Some(format.for_columns(source.tensors[source.find(name)?].columns()))
}

/// In which way an expert does not fit into its stack: all must be there, alike, and have one format.
fn unlike(source: &Source, recipe: &Recipe, stack: &str, entry: &TensorEntry) -> Option<String> {
    let (_, expert) = layout::stack_of(source, &entry.name)?;
    let Some(first) = expert_of(stack, 0).and_then(|name| source.find(&name)).map(|index| &source.tensors[index]) else {
        return Some(format!("the first expert of {stack} is missing"));
    };
    if expert == 0 {
        let (found, expected) = (layout::experts_of(source, stack).len(), source.config.anatomy.as_ref().and_then(|a| a.experts).map_or(0, |e| e.count));
        if found != expected {
            return Some(format!("{stack} has {found} experts in a row, not {expected}"));
        }
    }
    if (&first.shape, first.dtype) != (&entry.shape, entry.dtype) {
        return Some(format!("{} and {} of one stack have other shapes or types", first.name, entry.name));
    }
    let format = |name: &str| recipe.tensors.get(name).map_or_else(|| "unquantized".to_owned(), ToString::to_string);
    let (one, other) = (format(&first.name), format(&entry.name));
    (one != other).then(|| format!("experts are one tensor in GGUF and must share a format; {} is {one}, {} is {other}", first.name, entry.name))
}
