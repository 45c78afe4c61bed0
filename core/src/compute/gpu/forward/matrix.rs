//! Weights on a device, as f32 or as they are stored.

use super::super::Gpu;
use super::super::pool::Memory;
use super::rows::whole_rows;
use crate::codec::{Format, GgmlType, Granularity, IntFormat};
use crate::error::{Error, Result};
use halftone_shaders::twin::matmul_quantized::Stored;

/// A weight: outputs × inputs, cut by outputs into pieces that can be bound.
pub struct Matrix {
    pub(super) pieces: Vec<Piece>,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    pub(super) stored: Option<Stored>,
}

/// Some rows of a weight.
pub(super) struct Piece {
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) memory: Memory,
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} × {} ({:?}) in {} pieces", self.outputs, self.inputs, self.stored, self.pieces.len())
    }
}

impl Matrix {
    /// A weight of rows of `inputs` values.
    ///
    /// # Errors
    /// `Device`; `Mismatch` for values that are not whole rows.
    pub fn upload(gpu: &Gpu, values: &[f32], inputs: usize) -> Result<Self> {
        Self::cut(gpu, bytemuck::cast_slice(values), whole_rows(values.len(), inputs)?, inputs, None)
    }

    /// A weight of rows of `inputs` columns in this stored form.
    ///
    /// # Errors
    /// `Device`; `Mismatch` for rows that are not whole blocks.
    pub fn upload_stored(gpu: &Gpu, stored: Stored, bytes: &[u8], inputs: usize) -> Result<Self> {
        let row_bytes = stored.row_bytes(inputs);
        if row_bytes == 0 || !inputs.is_multiple_of(stored.block().0) || !bytes.len().is_multiple_of(row_bytes) {
            return Err(Error::Mismatch { operation: "stored weight", expected: format!("rows of whole {stored:?} blocks"), got: format!("{inputs} columns") });
        }
        Self::cut(gpu, bytes, bytes.len() / row_bytes, inputs, Some(stored))
    }

    /// Whether rows of `inputs` columns in this format can be multiplied as they are stored.
    pub fn reads(format: Format, inputs: usize) -> bool {
        stored_form(format).is_some_and(|stored| inputs > 0 && inputs.is_multiple_of(stored.block().0))
    }

    /// As [`Self::upload_stored`], by the format's name.
    ///
    /// # Errors
    /// `Device`; `Mismatch` for a format that is not [read](Self::reads).
    pub fn upload_format(gpu: &Gpu, format: Format, bytes: &[u8], inputs: usize) -> Result<Self> {
        let other = || Error::Mismatch { operation: "stored weight", expected: "a format with a kernel".into(), got: format.to_string() };
        Self::upload_stored(gpu, stored_form(format).ok_or_else(other)?, bytes, inputs)
    }

    fn cut(gpu: &Gpu, bytes: &[u8], outputs: usize, inputs: usize, stored: Option<Stored>) -> Result<Self> {
        let row_bytes = stored.map_or(inputs * 4, |stored| stored.row_bytes(inputs));
        let most = gpu.engine.max_binding_bytes() as usize / row_bytes.max(1);
        if most == 0 {
            return Err(gpu.engine.error(format!("a row of {inputs} columns does not fit a binding")));
        }
        let piece = |(i, bytes): (usize, &[u8])| Ok(Piece { first: i * most, rows: bytes.len() / row_bytes, memory: gpu.engine.upload(bytes)? });
        let pieces = bytes.chunks(most * row_bytes.max(1)).enumerate().map(piece).collect::<Result<_>>()?;
        Ok(Self { pieces, outputs, inputs, stored })
    }

    /// Rows of the weight.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns of the weight.
    pub fn inputs(&self) -> usize {
        self.inputs
    }
}

/// What the kernel calls a format.
fn stored_form(format: Format) -> Option<Stored> {
    Some(match format {
        Format::F16 => Stored::F16,
        Format::Bf16 => Stored::Bf16,
        Format::Ggml(GgmlType::Q4_0) => Stored::Q4_0,
        Format::Ggml(GgmlType::Q8_0) => Stored::Q8_0,
        Format::Ggml(GgmlType::Q4_K) => Stored::Q4K,
        Format::Ggml(GgmlType::Q5_K) => Stored::Q5K,
        Format::Ggml(GgmlType::Q6_K) => Stored::Q6K,
        Format::Int(IntFormat { bits, scope: Granularity::Group(group), symmetric }) => Stored::Int { bits: bits.into(), group: group.into(), symmetric },
        _ => return None,
    })
}
