//! Mapped model files, and small files read whole under a limit.

use crate::error::{Error, Result};
use memmap2::Mmap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest config.json, index or tokenizer.json that is read; the largest real ones are tokenizers of a few dozen MB.
const SMALL_FILE_LIMIT: u64 = 1 << 28;

/// A model file, mapped read-only.
pub(super) struct MappedFile {
    pub path: PathBuf,
    pub bytes: Mmap,
}

impl MappedFile {
    /// Maps a file that is not empty.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open model file", path))?;
        let length = file.metadata().map_err(Error::io("open model file", path))?.len();
        if length == 0 {
            return Err(Error::malformed("model file", path, "the file is empty"));
        }
        Ok(Self { path: path.to_owned(), bytes: map(&file).map_err(Error::io("map model file", path))? })
    }
}

/// Maps a file read-only; the one place where this crate does so. Job records, like models, are replaced by renaming and never written in place.
///
/// # Errors
/// What the operating system says.
#[expect(unsafe_code, reason = "mapping is what lets a model larger than memory be opened; there is no safe way to map a file")]
pub(crate) fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is private to this process and never written through. What cannot be ruled out is another program changing or
    // cutting the file meanwhile: changed bytes are plain numbers or were already checked as a header (copied out at opening), and a cut
    // file ends this process with a bus error, as it does for every program that maps its models. Our own writers never write in place.
    unsafe { Mmap::map(file) }
}

/// Reads a small file; one larger than the limit is refused before anything is allocated.
pub(super) fn read_small(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut bytes = Vec::new();
    file.take(SMALL_FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > SMALL_FILE_LIMIT {
        return Err(Error::malformed("JSON", path, format!("larger than {SMALL_FILE_LIMIT} bytes")));
    }
    Ok(bytes)
}

/// Reads a small JSON file.
pub(super) fn read_json(path: &Path) -> Result<serde_json::Value> {
    parse_json(path, &read_small(path)?)
}

/// Parses what was read from `path`.
pub(super) fn parse_json(path: &Path, bytes: &[u8]) -> Result<serde_json::Value> {
    serde_json::from_slice(bytes).map_err(|e| Error::malformed("JSON", path, e.to_string()))
}
