//! Compact bases on disk: magic, u64 length of the header, the header as JSON, the chunks' tokens as u32, each record behind its u16 length,
//! and the blake3 of everything before it. Little-endian.
//!
//! Invariant: a base that could be loaded is the one that was saved, and its tokens are those its header names.

use super::record::Record;
use super::{BaseHeader, CompactBase, text_hash};
use crate::error::{Error, Result};
use crate::eval::score::scored_positions;
use crate::job::write_file_atomically;
use std::io::Write as _;
use std::path::Path;

const FORMAT: &str = "compact base";
const MAGIC: [u8; 8] = *b"HTBASE01";

impl CompactBase {
    /// Saves it.
    ///
    /// # Errors
    /// `Io`.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes = self.bytes()?;
        write_file_atomically(path, |out| out.write_all(&bytes), |_| Ok(()))
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        let header = serde_json::to_vec(&self.header).map_err(|e| Error::Input(format!("write the base's header: {e}")))?;
        let mut out = MAGIC.to_vec();
        out.extend((header.len() as u64).to_le_bytes());
        out.extend(header);
        self.chunks.iter().flatten().for_each(|token| out.extend(token.to_le_bytes()));
        for record in &self.records {
            out.extend((record.len() as u16).to_le_bytes());
            out.extend(record);
        }
        out.extend(blake3::hash(&out).as_bytes());
        Ok(out)
    }

    /// Loads what [`Self::save`] wrote.
    ///
    /// # Errors
    /// `Io`, `Malformed`.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io("read the base", path))?;
        let bad = |detail: &str| Error::malformed(FORMAT, path, detail);
        if !bytes.starts_with(&MAGIC) {
            return Err(bad("it does not begin with the magic of a base"));
        }
        let (body, hash) = bytes.split_last_chunk::<{ blake3::OUT_LEN }>().ok_or_else(|| bad("cut short"))?;
        if blake3::hash(body).as_bytes() != hash {
            return Err(bad("its bytes do not have the hash they were written with; it may be cut short"));
        }
        let mut rest = &body[MAGIC.len()..];
        let mut take = |n: usize| {
            let (taken, after) = rest.split_at_checked(n).ok_or_else(|| bad("cut short"))?;
            rest = after;
            Ok::<&[u8], Error>(taken)
        };
        let length = u64::from_le_bytes(take(8)?.try_into().map_err(|_| bad("no length"))?);
        let header: BaseHeader = serde_json::from_slice(take(usize::try_from(length).unwrap_or(usize::MAX))?).map_err(|e| bad(&e.to_string()))?;
        let (count, context) = (header.options.chunks, header.options.context);
        if context < 4 || header.records != count.saturating_mul(scored_positions(context)) {
            return Err(bad(&format!("{} records of {count} chunks of {context} tokens", header.records)));
        }
        let tokens = take(count.saturating_mul(context).saturating_mul(4))?;
        let tokens: Vec<u32> = tokens.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        let chunks: Vec<Vec<u32>> = tokens.chunks(context).map(<[u32]>::to_vec).collect();
        let mut records = Vec::new();
        for _ in 0..header.records {
            let length = u16::from_le_bytes(take(2)?.try_into().map_err(|_| bad("no length"))?);
            let record = take(usize::from(length))?;
            if Record::decode(record, header.vocab).is_none() {
                return Err(bad(&format!("record {} is none", records.len())));
            }
            records.push(record.to_vec());
        }
        if !rest.is_empty() || text_hash(&chunks) != header.text {
            return Err(bad("its tokens are not those its header names"));
        }
        Ok(Self { header, chunks, records })
    }
}

#[cfg(test)]
mod tests {
    use super::super::BaseBuilder;
    use super::*;
    use crate::eval::{CompareOptions, Runtime};

    fn sample() -> CompactBase {
        let options = CompareOptions { chunks: 2, context: 8, runtime: Runtime::Exact, noise_floor: false };
        let mut base = BaseBuilder::new("m", options, &[vec![1; 8], vec![2; 8]]).finish();
        let row: Vec<f32> = (0..600).map(|i| ((i * 7919) % 1013) as f32 / 100.0).collect();
        base.records = (0..6).map(|i| Record::of(&row, 5, i).encode()).collect();
        (base.header.vocab, base.header.records) = (600, 6);
        base
    }

    #[test]
    fn what_is_loaded_is_what_was_saved_and_every_cut_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.base");
        let saved = sample();
        saved.save(&path).unwrap();
        assert_eq!(CompactBase::load(&path).unwrap(), saved, "the same base");
        let bytes = std::fs::read(&path).unwrap();
        for length in (0..bytes.len()).step_by(7) {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(matches!(CompactBase::load(&path), Err(Error::Malformed { .. })), "cut at {length}");
        }
        let mut turned = bytes.clone();
        turned[bytes.len() / 2] ^= 1;
        std::fs::write(&path, &turned).unwrap();
        assert!(matches!(CompactBase::load(&path), Err(Error::Malformed { .. })), "one bit");
    }
}
