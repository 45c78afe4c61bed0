//! Work cut into tiles: while one is on its way back, the next is uploaded and run.

use super::engine::{Engine, Pending};
use crate::error::{Error, Result};
use crate::job::CancelToken;
use halftone_shaders::Kernel;
use std::ops::Range;

/// Workgroups along one axis that every device allows.
pub(super) const MAX_WORKGROUPS: usize = 65_535;

/// Cuts `0..count` into tiles that each fit a submit of `kernel` (its work being `work_each` a piece) and have at most `most` pieces; runs
/// `record` on each and `finish` on what comes back, one tile behind.
///
/// # Errors
/// `Cancelled`, looked at before each tile; what `record` and the device say.
pub(super) fn tiled<'a>(
    engine: &'a Engine,
    kernel: Kernel,
    count: usize,
    work_each: usize,
    most: usize,
    cancel: &CancelToken,
    mut record: impl FnMut(Range<usize>) -> Result<Pending<'a>>,
    mut finish: impl FnMut(Range<usize>, &[Vec<u8>]),
) -> Result<()> {
    let mut behind: Option<(Range<usize>, Pending<'a>)> = None;
    let mut first = 0;
    while first < count {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let pieces = (engine.share(kernel) as usize / work_each.max(1)).clamp(1, most.max(1)).min(count - first);
        let tile = first..first + pieces;
        let pending = record(tile.clone())?;
        if let Some((tile, pending)) = behind.replace((tile, pending)) {
            finish(tile, &pending.wait()?);
        }
        first += pieces;
    }
    if let Some((tile, pending)) = behind {
        finish(tile, &pending.wait()?);
    }
    Ok(())
}

/// Workgroups in a line, folded into two axes.
pub(super) fn folded(workgroups: usize) -> [u32; 3] {
    [workgroups.min(MAX_WORKGROUPS) as u32, workgroups.div_ceil(MAX_WORKGROUPS) as u32, 1]
}

/// The words of an output.
pub(super) fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> + '_ {
    bytes.as_chunks::<4>().0.iter().copied()
}

/// The f32 values of an output.
pub(super) fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    words(bytes).map(f32::from_le_bytes)
}

/// The power of two that brings a positive number into [1, 2).
pub(super) fn scale_to_one(largest: f32) -> f32 {
    let exponent = (largest.to_bits() >> 23 & 0xff).clamp(1, 253);
    f32::from_bits((254 - exponent) << 23)
}
