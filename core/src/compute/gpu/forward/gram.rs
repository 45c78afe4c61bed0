//! H = XᵀX, kept on the device while tokens are added.

use super::super::Gpu;
use super::super::pool::Memory;
use super::super::tiles::floats;
use super::{Cost, Rows};
use crate::error::Result;
use halftone_shaders::Kernel;
use halftone_shaders::twin::gram::Params;
use rayon::prelude::*;

/// Values that a thread of the host adds together.
const CHUNK: usize = 1 << 16;
/// Rows and columns of a workgroup.
const SIDE: usize = 128;

/// The lower triangle of a sum of XᵀX, cut by rows into pieces that can be bound.
pub struct GramSum {
    gpu: Gpu,
    columns: usize,
    /// First row, rows and values.
    pieces: Vec<(usize, usize, Memory)>,
}

impl GramSum {
    /// Nothing added yet.
    ///
    /// # Errors
    /// `Device`.
    pub fn new(gpu: &Gpu, columns: usize) -> Result<Self> {
        let most = (gpu.values_per_binding() / columns.max(1)).max(1);
        let piece = |first: usize| {
            let rows = most.min(columns - first);
            Ok((first, rows, gpu.engine.zeroed((rows * columns * 4) as u64)?))
        };
        Ok(Self { columns, pieces: (0..columns).step_by(most).map(piece).collect::<Result<_>>()?, gpu: gpu.clone() })
    }

    /// Rows and columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Adds the rows of `x`.
    ///
    /// # Errors
    /// `Device`; `Mismatch` for another number of columns.
    pub fn add(&mut self, x: &Rows) -> Result<()> {
        x.fits("Gram matrix", x.columns == self.columns, self.columns)?;
        let at_once = self.gpu.pieces(Kernel::Gram, x.rows * self.columns, SIDE);
        for (first, rows, memory) in &self.pieces {
            for row in (0..*rows).step_by(at_once) {
                let end = (row + at_once).min(*rows);
                let params = Params {
                    tokens: x.rows as u32,
                    columns: self.columns as u32,
                    first_row: *first as u32,
                    row: row as u32,
                    rows: end as u32,
                    ..Params::default()
                };
                // Entries of these rows up to the diagonal.
                let entries = (first + row..first + end).map(|row| row + 1).sum::<usize>();
                let cost = Cost::of_products(x.rows * entries, 4 * (x.rows * self.columns + 2 * entries));
                let workgroups = [(first + end).div_ceil(SIDE) as u32, (end - row).div_ceil(SIDE) as u32, 1];
                self.gpu.record(Kernel::Gram, &params, &[&x.memory, memory], workgroups, &cost)?;
            }
        }
        Ok(())
    }

    /// Adds the matrix to `gram`, `columns × columns`; nothing above the diagonal.
    ///
    /// # Errors
    /// `Device`, and then `gram` has some of it.
    pub fn add_to(&self, gram: &mut [f32]) -> Result<()> {
        for (first, rows, memory) in &self.pieces {
            let gram = &mut gram[first * self.columns..(first + rows) * self.columns];
            let bytes = self.gpu.engine.read_one(memory)?;
            let chunks = gram.par_chunks_mut(CHUNK).zip(bytes.par_chunks(4 * CHUNK));
            chunks.for_each(|(gram, bytes)| gram.iter_mut().zip(floats(bytes)).for_each(|(g, sum)| *g += sum));
        }
        Ok(())
    }
}
