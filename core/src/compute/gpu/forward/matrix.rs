//! Weights on a device, as f32 or as they are stored.

use super::super::Gpu;
use super::super::pool::Memory;
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
    /// `Device`.
    pub fn upload(gpu: &Gpu, values: &[f32], inputs: usize) -> Result<Self> {
        Self::cut(gpu, bytemuck::cast_slice(values), values.len() / inputs.max(1), inputs, None)
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
