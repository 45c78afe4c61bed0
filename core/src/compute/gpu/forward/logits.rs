//! Logits that stay on the device, and how far two of them are apart.

use super::{Cost, Matrix, Product, Rows};
use crate::error::{Error, Result};
use bytemuck::cast_slice;
use halftone_shaders::Kernel;
use halftone_shaders::twin::gate::Curve;
use halftone_shaders::twin::logits_compare::{Params, Row};

pub use halftone_shaders::twin::logits_compare::Row as RowComparison;

/// Rows of logits, cut into pieces that can be bound.
#[derive(Debug)]
pub struct LogitRows {
    pieces: Vec<Rows>,
}

impl LogitRows {
    /// Of hidden states, by a head.
    ///
    /// # Errors
    /// `Device`; `Mismatch` for another width.
    pub fn of(hidden: &Rows, head: &Matrix, cap: Option<f32>, halved: bool) -> Result<Self> {
        let most = (hidden.gpu.values_per_binding() / head.outputs().max(1)).max(1);
        let piece = |first: usize| {
            let rows = first..(first + most).min(hidden.rows());
            let mut logits = hidden.times(head, None, &Product { rows, outputs: 0..head.outputs(), halved })?;
            if let Some(cap) = cap {
                logits.bend(Curve::SoftCap(cap), None)?;
            }
            Ok(logits)
        };
        Ok(Self { pieces: (0..hidden.rows()).step_by(most).map(piece).collect::<Result<_>>()? })
    }

    /// The values.
    ///
    /// # Errors
    /// `Device`.
    pub fn read(&self) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        for piece in &self.pieces {
            values.append(&mut piece.read()?);
        }
        Ok(values)
    }

    /// What `after` says otherwise, row by row. With the token that followed each row, also how likely it was, and the `top` most likely
    /// tokens of each.
    ///
    /// # Errors
    /// `Device`; `Mismatch` for logits of another shape.
    pub fn compare(&self, after: &Self, targets: &[u32], top: usize) -> Result<Vec<RowComparison>> {
        let rows = |logits: &Self| logits.pieces.iter().map(|piece| piece.rows).sum::<usize>();
        if rows(self) != rows(after) {
            return Err(Error::Mismatch { operation: "compare logits", expected: format!("{} rows", rows(self)), got: rows(after).to_string() });
        }
        let mut compared = Vec::new();
        for (before, after) in self.pieces.iter().zip(&after.pieces) {
            let first = compared.len();
            let fits = (before.rows, before.columns) == (after.rows, after.columns);
            let known = targets.iter().all(|target| (*target as usize) < before.columns) && (top == 0 || first + before.rows <= targets.len());
            before.fits("compare logits", fits && known, format!("{after:?}"))?;
            let gpu = &before.gpu;
            let params = Params { rows: before.rows as u32, columns: before.columns as u32, first_target: first as u32, top: top as u32 };
            let (targets, results) = (gpu.engine.upload(cast_slice(targets))?, gpu.engine.reserve((before.rows * size_of::<Row>()) as u64)?);
            let values = before.rows * before.columns;
            let cost = Cost { work: values * (3 + top), bytes: 8 * values, operations: 20 * values };
            gpu.record(Kernel::LogitsCompare, &params, &[&before.memory, &after.memory, &targets, &results], [before.rows as u32, 1, 1], &cost)?;
            let bytes = gpu.engine.read_one(&results)?;
            compared.extend(bytes.chunks_exact(size_of::<Row>()).take(before.rows).map(bytemuck::pod_read_unaligned::<Row>));
        }
        Ok(compared)
    }
}
