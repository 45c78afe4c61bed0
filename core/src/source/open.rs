//! Opening: which reader a path belongs to, and the opened model.

use super::catalog::catalog;
use super::companions::Companions;
use super::fingerprint::fingerprint;
use super::layout::{self, Layout};
use super::mapped::MappedFile;
use super::stored::StoredTensor;
use super::{Metadata, ModelConfig, TensorEntry, Tokenizer};
use super::{config_gguf, config_json, conv1d, gguf, safetensors, translate};
use crate::error::{Error, Result};
use crate::report::{NoticeKind, Reporter};
use crate::tensor::TensorView;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the model came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum SourceFormat {
    /// A GGUF file of this version.
    Gguf(u32),
    /// One or more safetensors files.
    Safetensors,
}

/// An opened model: catalog, configuration, metadata, tokenizer; tensors are views into mapped files.
pub struct Source {
    /// Where it was opened.
    pub path: PathBuf,
    /// What it is.
    pub format: SourceFormat,
    /// Architecture and sizes.
    pub config: ModelConfig,
    /// GGUF keys: the file's own, or translated from config.json and tokenizer.json, so that a GGUF can be written from either.
    pub metadata: Metadata,
    /// The catalog, in file order.
    pub tensors: Vec<TensorEntry>,
    /// blake3 of headers, sizes and samples of every tensor: the model's identity in calibrations, tables, recipes and journals.
    pub fingerprint: String,
    files: Vec<MappedFile>,
    /// In the order of `tensors`.
    stored: Vec<StoredTensor>,
    by_name: HashMap<String, usize>,
    /// tokenizer.json, where the model has one; else the tokenizer is made from the metadata.
    tokenizer_json: Option<Vec<u8>>,
    tokenizer: parking_lot::Mutex<Option<Arc<Tokenizer>>>,
    reporter: Reporter,
}

impl Source {
    /// The stored tensor at this position of the catalog.
    ///
    /// # Panics
    /// When there is no such position.
    pub fn view(&self, index: usize) -> TensorView<'_> {
        let stored = &self.stored[index];
        let bytes = &self.files[stored.file].bytes[stored.range.clone()];
        TensorView { name: &stored.name, dtype: stored.dtype, shape: &stored.shape, transposed: stored.transposed, bytes }
    }

    /// The position of a tensor by canonical name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The tokenizer, made at the first call.
    ///
    /// # Errors
    /// `Unsupported` or `Malformed` when the model has none, or one of an unknown kind.
    pub fn tokenizer(&self) -> Result<Arc<Tokenizer>> {
        let mut made = self.tokenizer.lock();
        if let Some(tokenizer) = &*made {
            return Ok(tokenizer.clone());
        }
        let tokenizer = match &self.tokenizer_json {
            Some(json) => Tokenizer::from_json(json, &self.metadata, &self.path)?,
            None => Tokenizer::from_metadata(&self.metadata, &self.path, &self.reporter)?,
        };
        let tokenizer = Arc::new(tokenizer);
        *made = Some(tokenizer.clone());
        Ok(tokenizer)
    }

    /// Stored bytes of all tensors.
    pub fn size_bytes(&self) -> u64 {
        self.tensors.iter().map(|t| t.size_bytes).sum()
    }

    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(|t| t.elements() as u64).sum()
    }

    /// The files the weights are in.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("path", &self.path).field("tensors", &self.tensors.len()).finish_non_exhaustive()
    }
}

/// Opens a GGUF file, a safetensors file, an index.json, or a folder with config.json. Reads headers only.
///
/// # Errors
/// `Io`, `Malformed` or `Unsupported`, each naming what was met; `Input` when a folder has several models.
pub fn open(path: &Path, reporter: &Reporter) -> Result<Source> {
    match layout::find(path, reporter)? {
        Layout::Gguf(file) => open_gguf(path, &file, reporter),
        Layout::Safetensors { files, index, folder } => open_safetensors(path, &files, &index, &folder, reporter),
    }
}

fn open_gguf(path: &Path, first: &Path, reporter: &Reporter) -> Result<Source> {
    let file = MappedFile::open(first)?;
    let header = gguf::parse(first, &file.bytes)?;
    let count = header.metadata.get("split.count").and_then(super::MetaValue::as_u64).unwrap_or(1);
    let mut parts = vec![(file, header)];
    if count > 1 {
        parts.clear();
        for part in layout::split_parts(first, count)? {
            let file = MappedFile::open(&part)?;
            let header = gguf::parse(&part, &file.bytes)?;
            parts.push((file, header));
        }
    }
    let mut parsed = Parsed::default();
    let (mut metadata, version) = (parts[0].1.metadata.clone(), parts[0].1.version);
    metadata.retain(|key, _| !key.starts_with("split."));
    let repaired: usize = parts.iter().map(|(_, header)| header.repaired_strings).sum();
    if repaired > 0 {
        reporter.notice(None, NoticeKind::Other { text: format!("{repaired} strings of the metadata are not UTF-8; their bad bytes were replaced") });
    }
    for (file, header) in parts {
        parsed.add(file, header.length, header.tensors)?;
    }
    let mut config = config_gguf::from_metadata(&metadata, reporter);
    let tensors = parsed.catalog(path, &mut config)?;
    Ok(parsed.source(path, SourceFormat::Gguf(version), config, metadata, tensors, Companions::default(), reporter))
}

fn open_safetensors(path: &Path, files: &[PathBuf], index: &BTreeMap<String, PathBuf>, folder: &Path, reporter: &Reporter) -> Result<Source> {
    let mut parsed = Parsed::default();
    for path in files {
        let file = MappedFile::open(path)?;
        let header = safetensors::parse(path, &file.bytes, reporter)?;
        parsed.add(file, header.length, header.tensors)?;
    }
    for (tensor, file) in index {
        let found = parsed.tensors.iter().any(|t| t.name == *tensor && parsed.files[t.file].path == *file);
        if !found {
            return Err(Error::malformed("safetensors index", path, format!("{tensor} is not in {}, where the index says it is", file.display())));
        }
    }
    let companions = Companions::read(folder)?;
    let mut config = config_json::from_json(&companions.config, reporter);
    config.license = companions.license.clone();
    config.name = config.name.or_else(|| companions.folder_name.clone());
    // A head that the config ties to the embedding is never read by anyone: transformers replaces it at loading.
    if config_json::ties_head(&companions.config)
        && parsed.names.iter().any(|name| name.ends_with("embed_tokens.weight") || name.ends_with("wte.weight"))
        && parsed.remove("lm_head.weight")
    {
        let text = "left out: config.json ties it to the embedding".to_owned();
        reporter.notice(Some("lm_head.weight"), NoticeKind::Other { text });
    }
    conv1d::turn_round(&mut parsed.tensors);
    let tensors = parsed.catalog(path, &mut config)?;
    let metadata = translate::metadata(&config, &companions, reporter);
    Ok(parsed.source(path, SourceFormat::Safetensors, config, metadata, tensors, companions, reporter))
}

/// What the readers found, while it is put together.
#[derive(Default)]
struct Parsed {
    files: Vec<MappedFile>,
    header_lengths: Vec<usize>,
    tensors: Vec<StoredTensor>,
    names: HashSet<String>,
}

impl Parsed {
    fn add(&mut self, file: MappedFile, header_length: usize, tensors: Vec<StoredTensor>) -> Result<()> {
        for mut tensor in tensors {
            if !self.names.insert(tensor.name.clone()) {
                return Err(Error::malformed("model", &file.path, format!("{} is in an earlier file too", tensor.name)));
            }
            tensor.file = self.files.len();
            self.tensors.push(tensor);
        }
        self.files.push(file);
        self.header_lengths.push(header_length);
        Ok(())
    }

    /// Takes a tensor out; whether it was there.
    fn remove(&mut self, name: &str) -> bool {
        self.tensors.retain(|t| t.name != name);
        self.names.remove(name)
    }

    /// The catalog, and from it what the configuration did not say.
    fn catalog(&self, path: &Path, config: &mut ModelConfig) -> Result<Vec<TensorEntry>> {
        if self.tensors.is_empty() {
            return Err(Error::unsupported(format!("opening {}", path.display()), "it holds no tensors"));
        }
        let tensors = catalog(&self.tensors);
        config.complete_from(&tensors);
        Ok(tensors)
    }

    fn source(
        self,
        path: &Path,
        format: SourceFormat,
        config: ModelConfig,
        metadata: Metadata,
        tensors: Vec<TensorEntry>,
        companions: Companions,
        reporter: &Reporter,
    ) -> Source {
        Source {
            path: path.to_owned(),
            format,
            config,
            metadata,
            fingerprint: fingerprint(&self.files, &self.header_lengths, &self.tensors, &companions.identity),
            by_name: tensors.iter().enumerate().map(|(index, tensor)| (tensor.name.clone(), index)).collect(),
            tensors,
            files: self.files,
            stored: self.tensors,
            tokenizer_json: companions.tokenizer_bytes,
            tokenizer: parking_lot::Mutex::default(),
            reporter: reporter.clone(),
        }
    }
}
