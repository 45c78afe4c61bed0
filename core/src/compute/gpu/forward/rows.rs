//! Values on a device.

use super::super::Gpu;
use super::super::pool::Memory;
use super::super::tiles::floats;
use crate::error::{Error, Result};
use bytemuck::cast_slice;

/// Rows of f32 values in the memory of a device; at most as many as one binding holds.
pub struct Rows {
    pub(super) gpu: Gpu,
    pub(super) memory: Memory,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} × {} values on {}", self.rows, self.columns, self.gpu.capabilities.name)
    }
}

impl Rows {
    /// These values, in rows of `columns`.
    ///
    /// # Errors
    /// `Device`; `Mismatch` for values that are not whole rows.
    pub fn upload(gpu: &Gpu, values: &[f32], columns: usize) -> Result<Self> {
        let rows = whole_rows(values.len(), columns)?;
        Ok(Self { memory: gpu.engine.upload(cast_slice(values))?, gpu: gpu.clone(), rows, columns })
    }

    /// Room for rows, whatever is in it.
    pub(super) fn reserve(gpu: &Gpu, rows: usize, columns: usize) -> Result<Self> {
        Ok(Self { memory: gpu.engine.reserve((rows * columns * 4) as u64)?, gpu: gpu.clone(), rows, columns })
    }

    /// Zeros.
    ///
    /// # Errors
    /// `Device`.
    pub fn zeroed(gpu: &Gpu, rows: usize, columns: usize) -> Result<Self> {
        Ok(Self { memory: gpu.engine.zeroed((rows * columns * 4) as u64)?, gpu: gpu.clone(), rows, columns })
    }

    /// Whose they are.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Waits for the values.
    ///
    /// # Errors
    /// `Device`.
    pub fn read(&self) -> Result<Vec<f32>> {
        Ok(floats(&self.gpu.engine.read_one(&self.memory)?).take(self.rows * self.columns).collect())
    }

    /// Refuses operands that do not fit.
    pub(super) fn fits(&self, operation: &'static str, holds: bool, other: impl std::fmt::Display) -> Result<()> {
        if holds { Ok(()) } else { Err(Error::Mismatch { operation, expected: format!("what fits {self:?}"), got: other.to_string() }) }
    }
}

/// Rows of so many values.
pub(super) fn whole_rows(values: usize, columns: usize) -> Result<usize> {
    let rows = values.checked_div(columns).filter(|rows| rows * columns == values);
    rows.ok_or_else(|| Error::Mismatch { operation: "upload", expected: format!("rows of {columns}"), got: format!("{values} values") })
}
