//! Moments and histogram: counts are summed over tiles; the f32 partials of the workgroups in f64, in order.

use super::engine::{Dispatch, Engine};
use super::tiles::{MAX_WORKGROUPS, floats, scale_to_one, tiled, words};
use crate::error::Result;
use crate::job::CancelToken;
use bytemuck::{bytes_of, cast_slice};
use halftone_shaders::Kernel;
use halftone_shaders::twin::statistics::{BINS, Params, edges};

/// Values each workgroup sums: short enough for f32.
const RUN: usize = 8_192;
/// Operations a value: a binary search over the bins, four powers and sums.
const OPERATIONS: u64 = 7 * 2 + 8;

/// As the twin; see [`crate::compute::KernelCall::Statistics`].
pub(super) fn run(engine: &Engine, values: &[f32], absmax: f32, histogram: &mut [u64], sums: &mut [f64; 6], cancel: &CancelToken) -> Result<()> {
    histogram.fill(0);
    *sums = [0.0; 6];
    let scale = scale_to_one(absmax);
    let edges = engine.upload(cast_slice(&edges(absmax)))?;
    let of = |tile: &std::ops::Range<usize>| &values[tile.start * RUN..(tile.end * RUN).min(values.len())];
    let record = |tile: std::ops::Range<usize>| {
        let values = of(&tile);
        let params = Params { count: values.len() as u32, per_workgroup: RUN as u32, scale, padding: 0 };
        let input = engine.upload(cast_slice(values))?;
        let (counts, partials) = (engine.zeroed((BINS as u64 + 2) * 4)?, engine.reserve(tile.len() as u64 * 16)?);
        engine.dispatch(Dispatch {
            kernel: Kernel::Statistics,
            params: bytes_of(&params),
            memories: &[&input, &edges, &counts, &partials],
            workgroups: [tile.len() as u32, 1, 1],
            work: values.len() as u64,
            bytes: input.bytes() + counts.bytes() + partials.bytes(),
            operations: values.len() as u64 * OPERATIONS,
        })?;
        engine.read(&[&counts, &partials])
    };
    let most = (engine.max_binding_bytes() as usize / 4 / RUN).min(MAX_WORKGROUPS);
    tiled(engine, Kernel::Statistics, values.len().div_ceil(RUN), RUN, most, cancel, record, |tile, outputs| {
        let counts: Vec<u64> = words(&outputs[0]).map(|bits| u64::from(u32::from_le_bytes(bits))).collect();
        for (total, count) in histogram.iter_mut().zip(&counts) {
            *total += count;
        }
        sums[4] += counts[BINS] as f64;
        sums[5] += counts[BINS + 1] as f64;
        for (index, partial) in floats(&outputs[1]).take(tile.len() * 4).enumerate() {
            sums[index % 4] += f64::from(partial);
        }
    })?;
    for (power, sum) in (1..).zip(&mut sums[..4]) {
        *sum /= f64::from(scale).powi(power);
    }
    Ok(())
}
