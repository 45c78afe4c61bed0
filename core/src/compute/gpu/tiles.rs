//! Each kernel cut into submits: what is uploaded, how many workgroups, what comes back.

use super::Gpu;
use super::device::Operand;
use super::pace::Pace;
use crate::error::{Error, Result};
use crate::job::CancelToken;
use bytemuck::{bytes_of, cast_slice};
use halftone_shaders::Kernel;
use halftone_shaders::twin::group_quantize::Scheme;
use halftone_shaders::twin::statistics::{BINS, edges};
use halftone_shaders::twin::{group_quantize, layer_error, statistics};
use std::time::Instant;

/// Workgroups along one axis that every device allows.
const MAX_WORKGROUPS: usize = 65_535;
/// Values each statistics workgroup sums: short enough for f32.
const STATISTICS_RUN: usize = 8_192;
/// Rows of Δ, and of H, that a workgroup of `layer_error` handles.
const LAYER_ERROR_SIDE: usize = 32;

/// Groups are independent: tiles are runs of groups.
pub(super) fn group_quantize(
    gpu: &Gpu,
    weights: &[f32],
    columns: usize,
    importance: &[f32],
    scheme: Scheme,
    codes: &mut [u8],
    scales: &mut [f32],
    zeros: &mut [u8],
    cancel: &CancelToken,
) -> Result<()> {
    let total = weights.len() / scheme.group;
    let mut first = 0;
    while first < total {
        let groups = tile(&gpu.paces.group_quantize, scheme.group, gpu.values_per_binding() / scheme.group).min(total - first);
        let range = first * scheme.group..(first + groups) * scheme.group;
        let params = group_quantize::Params {
            group: scheme.group as u32,
            groups: groups as u32,
            groups_per_row: (columns / scheme.group) as u32,
            // Only the place within a row matters, so the number of groups may exceed 32 bits.
            first_group: (first % (columns / scheme.group)) as u32,
            bits: scheme.bits,
            symmetric: scheme.symmetric.into(),
            weighted: (!importance.is_empty()).into(),
            padding: 0,
        };
        let operands = [
            Operand::Input(cast_slice(&weights[range.clone()])),
            Operand::Input(cast_slice(importance)),
            Operand::Output(groups * scheme.group),
            Operand::Output(groups * 8),
        ];
        let workgroups = [groups.min(MAX_WORKGROUPS), groups.div_ceil(MAX_WORKGROUPS)];
        let outputs = gpu.submit(Kernel::GroupQuantize, bytes_of(&params), &operands, workgroups, (&gpu.paces.group_quantize, range.len()), cancel)?;
        let [tile_codes, grids] = gpu.outputs(outputs)?;
        codes[range.clone()].copy_from_slice(&tile_codes[..range.len()]);
        for (group, grid) in grids.chunks_exact(8).take(groups).enumerate() {
            scales[first + group] = f32::from_le_bytes([grid[0], grid[1], grid[2], grid[3]]);
            zeros[first + group] = grid[4];
        }
        first += groups;
    }
    Ok(())
}

/// Counts are summed over tiles; the f32 partials of the workgroups in f64, in order.
pub(super) fn statistics(gpu: &Gpu, values: &[f32], absmax: f32, histogram: &mut [u64], sums: &mut [f64; 6], cancel: &CancelToken) -> Result<()> {
    histogram.fill(0);
    *sums = [0.0; 6];
    let edges = edges(absmax);
    let scale = scale_to_one(absmax);
    let mut rest = values;
    while !rest.is_empty() {
        let runs = tile(&gpu.paces.statistics, STATISTICS_RUN, (gpu.values_per_binding() / STATISTICS_RUN).min(MAX_WORKGROUPS));
        let (values, tail) = rest.split_at((runs * STATISTICS_RUN).min(rest.len()));
        let runs = values.len().div_ceil(STATISTICS_RUN);
        let params = statistics::Params { count: values.len() as u32, per_workgroup: STATISTICS_RUN as u32, scale, padding: 0 };
        let operands = [Operand::Input(cast_slice(values)), Operand::Input(cast_slice(&edges)), Operand::Output((BINS + 2) * 4), Operand::Output(runs * 16)];
        let outputs = gpu.submit(Kernel::Statistics, bytes_of(&params), &operands, [runs, 1], (&gpu.paces.statistics, values.len()), cancel)?;
        let [counts, partials] = gpu.outputs(outputs)?;
        let counts: Vec<u64> = words(&counts).map(|bits| u64::from(u32::from_le_bytes(bits))).collect();
        for (total, count) in histogram.iter_mut().zip(&counts) {
            *total += count;
        }
        sums[4] += counts[BINS] as f64;
        sums[5] += counts[BINS + 1] as f64;
        for (index, bits) in words(&partials).take(runs * 4).enumerate() {
            sums[index % 4] += f64::from(f32::from_le_bytes(bits));
        }
        rest = tail;
    }
    for (power, sum) in (1..).zip(&mut sums[..4]) {
        *sum /= f64::from(scale).powi(power);
    }
    Ok(())
}

/// Tiles of rows of H, and under each, tiles of rows of Δ; partials are added in f64, in order.
pub(super) fn layer_error(gpu: &Gpu, difference: &[f32], columns: usize, hessian: &[f32], row_errors: &mut [f32], cancel: &CancelToken) -> Result<()> {
    let most_rows = gpu.values_per_binding() / columns / LAYER_ERROR_SIDE * LAYER_ERROR_SIDE;
    if most_rows == 0 {
        return Err(gpu.device.error(format!("rows of {columns} columns do not fit its buffers")));
    }
    let rows = row_errors.len();
    let mut sums = vec![0.0f64; rows];
    let mut first_hessian_row = 0;
    while first_hessian_row < columns {
        // A square tile has the least traffic; the pace says how large.
        let side = (gpu.paces.layer_error.next() as f64 / columns as f64).sqrt() as usize;
        let hessian_rows = tile_rows(side, most_rows).min(columns - first_hessian_row);
        let hessian_tile = &hessian[first_hessian_row * columns..(first_hessian_row + hessian_rows) * columns];
        let mut first = 0;
        while first < rows {
            let most = (gpu.paces.layer_error.next() as usize / columns / hessian_rows).max(LAYER_ERROR_SIDE);
            let count = tile_rows(most, most_rows).min(rows - first);
            let params = layer_error::Params {
                rows: count as u32,
                columns: columns as u32,
                first_hessian_row: first_hessian_row as u32,
                hessian_rows: hessian_rows as u32,
            };
            let blocks = hessian_rows.div_ceil(LAYER_ERROR_SIDE);
            let operands = [
                Operand::Input(cast_slice(&difference[first * columns..(first + count) * columns])),
                if first == 0 { Operand::Input(cast_slice(hessian_tile)) } else { Operand::Kept },
                Operand::Output(blocks * count * 4),
            ];
            let work = (&gpu.paces.layer_error, count * hessian_rows * columns);
            let outputs = gpu.submit(Kernel::LayerError, bytes_of(&params), &operands, [count.div_ceil(LAYER_ERROR_SIDE), blocks], work, cancel)?;
            let [partials] = gpu.outputs(outputs)?;
            for (index, bits) in words(&partials).take(blocks * count).enumerate() {
                sums[first + index % count] += f64::from(f32::from_le_bytes(bits));
            }
            first += count;
        }
        first_hessian_row += hessian_rows;
    }
    for (error, sum) in row_errors.iter_mut().zip(sums) {
        *error = sum as f32;
    }
    Ok(())
}

impl Gpu {
    /// f32 values that one binding holds.
    fn values_per_binding(&self) -> usize {
        (self.capabilities.max_binding_bytes / 4) as usize
    }

    /// One submit, timed, unless cancelled.
    fn submit(
        &self,
        kernel: Kernel,
        params: &[u8],
        operands: &[Operand<'_>],
        workgroups: [usize; 2],
        (pace, work): (&Pace, usize),
        cancel: &CancelToken,
    ) -> Result<Vec<Vec<u8>>> {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let start = Instant::now();
        let outputs = self.device.dispatch(kernel, params, operands, workgroups.map(|n| n as u32))?;
        pace.record(work as u64, start.elapsed());
        Ok(outputs)
    }

    /// Exactly so many outputs.
    fn outputs<const N: usize>(&self, outputs: Vec<Vec<u8>>) -> Result<[Vec<u8>; N]> {
        outputs.try_into().map_err(|outputs: Vec<_>| self.device.error(format!("{} outputs instead of {N}", outputs.len())))
    }
}

/// Units (of `size` values each) for the next submit, at least 1, at most `most`.
fn tile(pace: &Pace, size: usize, most: usize) -> usize {
    (pace.next() as usize / size).min(most).max(1)
}

/// About `wanted` rows, in whole workgroups.
fn tile_rows(wanted: usize, most: usize) -> usize {
    (wanted / LAYER_ERROR_SIDE * LAYER_ERROR_SIDE).clamp(LAYER_ERROR_SIDE, most)
}

/// The power of two that brings `absmax` into [1, 2).
fn scale_to_one(absmax: f32) -> f32 {
    let exponent = (absmax.to_bits() >> 23 & 0xff).clamp(1, 253);
    f32::from_bits((254 - exponent) << 23)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> + '_ {
    bytes.as_chunks::<4>().0.iter().copied()
}
