//! The model's identity: blake3 over headers, sizes, small files, and samples of every tensor. Reading all weights would make opening slow.

use super::mapped::MappedFile;
use super::stored::StoredTensor;

/// Bytes sampled at the start, the middle and the end of a tensor.
const SAMPLE_BYTES: usize = 4096;

/// Hex digest. `header_lengths` has an entry for each file; `small` are config.json and tokenizer.json, where there are any.
pub(super) fn fingerprint(files: &[MappedFile], header_lengths: &[usize], tensors: &[StoredTensor], small: &[Vec<u8>]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (file, length) in files.iter().zip(header_lengths) {
        hasher.update(&(file.bytes.len() as u64).to_le_bytes());
        hasher.update(&file.bytes[..*length]);
    }
    for bytes in small {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    for tensor in tensors {
        let bytes = &files[tensor.file].bytes[tensor.range.clone()];
        if bytes.len() <= 3 * SAMPLE_BYTES {
            hasher.update(bytes);
            continue;
        }
        for start in [0, bytes.len() / 2, bytes.len() - SAMPLE_BYTES] {
            let end = (start + SAMPLE_BYTES).min(bytes.len());
            hasher.update(&bytes[start..end]);
        }
    }
    hasher.finalize().to_hex().to_string()
}
