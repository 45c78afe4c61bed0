//! The safetensors header, checked by the format's own crate: length against the file, offsets without holes or overlaps, shape × type = bytes.

use super::stored::StoredTensor;
use crate::error::{Error, Result};
use crate::report::{NoticeKind, Reporter};
use crate::tensor::DType;
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// Bytes of the length that stands before the header.
const LENGTH_BYTES: usize = 8;

/// A checked header.
#[derive(Debug)]
pub(super) struct Header {
    /// In the order of their bytes; `file` is 0.
    pub tensors: Vec<StoredTensor>,
    /// Bytes before the data.
    pub length: usize,
}

/// Reads and checks the header of a whole file.
pub(super) fn parse(path: &Path, bytes: &[u8], reporter: &Reporter) -> Result<Header> {
    let (header_bytes, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| Error::malformed("safetensors", path, describe(&e, bytes)))?;
    let length = LENGTH_BYTES + header_bytes;
    let mut tensors = Vec::with_capacity(metadata.tensors().len());
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else { continue };
        let range = length + info.data_offsets.0..length + info.data_offsets.1;
        let (dtype, shape) = match element_type(info.dtype) {
            Some(dtype) => (dtype, info.shape.clone()),
            None => {
                let text = format!("elements of type {:?} are shown as raw bytes", info.dtype);
                reporter.notice(Some(&name), NoticeKind::Other { text });
                (DType::U8, vec![range.len()])
            }
        };
        tensors.push(StoredTensor { name, dtype, shape, transposed: false, file: 0, range });
    }
    Ok(Header { tensors, length })
}

/// The crate's words, with the numbers that matter where it gives none.
fn describe(error: &safetensors::SafeTensorError, bytes: &[u8]) -> String {
    match bytes.first_chunk::<LENGTH_BYTES>() {
        Some(length) => format!("{error} (the header is declared as {} bytes, the file has {})", u64::from_le_bytes(*length), bytes.len()),
        None => format!("{error} (the file has {} bytes)", bytes.len()),
    }
}

fn element_type(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::BOOL => DType::Bool,
        Dtype::U8 => DType::U8,
        Dtype::I8 => DType::I8,
        Dtype::I16 => DType::I16,
        Dtype::U16 => DType::U16,
        Dtype::I32 => DType::I32,
        Dtype::U32 => DType::U32,
        Dtype::I64 => DType::I64,
        Dtype::U64 => DType::U64,
        Dtype::F8_E4M3 => DType::F8E4M3,
        Dtype::F8_E5M2 => DType::F8E5M2,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::Bf16,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        _ => return None,
    })
}
