//! The GGUF header, versions 2 and 3, little-endian: typed keys and values, then tensor names, dimensions, types and offsets.
//!
//! Invariant: no count or length of the file is believed before it is compared with the bytes that are left. Absent on purpose:
//! version 1 and big-endian files, which nothing writes any more.

use super::stored::StoredTensor;
use super::{MetaValue, Metadata};
use crate::error::{Error, Result};
use crate::tensor::DType;
use std::collections::HashSet;
use std::path::Path;

/// Elements of all metadata arrays together. Real headers hold about a million (tokens, scores, types, merges).
const MAX_ARRAY_ELEMENTS: usize = 1 << 24;
/// As many dimensions as ggml has.
const MAX_DIMENSIONS: usize = 4;
/// Arrays of arrays of … : deeper than anything that is written.
const MAX_DEPTH: usize = 3;
const DEFAULT_ALIGNMENT: u64 = 32;

/// A checked header.
#[derive(Debug)]
pub(super) struct Header {
    pub version: u32,
    pub metadata: Metadata,
    /// In file order; `file` is 0.
    pub tensors: Vec<StoredTensor>,
    /// Bytes before the data section.
    pub length: usize,
    /// Strings among the values that were not UTF-8; their bad bytes were replaced.
    pub repaired_strings: usize,
}

/// Reads and checks the header of a whole file.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Header> {
    let mut reader = Reader { path, bytes, at: 0, array_elements: 0, repaired_strings: 0 };
    if reader.array::<4>()? != *b"GGUF" {
        return Err(reader.malformed("the file does not begin with GGUF"));
    }
    let version = reader.u32()?;
    if !(2..=3).contains(&version) {
        let what = if version.swap_bytes() <= 3 { "a big-endian GGUF file".to_owned() } else { format!("GGUF version {version}") };
        return Err(Error::unsupported(what, "versions 2 and 3, little-endian, are read"));
    }
    let tensor_count = reader.u64()?;
    let pair_count = reader.u64()?;
    // The shortest pair is an empty key and one byte, the shortest tensor an empty name and no dimensions.
    let pair_count = reader.count("metadata pairs", pair_count, 13)?;
    let mut metadata = Metadata::new();
    for _ in 0..pair_count {
        let key = reader.name("metadata key")?;
        let type_id = reader.u32()?;
        let value = reader.value(type_id, 0).map_err(|e| reader.within(&key, e))?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(reader.malformed(format!("the key {key} occurs twice")));
        }
    }
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(value) => {
            value.as_u64().filter(|a| a.is_power_of_two() && *a <= 1 << 30).ok_or_else(|| reader.malformed("general.alignment is not a power of two"))?
        }
    };
    let tensor_count = reader.count("tensors", tensor_count, 24)?;
    let mut tensors = Vec::with_capacity(tensor_count);
    let mut names = HashSet::with_capacity(tensor_count);
    for _ in 0..tensor_count {
        let tensor = reader.tensor(alignment)?;
        if !names.insert(tensor.name.clone()) {
            return Err(reader.malformed(format!("two tensors are called {}", tensor.name)));
        }
        tensors.push(tensor);
    }
    let data_start = reader.at.next_multiple_of(alignment as usize);
    place(path, &mut tensors, data_start, bytes.len())?;
    Ok(Header { version, metadata, tensors, length: data_start.min(bytes.len()), repaired_strings: reader.repaired_strings })
}

/// Moves ranges from the data section to the file, and checks that they lie inside it and apart from each other.
fn place(path: &Path, tensors: &mut [StoredTensor], data_start: usize, file_length: usize) -> Result<()> {
    for tensor in tensors.iter_mut() {
        let (start, end) = (tensor.range.start.checked_add(data_start), tensor.range.end.checked_add(data_start));
        tensor.range = match (start, end) {
            (Some(start), Some(end)) if end <= file_length => start..end,
            _ => {
                let (name, range) = (&tensor.name, &tensor.range);
                let detail = format!("{name} lies at bytes {range:?} of the data section, which has {}", file_length.saturating_sub(data_start));
                return Err(Error::malformed("GGUF", path, detail));
            }
        };
    }
    let mut by_offset: Vec<&StoredTensor> = tensors.iter().filter(|t| !t.range.is_empty()).collect();
    by_offset.sort_by_key(|t| t.range.start);
    match by_offset.windows(2).find(|pair| pair[0].range.end > pair[1].range.start) {
        Some(pair) => Err(Error::malformed("GGUF", path, format!("{} and {} overlap", pair[0].name, pair[1].name))),
        None => Ok(()),
    }
}

struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
    array_elements: usize,
    repaired_strings: usize,
}

impl<'a> Reader<'a> {
    fn malformed(&self, detail: impl Into<String>) -> Error {
        Error::malformed("GGUF", self.path, detail)
    }

    /// Says in which key an error happened.
    fn within(&self, key: &str, error: Error) -> Error {
        match error {
            Error::Malformed { detail, .. } => self.malformed(format!("{key}: {detail}")),
            other => other,
        }
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let slice = self.bytes.get(self.at..).and_then(|rest| rest.get(..length));
        let slice = slice.ok_or_else(|| self.malformed(format!("{length} bytes are needed at offset {}, but the file has {}", self.at, self.bytes.len())))?;
        self.at += length;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A count of things that take at least `least` bytes each, if that many can still follow.
    fn count(&self, what: &str, count: u64, least: usize) -> Result<usize> {
        let most = self.remaining() / least;
        usize::try_from(count).ok().filter(|c| *c <= most).ok_or_else(|| {
            let left = self.remaining();
            self.malformed(format!("{count} {what} are declared, but the {left} bytes left hold {most} at most"))
        })
    }

    fn string_bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.u64()?;
        let length = self.count("bytes of a string", length, 1)?;
        self.take(length)
    }

    fn name(&mut self, what: &str) -> Result<String> {
        let bytes = self.string_bytes()?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.malformed(format!("a {what} is not UTF-8")))
    }

    fn value(&mut self, type_id: u32, depth: usize) -> Result<MetaValue> {
        Ok(match type_id {
            0 => MetaValue::U8(self.array::<1>()?[0]),
            1 => MetaValue::I8(i8::from_le_bytes(self.array()?)),
            2 => MetaValue::U16(u16::from_le_bytes(self.array()?)),
            3 => MetaValue::I16(i16::from_le_bytes(self.array()?)),
            4 => MetaValue::U32(self.u32()?),
            5 => MetaValue::I32(i32::from_le_bytes(self.array()?)),
            6 => MetaValue::F32(f32::from_le_bytes(self.array()?)),
            7 => MetaValue::Bool(self.array::<1>()?[0] != 0),
            8 => {
                let bytes = self.string_bytes()?;
                let text = String::from_utf8_lossy(bytes);
                self.repaired_strings += usize::from(matches!(text, std::borrow::Cow::Owned(_)));
                MetaValue::String(text.into_owned())
            }
            9 if depth < MAX_DEPTH => {
                let element = self.u32()?;
                let least = match element {
                    0 | 1 | 7 => 1,
                    2 | 3 => 2,
                    4..=6 => 4,
                    8 | 10..=12 => 8,
                    9 => 12,
                    _ => return Err(self.malformed(format!("value type {element} is not known"))),
                };
                let count = self.u64()?;
                let count = self.count("array elements", count, least)?;
                self.array_elements = self.array_elements.saturating_add(count);
                if self.array_elements > MAX_ARRAY_ELEMENTS {
                    return Err(self.malformed(format!("the arrays of the header have more than {MAX_ARRAY_ELEMENTS} elements")));
                }
                MetaValue::Array(element, (0..count).map(|_| self.value(element, depth + 1)).collect::<Result<_>>()?)
            }
            9 => return Err(self.malformed(format!("arrays are nested more than {MAX_DEPTH} deep"))),
            10 => MetaValue::U64(self.u64()?),
            11 => MetaValue::I64(i64::from_le_bytes(self.array()?)),
            12 => MetaValue::F64(f64::from_le_bytes(self.array()?)),
            _ => return Err(self.malformed(format!("value type {type_id} is not known"))),
        })
    }

    /// One tensor, its range still relative to the data section.
    fn tensor(&mut self, alignment: u64) -> Result<StoredTensor> {
        let name = self.name("tensor name")?;
        let dimensions = self.u32()? as usize;
        if dimensions > MAX_DIMENSIONS {
            return Err(self.malformed(format!("{name} has {dimensions} dimensions; {MAX_DIMENSIONS} is the most")));
        }
        let mut shape = Vec::with_capacity(dimensions);
        for _ in 0..dimensions {
            let dimension = self.u64()?;
            shape.push(usize::try_from(dimension).map_err(|_| self.malformed(format!("{name} has a dimension of {dimension}")))?);
        }
        shape.reverse(); // ggml writes the contiguous dimension first
        let type_id = self.u32()?;
        let dtype = DType::from_ggml_id(type_id).ok_or_else(|| self.malformed(format!("{name} has type {type_id}, which is not known")))?;
        let offset = self.u64()?;
        if !offset.is_multiple_of(alignment) {
            return Err(self.malformed(format!("{name} begins at {offset}, which is not a multiple of {alignment}")));
        }
        let columns = shape.last().copied().unwrap_or(1);
        let range = shape
            .iter()
            .try_fold(1usize, |product, dimension| product.checked_mul(*dimension))
            .and_then(|elements| dtype.size_bytes(elements, columns))
            .and_then(|size| usize::try_from(offset).ok().and_then(|start| Some(start..start.checked_add(size)?)));
        match range {
            Some(range) => Ok(StoredTensor { name, dtype, shape, transposed: false, file: 0, range }),
            None => Err(self.malformed(format!("{name} of shape {shape:?} is not a whole number of {dtype} blocks, or too large"))),
        }
    }
}
