//! One name for everything a tensor can be stored as.

use super::lanes::finite;
use super::{GgmlType, IntFormat};
use crate::error::{Error, Result};
use half::{bf16, f16};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A candidate: what a weight tensor is stored as. Written and parsed as `F16`, `Q4_K`, `INT4-g128`, `INT4-g128-asym`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Format {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// A ggml block type.
    Ggml(GgmlType),
    /// Group-wise integers.
    Int(IntFormat),
}

impl Format {
    /// Values of a row that are stored together.
    pub fn block_columns(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Ggml(t) => t.block_columns(),
            Self::Int(i) => usize::from(i.group),
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Ggml(t) => t.block_bytes(),
            Self::Int(i) => i.block_bytes(),
        }
    }

    /// Average bits a weight, scales included.
    pub fn bits(self) -> f64 {
        self.block_bytes() as f64 * 8.0 / self.block_columns() as f64
    }

    /// Whether rows of `columns` values are whole blocks.
    pub fn fits(self, columns: usize) -> bool {
        columns > 0 && columns.is_multiple_of(self.block_columns())
    }

    /// Exact bytes of a `rows × columns` tensor; the caller has checked [`Self::fits`].
    pub fn tensor_bytes(self, rows: usize, columns: usize) -> u64 {
        (rows * (columns / self.block_columns()) * self.block_bytes()) as u64
    }

    /// The format really used for rows of `columns` values: itself where the blocks fit, else what llama.cpp falls back to.
    pub fn for_columns(self, columns: usize) -> Self {
        use GgmlType as T;
        if self.fits(columns) {
            return self;
        }
        let fallback = match self {
            Self::Ggml(T::IQ2_XXS | T::IQ2_XS | T::IQ2_S | T::IQ3_XXS | T::IQ3_S | T::IQ1_S | T::IQ1_M | T::IQ4_XS) => Self::Ggml(T::IQ4_NL),
            Self::Ggml(T::Q2_K | T::Q3_K | T::TQ1_0 | T::TQ2_0 | T::Q2_0) => Self::Ggml(T::Q4_0),
            Self::Ggml(T::Q4_K) => Self::Ggml(T::Q5_0),
            Self::Ggml(T::Q5_K) => Self::Ggml(T::Q5_1),
            Self::Ggml(T::Q6_K) => Self::Ggml(T::Q8_0),
            _ => Self::F16,
        };
        if fallback.fits(columns) { fallback } else { Self::F16 }
    }

    /// Whether GGUF (and so llama.cpp) can hold it.
    pub fn is_gguf(self) -> bool {
        !matches!(self, Self::Int(_))
    }

    /// Encodes `rows × columns` values, rows in parallel; the bytes do not depend on the number of threads.
    ///
    /// Values that are not finite count as 0 (but F32 copies all bits); what a format cannot reach saturates.
    ///
    /// # Errors
    /// `Mismatch` when the rows are not whole blocks or `importance` has not `columns` values; `Unsupported` when there is no encoder.
    pub fn encode(self, weights: &[f32], columns: usize, importance: Option<&[f32]>) -> Result<Vec<u8>> {
        self.check_shape(weights.len(), columns, importance)?;
        if !self.can_encode() {
            return Err(Error::unsupported(format!("encoding {self}"), "there is only a decoder for this type"));
        }
        let row_bytes = self.row_bytes(columns);
        let mut out = vec![0u8; weights.len() / columns * row_bytes];
        let rows = rows_at_once(columns);
        weights.par_chunks(rows * columns).zip(out.par_chunks_mut(rows * row_bytes)).for_each(|(weights, out)| {
            for (row, out) in weights.chunks_exact(columns).zip(out.chunks_exact_mut(row_bytes)) {
                self.encode_row(row, importance, out);
            }
        });
        Ok(out)
    }

    /// Whether rows of `columns` values are whole blocks, and the importances as many.
    ///
    /// # Errors
    /// `Mismatch`.
    pub fn check_shape(self, values: usize, columns: usize, importance: Option<&[f32]>) -> Result<()> {
        if !self.fits(columns) || !values.is_multiple_of(columns) {
            return Err(Error::Mismatch {
                operation: "encode tensor",
                expected: format!("rows of whole {self} blocks of {}", self.block_columns()),
                got: format!("{} values in rows of {columns}", values),
            });
        }
        if let Some(importance) = importance.filter(|i| i.len() != columns) {
            return Err(Error::Mismatch { operation: "encode tensor", expected: format!("{columns} importances"), got: importance.len().to_string() });
        }
        Ok(())
    }

    /// Encodes one row; lengths fit.
    pub(crate) fn encode_row(self, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        match self {
            Self::F32 => put(row, out, f32::to_le_bytes),
            // Saturating: a weight that is finite stays finite.
            Self::F16 => put(row, out, |v| f16::from_f32(finite(v).clamp(-65504.0, 65504.0)).to_le_bytes()),
            Self::Bf16 => put(row, out, |v| bf16::from_f32(finite(v)).to_le_bytes()),
            Self::Ggml(t) => t.encode_row(row, importance, out),
            Self::Int(i) => i.encode_row(row, importance, out),
        }
    }

    /// Decodes whole blocks, large tensors in parallel. Bytes or values left over stay untouched.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        let blocks = rows_at_once(self.block_columns());
        out.par_chunks_mut(blocks * self.block_columns()).zip(bytes.par_chunks(blocks * self.block_bytes())).for_each(|(out, bytes)| match self {
            Self::F32 => take(bytes, out, f32::from_le_bytes),
            Self::F16 => take(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
            Self::Bf16 => take(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
            Self::Ggml(t) => t.decode(bytes, out),
            Self::Int(i) => i.decode(bytes, out),
        });
    }

    /// Bytes of one row.
    fn row_bytes(self, columns: usize) -> usize {
        columns / self.block_columns() * self.block_bytes()
    }

    /// Whether there is an encoder.
    pub fn can_encode(self) -> bool {
        match self {
            Self::Ggml(t) => t.can_encode(),
            Self::F32 | Self::F16 | Self::Bf16 | Self::Int(_) => true,
        }
    }
}

/// Rows of `columns` values that make a piece of work worth handing to a thread.
fn rows_at_once(columns: usize) -> usize {
    (65_536 / columns).max(1)
}

fn put<const B: usize>(row: &[f32], out: &mut [u8], bytes: impl Fn(f32) -> [u8; B]) {
    for (&v, out) in row.iter().zip(out.as_chunks_mut::<B>().0) {
        *out = bytes(v);
    }
}

fn take<const B: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; B]) -> f32) {
    for (&b, out) in bytes.as_chunks::<B>().0.iter().zip(out) {
        *out = value(b);
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32 => f.pad("F32"),
            Self::F16 => f.pad("F16"),
            Self::Bf16 => f.pad("BF16"),
            Self::Ggml(t) => f.pad(t.name()),
            Self::Int(i) => f.pad(&format!("INT{}-g{}{}", i.bits, i.group, if i.symmetric { "" } else { "-asym" })),
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let upper = text.to_ascii_uppercase();
        if let Some(plain) = match upper.as_str() {
            "F32" => Some(Self::F32),
            "F16" => Some(Self::F16),
            "BF16" => Some(Self::Bf16),
            _ => None,
        } {
            return Ok(plain);
        }
        if let Some(t) = GgmlType::ALL.iter().find(|t| t.name() == upper) {
            return Ok(Self::Ggml(*t));
        }
        parse_int(&upper)
            .map(Self::Int)
            .ok_or_else(|| Error::Input(format!("unknown format {text}; known are F32, F16, BF16, Q4_0 … Q8_0, Q2_K … Q6_K, IQ1_S … IQ4_XS, TQ1_0, TQ2_0, Q1_0, Q2_0, MXFP4, NVFP4, INT2-g32 … INT8-g128[-asym]")))
    }
}

fn parse_int(upper: &str) -> Option<IntFormat> {
    let mut parts = upper.strip_prefix("INT")?.split('-');
    let bits: u8 = parts.next()?.parse().ok().filter(|b| (2..=8).contains(b))?;
    let group: u16 = parts.next()?.strip_prefix('G')?.parse().ok().filter(|g| *g > 0 && g % 8 == 0)?;
    match (parts.next(), parts.next()) {
        (None, _) => Some(IntFormat { bits, group, symmetric: true }),
        (Some("ASYM"), None) => Some(IntFormat { bits, group, symmetric: false }),
        _ => None,
    }
}

impl From<Format> for String {
    fn from(format: Format) -> Self {
        format.to_string()
    }
}

impl TryFrom<String> for Format {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_to_even_saturate_and_drop_what_is_not_finite() {
        let row = [1.000_488_3, 1.001_464_8, 1e9, -1e9, f32::NAN, f32::INFINITY];
        let mut values = [0.0f32; 6];
        Format::F16.decode(&Format::F16.encode(&row, 6, None).expect("encode"), &mut values);
        assert_eq!(values, [1.0, 1.001_953_1, 65504.0, -65504.0, 0.0, 0.0], "F16");
        let row = [1.003_906_3, 1.011_718_8, f32::NAN];
        Format::Bf16.decode(&Format::Bf16.encode(&row, 3, None).expect("encode"), &mut values[..3]);
        assert_eq!(values[..3], [1.0, 1.015_625, 0.0], "BF16");
    }

    #[test]
    fn f32_copies_every_bit() {
        let row = [f32::NAN, -0.0, f32::NEG_INFINITY, 1e-40];
        let mut values = [0.0f32; 4];
        Format::F32.decode(&Format::F32.encode(&row, 4, None).expect("encode"), &mut values);
        assert_eq!(values.map(f32::to_bits), row.map(f32::to_bits), "bits");
    }

    #[test]
    fn bytes_do_not_depend_on_the_number_of_threads() {
        let weights: Vec<f32> = (0..512 * 512).map(|i| ((i * 7919) % 1013) as f32 / 1013.0 - 0.5).collect();
        for format in ["Q4_0", "Q4_K", "IQ2_S", "IQ3_XXS", "NVFP4", "INT4-g64", "INT3-g128-asym"] {
            let format: Format = format.parse().expect("a known format");
            let encode = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                pool.install(|| format.encode(&weights, 512, None)).expect("encode")
            };
            assert_eq!(encode(1), encode(3), "{format}");
        }
    }

    #[test]
    fn encode_refuses_what_does_not_fit() {
        let format = Format::Ggml(GgmlType::Q4_K);
        assert!(matches!(format.encode(&[0.0; 576], 576, None), Err(Error::Mismatch { .. })), "rows of 576 in blocks of 256");
        assert!(matches!(format.encode(&[0.0; 300], 256, None), Err(Error::Mismatch { .. })), "half a row");
        assert!(matches!(format.encode(&[0.0; 256], 256, Some(&[1.0; 255])), Err(Error::Mismatch { .. })), "too few importances");
        assert!(matches!(Format::Ggml(GgmlType::Q8_K).encode(&[0.0; 256], 256, None), Err(Error::Unsupported { .. })), "no encoder");
        assert!(matches!(Format::F16.encode(&[], 0, None), Err(Error::Mismatch { .. })), "rows of nothing");
    }

    #[test]
    fn rows_of_576_fall_back_as_llama_cpp_does() {
        let pairs = [
            ("Q2_K", "Q4_0"),
            ("Q3_K", "Q4_0"),
            ("Q4_K", "Q5_0"),
            ("Q5_K", "Q5_1"),
            ("Q6_K", "Q8_0"),
            ("IQ4_XS", "IQ4_NL"),
            ("IQ3_S", "IQ4_NL"),
            ("Q4_0", "Q4_0"),
        ];
        for (wanted, used) in pairs {
            let wanted: Format = wanted.parse().unwrap();
            assert_eq!(wanted.for_columns(576).to_string(), used, "{wanted} in rows of 576");
            assert_eq!(wanted.for_columns(512), wanted, "{wanted} in rows of 512");
        }
    }
}
