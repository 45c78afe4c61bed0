//! The writer of transformed models: full precision, in the container of the source, so that the file opens like the original.
//!
//! Tensors that the plan does not touch keep their stored bytes; the others are computed one at a time, written, and forgotten. Metadata and
//! the files beside the weights go with it, with the note of what was done; a head that was untied is said to be its own.

use super::delivery::hash_file;
use super::gguf::{self, Container, TensorInfo, dtype_id, file_type};
use super::safetensors::{COMPANIONS, copy_companion, header, is_folder, output_file};
use crate::error::{Error, Result};
use crate::job::{JobContext, Stage, not_the_same, write_atomically, write_file_atomically};
use crate::model::Weights as _;
use crate::report::Reporter;
use crate::source::{self, MetaValue, Source, SourceFormat};
use crate::tensor::DType;
use crate::transform::{Plan, TRANSFORM_KEY, Transformed, transposed};
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A written model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrittenModel {
    /// Where: a GGUF file, or a folder.
    pub path: PathBuf,
    /// Bytes of its weights file.
    pub bytes: u64,
    /// blake3 of that file.
    pub hash: String,
    /// Fingerprint that calibrations and recipes of it will have.
    pub fingerprint: String,
    /// Bytes of a head that the original shares with its embedding.
    pub untied_head_bytes: u64,
    /// What was done to which model.
    pub note: String,
    /// The GPU that computed its rotations, in single precision, or those before it failed; none where the CPU did, in double precision.
    pub device: Option<String>,
}

/// One tensor of the file.
struct Outgoing {
    canonical: String,
    /// Position in the source's catalog of a tensor that goes out as it lies.
    kept: Option<usize>,
    /// The bytes lie column after column.
    transposed: bool,
    name: String,
    shape: Vec<usize>,
    dtype: DType,
    bytes: u64,
}

/// Writes `source` as `plan` changes it. Changed tensors become `float` (F32, F16 or BF16), vectors F32. Rotations are computed by the device of
/// `cx`: on the CPU the bytes are the same on every machine, on a GPU those of that device, within its tolerance.
///
/// # Errors
/// `Unsupported` for another element type, for a head of its own where llama.cpp has none, for a path that is not of the source's container;
/// `Io`, `Mismatch` when the re-opened file differs, `Cancelled`; nothing is left behind then.
pub fn write_model(source: &Source, plan: &Plan, float: DType, path: &Path, cx: &JobContext) -> Result<WrittenModel> {
    if !matches!(float, DType::F32 | DType::F16 | DType::Bf16) {
        return Err(Error::unsupported(format!("a transformed model in {float}"), "its weights are F32, F16 or BF16"));
    }
    not_the_same(&source.path, path)?;
    let is_gguf = matches!(source.format, SourceFormat::Gguf(_));
    let suffix = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
    if is_gguf != suffix || (!is_gguf && !is_folder(path)) {
        let wanted = if is_gguf { "a .gguf file" } else { "a folder; export its quantized model to GGUF" };
        return Err(Error::unsupported(format!("writing {}", path.display()), format!("a transformed model has the container of its source: name {wanted}")));
    }
    if is_gguf && plan.unties_head() {
        gguf::check_separate_head(&source.config.architecture)?;
    }
    let device = if plan.rotates() { cx.backend().gpu().map(|gpu| gpu.name().to_owned()) } else { None };
    let tensors = outgoing(source, plan, float);
    let view = Transformed::new(source, plan).on(cx);
    let mut hashes = Vec::with_capacity(tensors.len());
    let total = tensors.iter().map(|t| t.bytes).sum();
    let mut done = 0;
    let mut write = |tensor: &Outgoing, out: &mut dyn Write| -> io::Result<()> {
        cx.checkpoint().map_err(io::Error::other)?;
        let mut hasher = blake3::Hasher::new();
        let bytes;
        let bytes = match tensor.kept {
            Some(index) => source.view(index).bytes,
            None => {
                bytes = computed(&view, tensor).map_err(io::Error::other)?;
                &bytes
            }
        };
        hasher.update(bytes);
        hashes.push(hasher.finalize());
        done += tensor.bytes;
        cx.progress(Stage::Export, done, total);
        out.write_all(bytes)
    };
    let file = if is_gguf { path.to_owned() } else { output_file(path) };
    let size = if is_gguf {
        let container = container(source, plan, &tensors, float);
        write_file_atomically(
            &file,
            |out| container.write(out, |index, out| write(&tensors[index], out)),
            |there| check(there, &file, container.size_bytes()),
        )?;
        container.size_bytes()
    } else {
        std::fs::create_dir_all(path).map_err(Error::io("create the output folder", path))?;
        companions(source, plan, path)?;
        let infos = tensors.iter().map(|t| (t.name.as_str(), t.dtype, t.shape.as_slice(), t.bytes));
        let header = header(infos)?;
        let size = header.len() as u64 + total;
        let write_all = |out: &mut io::BufWriter<&std::fs::File>| {
            out.write_all(&header)?;
            tensors.iter().try_for_each(|tensor| write(tensor, out))
        };
        write_file_atomically(&file, write_all, |there| check(there, &file, size))?;
        size
    };
    let written = source::open(path, &Reporter::default())?;
    compare(&written, &tensors, &hashes, cx)?;
    let untied_head_bytes = if plan.unties_head() { tensors.last().map_or(0, |t| t.bytes) } else { 0 };
    let (path, hash, fingerprint) = (path.to_owned(), hash_file(&file)?, written.fingerprint);
    Ok(WrittenModel { path, bytes: size, hash, fingerprint, untied_head_bytes, note: plan.note.clone(), device })
}

fn outgoing(source: &Source, plan: &Plan, float: DType) -> Vec<Outgoing> {
    let of = |index: usize, canonical: &str, name: &str| {
        let (entry, view) = (&source.tensors[index], source.view(index));
        let changes = plan.steps.contains_key(canonical);
        let dtype = match () {
            () if !changes => entry.dtype,
            () if entry.shape.len() < 2 => DType::F32,
            () => float,
        };
        let mut shape = entry.shape.clone();
        if view.transposed {
            shape.reverse();
        }
        let bytes = if changes { (entry.elements() * dtype.block_bytes()) as u64 } else { view.bytes.len() as u64 };
        Outgoing { canonical: canonical.to_owned(), kept: (!changes).then_some(index), transposed: view.transposed, name: name.to_owned(), shape, dtype, bytes }
    };
    let mut tensors: Vec<_> = source.tensors.iter().enumerate().map(|(index, t)| of(index, &t.name, &t.stored_name)).collect();
    for (copy, original) in &plan.copies {
        let name = if source.format == SourceFormat::Safetensors && copy == "output.weight" { "lm_head.weight" } else { copy };
        tensors.extend(source.find(original).map(|index| of(index, copy, name)));
    }
    tensors
}

fn computed(view: &Transformed<'_>, tensor: &Outgoing) -> Result<Vec<u8>> {
    let (mut values, shape) = view.load(&tensor.canonical)?.ok_or_else(|| Error::MissingTensor { name: tensor.canonical.clone() })?;
    if tensor.transposed {
        values = transposed(&values, shape.last().copied().unwrap_or(1));
    }
    Ok(match tensor.dtype {
        DType::F16 => values.iter().flat_map(|v| half::f16::from_f32(v.clamp(-65504.0, 65504.0)).to_le_bytes()).collect(),
        DType::Bf16 => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    })
}

fn container(source: &Source, plan: &Plan, tensors: &[Outgoing], float: DType) -> Container {
    let mut metadata = source.metadata.clone();
    metadata.retain(|key, _| key != "general.alignment" && !key.starts_with("split."));
    metadata.insert("general.file_type".to_owned(), MetaValue::U32(file_type(dtype_id(float).unwrap_or(0))));
    metadata.insert(TRANSFORM_KEY.to_owned(), MetaValue::String(plan.note.clone()));
    let info = |t: &Outgoing| TensorInfo { name: t.name.clone(), shape: t.shape.clone(), type_id: dtype_id(t.dtype).unwrap_or(0), bytes: t.bytes };
    Container { metadata, tensors: tensors.iter().map(info).collect() }
}

/// The small files, and in config.json what no longer holds.
fn companions(source: &Source, plan: &Plan, folder: &Path) -> Result<()> {
    let from = if source.path.is_dir() { source.path.as_path() } else { source.path.parent().unwrap_or(Path::new("")) };
    for name in COMPANIONS.into_iter().filter(|name| *name != "config.json") {
        copy_companion(&from.join(name), &folder.join(name))?;
    }
    let path = from.join("config.json");
    let text = std::fs::read(&path).map_err(Error::io("read the configuration", &path))?;
    let mut config: serde_json::Value = serde_json::from_slice(&text).map_err(|e| Error::malformed("JSON", &path, e.to_string()))?;
    if plan.unties_head() {
        config["tie_word_embeddings"] = false.into();
        if let Some(part) = config.get_mut("text_config").filter(|part| part.is_object()) {
            part["tie_word_embeddings"] = false.into();
        }
    }
    config[TRANSFORM_KEY] = plan.note.clone().into();
    let text = serde_json::to_vec_pretty(&config).map_err(|e| Error::Input(format!("write config.json: {e}")))?;
    write_atomically(&folder.join("config.json"), &text)
}

fn check(there: &Path, path: &Path, size: u64) -> Result<()> {
    let bytes = std::fs::metadata(there).map_err(Error::io("measure the written file", path))?.len();
    if bytes == size {
        return Ok(());
    }
    Err(Error::Mismatch { operation: "check the written file", expected: format!("{size} bytes"), got: format!("{bytes} bytes") })
}

/// The tensors of the re-opened file are those that were written.
fn compare(written: &Source, tensors: &[Outgoing], hashes: &[blake3::Hash], cx: &JobContext) -> Result<()> {
    let differs = |expected: String, got: String| Err(Error::Mismatch { operation: "check the written model", expected, got });
    if written.tensors.len() != tensors.len() {
        return differs(format!("{} tensors", tensors.len()), written.tensors.len().to_string());
    }
    for (tensor, hash) in tensors.iter().zip(hashes) {
        cx.checkpoint()?;
        let Some(index) = written.find(&tensor.canonical) else { return Err(Error::MissingTensor { name: tensor.canonical.clone() }) };
        if blake3::hash(written.view(index).bytes) != *hash {
            return differs(format!("the bytes of {} that were written", tensor.name), "other bytes".to_owned());
        }
    }
    Ok(())
}
