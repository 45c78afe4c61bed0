//! Element types of the files we read: the plain ones of safetensors, and every ggml type.

use crate::codec::GgmlType;
use serde::{Deserialize, Serialize};

/// How the elements of a stored tensor are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DType {
    /// Boolean, one byte.
    Bool,
    /// Unsigned byte.
    U8,
    /// Signed byte.
    I8,
    /// 16-bit integers.
    I16,
    /// 16-bit unsigned integers.
    U16,
    /// 32-bit integers.
    I32,
    /// 32-bit unsigned integers.
    U32,
    /// 64-bit integers.
    I64,
    /// 64-bit unsigned integers.
    U64,
    /// 8-bit float, 4 exponent and 3 mantissa bits, no infinities.
    F8E4M3,
    /// 8-bit float, 5 exponent and 2 mantissa bits.
    F8E5M2,
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
    /// A ggml block type (the plain ones among them are mapped to the variants above).
    Ggml(GgmlType),
}

impl DType {
    /// Elements that are stored together.
    pub fn block_columns(self) -> usize {
        match self {
            Self::Ggml(t) => t.block_columns(),
            _ => 1,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 | Self::F8E4M3 | Self::F8E5M2 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
            Self::Ggml(t) => t.block_bytes(),
        }
    }

    /// Bytes of a tensor of `elements` values in rows of `columns`; `None` when a row is not a whole number of blocks or the size overflows.
    pub fn size_bytes(self, elements: usize, columns: usize) -> Option<usize> {
        let block = self.block_columns();
        (columns.is_multiple_of(block) && elements.is_multiple_of(block)).then_some(())?;
        (elements / block).checked_mul(self.block_bytes())
    }

    /// The type that a GGUF file means by this number.
    pub fn from_ggml_id(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::F32,
            1 => Self::F16,
            24 => Self::I8,
            25 => Self::I16,
            26 => Self::I32,
            27 => Self::I64,
            28 => Self::F64,
            30 => Self::Bf16,
            _ => Self::Ggml(GgmlType::from_id(id)?),
        })
    }

    /// The number of this type in a GGUF file; `None` for the types of safetensors that ggml lacks.
    pub fn ggml_id(self) -> Option<u32> {
        Some(match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::I8 => 24,
            Self::I16 => 25,
            Self::I32 => 26,
            Self::I64 => 27,
            Self::F64 => 28,
            Self::Bf16 => 30,
            Self::Ggml(t) => t.id(),
            _ => return None,
        })
    }

    /// Average bits per element.
    pub fn bits(self) -> f64 {
        self.block_bytes() as f64 * 8.0 / self.block_columns() as f64
    }

    /// Whether the values can be read as floating-point weights.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F8E4M3 | Self::F8E5M2 | Self::F16 | Self::Bf16 | Self::F32 | Self::F64 | Self::Ggml(_))
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ggml(t) => t.fmt(f),
            Self::Bf16 => f.write_str("BF16"),
            Self::F8E4M3 => f.write_str("F8_E4M3"),
            Self::F8E5M2 => f.write_str("F8_E5M2"),
            other => f.write_str(&format!("{other:?}").to_uppercase()),
        }
    }
}
