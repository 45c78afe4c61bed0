//! tr(ΔHΔᵀ) by rows: tiles of rows of H, and under each, tiles of rows of Δ; partials are added in f64, in order.

use super::engine::{Dispatch, Engine};
use super::tiles::{floats, tiled};
use crate::error::Result;
use crate::job::CancelToken;
use bytemuck::{bytes_of, cast_slice};
use halftone_shaders::Kernel;
use halftone_shaders::twin::layer_error::Params;

/// Rows of Δ, and of H, that a workgroup handles.
const SIDE: usize = 32;

/// As the twin; see [`crate::compute::KernelCall::LayerError`].
pub(super) fn run(engine: &Engine, difference: &[f32], columns: usize, hessian: &[f32], row_errors: &mut [f32], cancel: &CancelToken) -> Result<()> {
    let most_rows = engine.max_binding_bytes() as usize / 4 / columns / SIDE * SIDE;
    if most_rows == 0 {
        return Err(engine.error(format!("rows of {columns} columns do not fit its buffers")));
    }
    let count = row_errors.len();
    let mut sums = vec![0.0f64; count];
    let mut first_hessian_row = 0;
    while first_hessian_row < columns {
        // A square tile has the least traffic; the pace says how large.
        let side = (engine.share(Kernel::LayerError) as f64 / columns as f64).sqrt() as usize;
        let hessian_rows = (side / SIDE * SIDE).clamp(SIDE, most_rows).min(columns - first_hessian_row);
        let hessian_tile = engine.upload(cast_slice(&hessian[first_hessian_row * columns..(first_hessian_row + hessian_rows) * columns]))?;
        let blocks = hessian_rows.div_ceil(SIDE);
        let record = |tile: std::ops::Range<usize>| {
            let rows = SIDE * tile.start..(SIDE * tile.end).min(count);
            let params =
                Params { rows: rows.len() as u32, columns: columns as u32, first_hessian_row: first_hessian_row as u32, hessian_rows: hessian_rows as u32 };
            let input = engine.upload(cast_slice(&difference[rows.start * columns..rows.end * columns]))?;
            let partials = engine.reserve((blocks * rows.len() * 4) as u64)?;
            engine.dispatch(Dispatch {
                kernel: Kernel::LayerError,
                params: bytes_of(&params),
                memories: &[&input, &hessian_tile, &partials],
                workgroups: [tile.len() as u32, blocks as u32, 1],
                work: (rows.len() * hessian_rows * columns) as u64,
                bytes: input.bytes() + hessian_tile.bytes() + partials.bytes(),
                operations: 2 * (rows.len() * hessian_rows * (columns + 1)) as u64,
            })?;
            engine.read(&[&partials])
        };
        let strips = count.div_ceil(SIDE);
        tiled(engine, Kernel::LayerError, strips, SIDE * hessian_rows * columns, most_rows / SIDE, cancel, record, |tile, outputs| {
            let (first, rows) = (SIDE * tile.start, (SIDE * tile.end).min(count) - SIDE * tile.start);
            for (index, partial) in floats(&outputs[0]).take(blocks * rows).enumerate() {
                sums[first + index % rows] += f64::from(partial);
            }
        })?;
        first_hessian_row += hessian_rows;
    }
    for (error, sum) in row_errors.iter_mut().zip(sums) {
        *error = sum as f32;
    }
    Ok(())
}
