//! The GGUF v3 container: header, typed keys in order, tensor infos, aligned data. Knows nothing of models.
//!
//! Layout (little-endian): `GGUF`, u32 3, u64 tensors, u64 keys; keys; infos (dimensions innermost first, offsets from the start of the data
//! section); zeros up to the alignment; the data, each tensor followed by zeros up to the alignment. The alignment is always 32, the default,
//! so no key says it. Invariant: equal keys and infos give equal bytes, and [`Container::size_bytes`] is the size of the file that is written.
//! Absent on purpose: split files and the two older versions, which only readers need.

use crate::codec::GgmlType;
use crate::source::{MetaValue, Metadata};
use crate::tensor::DType;
use std::io::{self, Write};

/// What every tensor's offset is a multiple of.
pub const ALIGNMENT: u64 = 32;

/// One tensor of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name; llama.cpp takes at most 63 bytes.
    pub name: String,
    /// Dimensions, outermost first (written reversed); llama.cpp takes at most 4.
    pub shape: Vec<usize>,
    /// ggml's number of the element type.
    pub type_id: u32,
    /// Bytes of its data, without padding.
    pub bytes: u64,
}

impl TensorInfo {
    /// A single-precision tensor.
    pub fn f32(name: impl Into<String>, shape: Vec<usize>) -> Self {
        let bytes = 4 * shape.iter().product::<usize>() as u64;
        Self { name: name.into(), shape, type_id: 0, bytes }
    }
}

/// Everything of a GGUF file but its data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Container {
    /// Keys and values in file order.
    pub metadata: Metadata,
    /// Tensors in file order.
    pub tensors: Vec<TensorInfo>,
}

impl Container {
    /// Bytes of the whole file.
    pub fn size_bytes(&self) -> u64 {
        self.header_bytes() + self.tensors.iter().map(|t| padded(t.bytes)).sum::<u64>()
    }

    /// Bytes before the data section, padding included.
    pub fn header_bytes(&self) -> u64 {
        let mut counter = Counter(0);
        // A counter takes everything, so there is no error to see.
        let _ = self.write_header(&mut counter);
        padded(counter.0)
    }

    /// Writes the file; `data` is called once for each tensor, in order, and writes exactly its bytes.
    ///
    /// # Errors
    /// What `out` and `data` say; `InvalidData` when `data` wrote another number of bytes than the info announced.
    pub fn write<W: Write>(&self, out: &mut W, mut data: impl FnMut(usize, &mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let mut out = Counting { inner: out, count: 0 };
        self.write_header(&mut out)?;
        out.pad()?;
        for (index, tensor) in self.tensors.iter().enumerate() {
            let start = out.count;
            data(index, &mut out)?;
            if out.count - start != tensor.bytes {
                let text = format!("{} wrote {} of {} bytes", tensor.name, out.count - start, tensor.bytes);
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            out.pad()?;
        }
        Ok(())
    }

    fn write_header(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(b"GGUF")?;
        out.write_all(&3u32.to_le_bytes())?;
        out.write_all(&(self.tensors.len() as u64).to_le_bytes())?;
        out.write_all(&(self.metadata.len() as u64).to_le_bytes())?;
        for (key, value) in &self.metadata {
            write_string(out, key)?;
            out.write_all(&value.type_id().to_le_bytes())?;
            write_value(out, value)?;
        }
        let mut offset = 0u64;
        for tensor in &self.tensors {
            write_string(out, &tensor.name)?;
            out.write_all(&(tensor.shape.len() as u32).to_le_bytes())?;
            for dimension in tensor.shape.iter().rev() {
                out.write_all(&(*dimension as u64).to_le_bytes())?;
            }
            out.write_all(&tensor.type_id.to_le_bytes())?;
            out.write_all(&offset.to_le_bytes())?;
            offset += padded(tensor.bytes);
        }
        Ok(())
    }
}

/// Bytes a tensor takes in the data section: rounded up to [`ALIGNMENT`].
pub fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT)
}

/// ggml's number of an element type; `None` when GGUF has none.
pub fn dtype_id(dtype: DType) -> Option<u32> {
    match dtype {
        DType::F32 => Some(0),
        DType::F16 => Some(1),
        DType::Bf16 => Some(30),
        DType::I8 => Some(24),
        DType::I16 => Some(25),
        DType::I32 => Some(26),
        DType::I64 => Some(27),
        DType::F64 => Some(28),
        DType::Ggml(t) => Some(t.id()),
        DType::Bool | DType::U8 | DType::U16 | DType::U32 | DType::U64 | DType::F8E4M3 | DType::F8E5M2 => None,
    }
}

/// llama.cpp's `general.file_type` for a model whose weights are mostly this (llama.h, `llama_ftype`); where a type has several mixes,
/// the one llama.cpp itself guesses from the type.
pub fn file_type(type_id: u32) -> u32 {
    // llama.cpp's word for "the file does not say".
    const GUESSED: u32 = 1024;
    use GgmlType as T;
    match type_id {
        0 => 0,
        1 => 1,
        30 => 32,
        other => match T::from_id(other) {
            Some(T::Q4_0) => 2,
            Some(T::Q4_1) => 3,
            Some(T::Q8_0) => 7,
            Some(T::Q5_0) => 8,
            Some(T::Q5_1) => 9,
            Some(T::Q2_K) => 10,
            Some(T::Q3_K) => 12,
            Some(T::Q4_K) => 15,
            Some(T::Q5_K) => 17,
            Some(T::Q6_K) => 18,
            Some(T::IQ2_XXS) => 19,
            Some(T::IQ2_XS) => 20,
            Some(T::IQ3_XXS) => 23,
            Some(T::IQ1_S) => 24,
            Some(T::IQ4_NL) => 25,
            Some(T::IQ3_S) => 26,
            Some(T::IQ2_S) => 28,
            Some(T::IQ4_XS) => 30,
            Some(T::IQ1_M) => 31,
            Some(T::TQ1_0) => 36,
            Some(T::TQ2_0) => 37,
            Some(T::MXFP4) => 38,
            Some(T::NVFP4) => 39,
            Some(T::Q1_0) => 40,
            Some(T::Q2_0) => 41,
            Some(T::Q8_1 | T::Q8_K) | None => GUESSED,
        },
    }
}

fn write_string(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(&(text.len() as u64).to_le_bytes())?;
    out.write_all(text.as_bytes())
}

fn write_value(out: &mut impl Write, value: &MetaValue) -> io::Result<()> {
    match value {
        MetaValue::U8(v) => out.write_all(&v.to_le_bytes()),
        MetaValue::I8(v) => out.write_all(&v.to_le_bytes()),
        MetaValue::U16(v) => out.write_all(&v.to_le_bytes()),
        MetaValue::I16(v) => out.write_all(&v.to_le_bytes()),
        MetaValue::U32(v) => out.write_all(&v.to_le_bytes()),
        MetaValue::I32(v) => out.write_all(&v.to_le_bytes()),
        MetaValue::F32(v) => out.write_all(&v.to_le_bytes()),
        MetaValue::Bool(v) => out.write_all(&[u8::from(*v)]),
        MetaValue::String(v) => write_string(out, v),
        MetaValue::U64(v) => out.write_all(&v.to_le_bytes()),
        MetaValue::I64(v) => out.write_all(&v.to_le_bytes()),
        MetaValue::F64(v) => out.write_all(&v.to_le_bytes()),
        MetaValue::Array(element, items) => {
            out.write_all(&element.to_le_bytes())?;
            out.write_all(&(items.len() as u64).to_le_bytes())?;
            items.iter().try_for_each(|item| write_value(out, item))
        }
    }
}

/// Takes bytes and keeps only their number.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes bytes on and knows where it is.
struct Counting<'a, W> {
    inner: &'a mut W,
    count: u64,
}

impl<W: Write> Counting<'_, W> {
    fn pad(&mut self) -> io::Result<()> {
        let missing = (padded(self.count) - self.count) as usize;
        self.write_all(&[0; ALIGNMENT as usize][..missing])
    }
}

impl<W: Write> Write for Counting<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Container {
        let mut metadata = Metadata::new();
        metadata.insert("general.architecture".into(), MetaValue::String("x".into()));
        metadata.insert("a".into(), MetaValue::Array(5, vec![MetaValue::I32(-1), MetaValue::I32(2)]));
        Container { metadata, tensors: vec![TensorInfo::f32("t", vec![3, 2]), TensorInfo::f32("u", vec![1])] }
    }

    fn bytes_of(container: &Container) -> Vec<u8> {
        let mut out = Vec::new();
        container.write(&mut out, |i, out| out.write_all(&vec![i as u8 + 1; container.tensors[i].bytes as usize])).unwrap();
        out
    }

    #[test]
    fn a_container_is_laid_out_as_the_format_says() {
        let out = bytes_of(&sample());
        let mut expected = b"GGUF\x03\0\0\0\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
        expected.extend(b"\x14\0\0\0\0\0\0\0general.architecture\x08\0\0\0\x01\0\0\0\0\0\0\0x");
        expected.extend(b"\x01\0\0\0\0\0\0\0a\x09\0\0\0\x05\0\0\0\x02\0\0\0\0\0\0\0\xff\xff\xff\xff\x02\0\0\0");
        // Dimensions innermost first: 2 columns, then 3 rows.
        expected.extend(b"\x01\0\0\0\0\0\0\0t\x02\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        expected.extend(b"\x01\0\0\0\0\0\0\0u\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x20\0\0\0\0\0\0\0");
        expected.resize(expected.len().next_multiple_of(32), 0);
        expected.extend([1; 24]);
        expected.extend([0; 8]);
        expected.extend([2; 4]);
        expected.extend([0; 28]);
        assert_eq!(out, expected);
    }

    #[test]
    fn the_announced_size_is_the_written_size() {
        let container = sample();
        assert_eq!(container.size_bytes(), bytes_of(&container).len() as u64);
    }

    #[test]
    fn a_tensor_of_another_length_than_announced_is_refused() {
        let error = sample().write(&mut Vec::new(), |_, out| out.write_all(&[0; 3])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
