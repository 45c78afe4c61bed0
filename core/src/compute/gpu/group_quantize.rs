//! Group-wise integers: groups are independent, tiles are runs of groups.

use super::engine::{Dispatch, Engine};
use super::tiles::{folded, tiled};
use crate::error::Result;
use crate::job::CancelToken;
use bytemuck::{bytes_of, cast_slice};
use halftone_shaders::Kernel;
use halftone_shaders::twin::group_quantize::{Params, Scheme};

/// Operations that the search spends on a weight: some forty candidates, a multiplication, a rounding and a 64-bit sum each.
const OPERATIONS: u64 = 40 * 16;

/// As the twin; see [`crate::compute::KernelCall::GroupQuantize`].
pub(super) fn run(
    engine: &Engine,
    weights: &[f32],
    columns: usize,
    importance: &[f32],
    scheme: Scheme,
    codes: &mut [u8],
    scales: &mut [f32],
    zeros: &mut [u8],
    cancel: &CancelToken,
) -> Result<()> {
    let group = scheme.group;
    let importances = engine.upload(cast_slice(importance))?;
    let record = |tile: std::ops::Range<usize>| {
        let params = Params {
            group: group as u32,
            groups: tile.len() as u32,
            groups_per_row: (columns / group) as u32,
            // Only the place within a row matters, so the number of groups may exceed 32 bits.
            first_group: (tile.start % (columns / group)) as u32,
            bits: scheme.bits,
            symmetric: scheme.symmetric.into(),
            weighted: (!importance.is_empty()).into(),
            padding: 0,
        };
        let values = tile.len() * group;
        let input = engine.upload(cast_slice(&weights[tile.start * group..tile.end * group]))?;
        let (codes, grids) = (engine.reserve(values as u64)?, engine.reserve(tile.len() as u64 * 8)?);
        engine.dispatch(Dispatch {
            kernel: Kernel::GroupQuantize,
            params: bytes_of(&params),
            memories: &[&input, &importances, &codes, &grids],
            workgroups: folded(tile.len()),
            work: values as u64,
            bytes: input.bytes() + codes.bytes() + grids.bytes(),
            operations: values as u64 * OPERATIONS,
        })?;
        engine.read(&[&codes, &grids])
    };
    let most = engine.max_binding_bytes() as usize / 4 / group;
    tiled(engine, Kernel::GroupQuantize, scales.len(), group, most, cancel, record, |tile, outputs| {
        let range = tile.start * group..tile.end * group;
        codes[range.clone()].copy_from_slice(&outputs[0][..range.len()]);
        for (group, grid) in tile.zip(outputs[1].chunks_exact(8)) {
            scales[group] = f32::from_le_bytes([grid[0], grid[1], grid[2], grid[3]]);
            zeros[group] = grid[4];
        }
    })
}
