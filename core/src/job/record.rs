//! One finished tensor on disk: magic, u64 length and blake3 of the header, the header as JSON, the encoded bytes to the end of the file.
//!
//! Invariant: a [`Record`] that could be opened is the one that was written; both hashes are checked.

use super::{RecordHeader, write_file_atomically};
use crate::error::{Error, Result};
use crate::residual::Candidate;
use crate::source::mapped;
use memmap2::Mmap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

const MAGIC: [u8; 8] = *b"HTRECRD1";
/// Magic, header length, header hash.
const PREAMBLE: usize = 8 + 8 + blake3::OUT_LEN;

impl RecordHeader {
    /// What the tensor is stored as: format and residual.
    pub fn stored(&self) -> Candidate {
        Candidate { format: self.stored_as, residual: self.residual.map(|residual| residual.kind) }
    }
}

/// A mapped record.
#[derive(Debug)]
pub(crate) struct Record {
    /// What it says of its tensor.
    pub(crate) header: RecordHeader,
    map: Mmap,
    start: usize,
}

impl Record {
    /// Maps a record and checks its hashes; `None` when there is no file.
    ///
    /// # Errors
    /// `Io`; `Malformed` for one that was cut short or changed.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        let Some(map) = map(path)? else { return Ok(None) };
        let bad = |detail: &str| Error::malformed("job record", path, detail);
        let (preamble, rest) = map.split_at_checked(PREAMBLE).ok_or_else(|| bad("cut short in its preamble"))?;
        if preamble[..8] != MAGIC {
            return Err(bad("it does not begin with the magic of a record"));
        }
        let length = u64::from_le_bytes(preamble[8..16].try_into().map_err(|_| bad("no header length"))?);
        let json = usize::try_from(length).ok().and_then(|n| rest.get(..n)).ok_or_else(|| bad("cut short in its header"))?;
        if blake3::hash(json).as_slice() != &preamble[16..] {
            return Err(bad("its header does not have the hash it was written with"));
        }
        let header: RecordHeader = serde_json::from_slice(json).map_err(|e| bad(&e.to_string()))?;
        let start = PREAMBLE + json.len();
        if blake3::hash(&map[start..]).to_hex().as_str() != header.hash {
            return Err(bad(&format!("the bytes of {} do not have the hash they were written with", header.tensor)));
        }
        Ok(Some(Self { header, map, start }))
    }

    /// The codes, and the residual.
    pub(super) fn split(&self) -> (&[u8], &[u8]) {
        let bytes = self.bytes();
        let residual = self.header.residual.map_or(0, |residual| usize::try_from(residual.bytes).unwrap_or(usize::MAX));
        bytes.split_at(bytes.len().saturating_sub(residual))
    }

    /// The encoded tensor.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map[self.start..]
    }
}

/// Writes a record; when this returns it survives a loss of power.
///
/// # Errors
/// `Io`; nothing is left behind.
pub(crate) fn write(path: &Path, header: &RecordHeader, bytes: &[u8]) -> Result<()> {
    let json = serde_json::to_vec(header).map_err(|e| Error::Input(format!("write the record of {}: {e}", header.tensor)))?;
    let write = |file: &mut std::io::BufWriter<&File>| {
        file.write_all(&MAGIC)?;
        file.write_all(&(json.len() as u64).to_le_bytes())?;
        file.write_all(blake3::hash(&json).as_slice())?;
        file.write_all(&json)?;
        file.write_all(bytes)
    };
    write_file_atomically(path, write, |_| Ok(()))
}

fn map(path: &Path) -> Result<Option<Mmap>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open a job record", path)(error)),
    };
    mapped::map(&file).map(Some).map_err(Error::io("map a job record", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Format;

    fn written(folder: &Path) -> std::path::PathBuf {
        let (path, bytes) = (folder.join("0000.rec"), [7u8; 100]);
        let hash = blake3::hash(&bytes).to_hex().to_string();
        let header = RecordHeader {
            tensor: "t".into(),
            stored_as: Format::F16,
            columns: 50,
            residual: None,
            weight_error: 0.25,
            hash,
            device: None,
            notices: Vec::new(),
        };
        write(&path, &header, &bytes).unwrap();
        path
    }

    #[test]
    fn a_record_reads_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::open(&written(folder.path())).unwrap().unwrap();
        assert_eq!((record.header.tensor.as_str(), record.header.weight_error), ("t", 0.25));
        assert_eq!(record.bytes(), [7; 100]);
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(Record::open(&path).is_err(), "cut at {at}");
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, &flipped).unwrap();
            assert!(Record::open(&path).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn a_missing_record_is_not_an_error() {
        assert!(Record::open(Path::new("no such folder/0000.rec")).unwrap().is_none());
    }
}
