//! A Lloyd step over the weights of a tensor: counts are summed over tiles; the f32 partials of the workgroups in f64, in order.

use super::engine::{Dispatch, Engine};
use super::tiles::{MAX_WORKGROUPS, floats, scale_to_one, tiled, words};
use crate::error::Result;
use crate::job::CancelToken;
use bytemuck::{bytes_of, cast_slice};
use halftone_shaders::Kernel;
use halftone_shaders::twin::lloyd_step::{Params, Tally, boundaries};

/// Weights each workgroup sums: short enough for f32.
const RUN: usize = 8_192;

/// What is tallied; see [`crate::compute::KernelCall::LloydStep`].
pub(super) struct Weights<'a> {
    pub(super) values: &'a [f32],
    pub(super) group: usize,
    pub(super) scales: &'a [f32],
    pub(super) importance: &'a [f32],
}

/// As the twin.
pub(super) fn run(engine: &Engine, weights: &Weights<'_>, levels: &[f32], cancel: &CancelToken) -> Result<Tally> {
    let &Weights { values, group, scales, importance } = weights;
    let count = levels.len();
    let factor = scale_to_one(scales.iter().fold(0.0, |most: f32, s| most.max(*s)));
    // A comparison with each middle of a binary search, its product, and six for the sums.
    let operations = |values: usize| values as u64 * (2 * u64::from(count.ilog2()) + 6);
    let (middles, importances) = (engine.upload(cast_slice(&boundaries(levels)))?, engine.upload(cast_slice(importance))?);
    let record = |tile: std::ops::Range<usize>| {
        let range = tile.start * RUN..(tile.end * RUN).min(values.len());
        let params = Params {
            count: range.len() as u32,
            per_workgroup: RUN as u32,
            group: group as u32,
            first_in_group: (range.start % group) as u32,
            columns: importance.len() as u32,
            first_column: range.start.checked_rem(importance.len()).unwrap_or(0) as u32,
            levels: count as u32,
            factor,
        };
        let (input, scales) =
            (engine.upload(cast_slice(&values[range.clone()]))?, engine.upload(cast_slice(&scales[range.start / group..range.end.div_ceil(group)]))?);
        let (counts, partials) = (engine.zeroed(count as u64 * 4)?, engine.reserve((tile.len() * count * 8) as u64)?);
        engine.dispatch(Dispatch {
            kernel: Kernel::LloydStep,
            params: bytes_of(&params),
            memories: &[&input, &scales, &importances, &middles, &counts, &partials],
            workgroups: [tile.len() as u32, 1, 1],
            work: range.len() as u64,
            bytes: input.bytes() + scales.bytes() + partials.bytes(),
            operations: operations(range.len()),
        })?;
        engine.read(&[&counts, &partials])
    };
    let mut tally = Tally::default();
    let most = (engine.max_binding_bytes() as usize / 4 / RUN).min(MAX_WORKGROUPS);
    tiled(engine, Kernel::LloydStep, values.len().div_ceil(RUN), RUN, most, cancel, record, |tile, outputs| {
        for (total, bits) in tally.counts.iter_mut().zip(words(&outputs[0]).take(count)) {
            *total += u64::from(u32::from_le_bytes(bits));
        }
        for (at, partial) in floats(&outputs[1]).take(tile.len() * count * 2).enumerate() {
            let of = if at % 2 == 0 { &mut tally.weights } else { &mut tally.sums };
            of[at / 2 % count] += f64::from(partial);
        }
    })?;
    let back = 1.0 / f64::from(factor).powi(2);
    tally.weights.iter_mut().chain(&mut tally.sums).for_each(|sum| *sum *= back);
    Ok(tally)
}
