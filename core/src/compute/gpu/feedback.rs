//! Error feedback and coordinate descent on the device: panel by panel, the product with all columns outside, then the columns of the panel.
//!
//! Arrays have the column index outermost and lie in slabs of columns, because a binding holds 128 MiB and H of a wide layer is larger.
//! The scales of a panel are chosen by whoever calls, on the weights as they have become: the format's own search.

use super::Gpu;
use super::engine::{Dispatch, Engine};
use super::pool::Memory;
use super::tiles::{floats, words};
use crate::error::{Error, Result};
use crate::job::CancelToken;
use bytemuck::{bytes_of, cast_slice};
use halftone_shaders::Kernel;
use halftone_shaders::twin::{feedback_columns, feedback_product};
use std::ops::Range;

/// Rows that are rounded together: enough to fill a device, few enough for slabs of many columns.
const ROWS: usize = 4096;
/// A panel never lies in two slabs.
const SLAB_STEP: usize = 256;
/// Side of a workgroup's piece of the product, and rows of a workgroup of columns.
const SIDE: usize = 32;

/// What codes can say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Levels {
    /// The integers from the first to the second.
    Integers(i16, i16),
    /// These, rising.
    Listed(Vec<f32>),
}

/// The matrices that a tensor's rows are rounded with.
pub(crate) struct Feedback<'a> {
    /// Row length of the weights.
    pub(crate) columns: usize,
    /// Columns whose scales are chosen together; divides `columns`, and [`SLAB_STEP`] is a multiple of it.
    pub(crate) block: usize,
    /// The unit upper triangular factor of H.
    pub(crate) upper: &'a [f32],
    /// The matrix of descent, and how many sweeps of it follow.
    pub(crate) descent: (&'a [f32], usize),
    /// What the codes can say.
    pub(crate) levels: Levels,
}

/// Chooses the scales of a panel, given its rows, its first column, and the rows' weights as they have become (row-major): writes scales and
/// offsets with the column index outermost.
pub(crate) type Choose<'a> = dyn FnMut(Range<usize>, usize, &[f32], &mut [f32], &mut [f32]) -> Result<()> + 'a;

/// A run of columns of everything.
struct Slab {
    columns: Range<usize>,
    matrix: Memory,
    weights: Memory,
    scales: Memory,
    offsets: Memory,
    delta: Memory,
    indices: Memory,
}

impl Gpu {
    /// Rounds `weights` (rows of `columns`); the number of each weight's level goes into `indices`, row-major.
    ///
    /// # Errors
    /// `Device`, `Cancelled`, what `choose` says; `Unsupported` for blocks that no slab can be made of.
    pub(crate) fn feedback(&self, call: &Feedback<'_>, weights: &[f32], choose: &mut Choose<'_>, indices: &mut [u8], cancel: &CancelToken) -> Result<()> {
        if !call.block.is_multiple_of(4) || !SLAB_STEP.is_multiple_of(call.block) {
            return Err(Error::unsupported("error feedback on the GPU", "its blocks are not four columns or more that divide 256"));
        }
        self.trust(Kernel::FeedbackProduct)?;
        self.trust(Kernel::FeedbackColumns)?;
        let at_once = ROWS.min(self.rows_of(SLAB_STEP));
        let tiles = weights.chunks(at_once * call.columns).zip(indices.chunks_mut(at_once * call.columns));
        for ((weights, indices), first) in tiles.zip((0..).step_by(at_once)) {
            let rows = first..first + weights.len() / call.columns;
            Rows { engine: &self.engine, call, rows, weights, cancel }.run(choose, indices)?;
        }
        Ok(())
    }
}

/// Rows that are rounded together.
struct Rows<'a> {
    engine: &'a Engine,
    call: &'a Feedback<'a>,
    rows: Range<usize>,
    weights: &'a [f32],
    cancel: &'a CancelToken,
}

impl Rows<'_> {
    fn run(&self, choose: &mut Choose<'_>, indices: &mut [u8]) -> Result<()> {
        let mut slabs = self.slabs()?;
        let listed: &[f32] = if let Levels::Listed(levels) = &self.call.levels { levels } else { &[] };
        let levels = self.engine.upload(cast_slice(listed))?;
        for at in 0..slabs.len() {
            for first in slabs[at].columns.clone().step_by(self.call.block) {
                let corrections = self.product(&slabs, at, first, true)?;
                let asked = self.engine.read_one(&corrections)?;
                self.choose_scales(&slabs[at], first, &asked, choose)?;
                self.columns(&slabs[at], first, &corrections, &levels)?;
            }
        }
        let (descent, sweeps) = self.call.descent;
        for sweep in 0..sweeps {
            for at in 0..slabs.len() {
                if sweep == 0 {
                    let columns = slabs[at].columns.clone();
                    slabs[at].matrix = self.engine.upload(cast_slice(&descent[columns.start * self.call.columns..columns.end * self.call.columns]))?;
                }
            }
            for at in 0..slabs.len() {
                for first in slabs[at].columns.clone().step_by(self.call.block) {
                    let corrections = self.product(&slabs, at, first, false)?;
                    self.columns(&slabs[at], first, &corrections, &levels)?;
                }
            }
        }
        for slab in &slabs {
            let codes = self.engine.read_one(&slab.indices)?;
            for (j, line) in slab.columns.clone().zip(codes.chunks_exact(self.rows.len() * 4)) {
                for (row, code) in words(line).enumerate() {
                    indices[row * self.call.columns + j] = code[0];
                }
            }
        }
        Ok(())
    }

    /// Everything on the device, the errors and codes as zeros.
    fn slabs(&self) -> Result<Vec<Slab>> {
        let (columns, rows) = (self.call.columns, self.rows.len());
        let most = self.engine.max_binding_bytes() as usize / 4 / columns.max(rows) / SLAB_STEP * SLAB_STEP;
        if most == 0 {
            return Err(self.engine.error(format!("rows of {columns} columns do not fit its buffers")));
        }
        (0..columns)
            .step_by(most)
            .map(|first| {
                let range = first..(first + most).min(columns);
                let bytes = (range.len() * rows * 4) as u64;
                let mut turned = vec![0.0f32; range.len() * rows];
                for (row, weights) in self.weights.chunks_exact(columns).enumerate() {
                    for (line, &weight) in weights[range.clone()].iter().enumerate() {
                        turned[line * rows + row] = if weight.is_finite() { weight } else { 0.0 };
                    }
                }
                Ok(Slab {
                    matrix: self.engine.upload(cast_slice(&self.call.upper[range.start * columns..range.end * columns]))?,
                    weights: self.engine.upload(cast_slice(&turned))?,
                    scales: self.engine.reserve(bytes)?,
                    offsets: self.engine.reserve(bytes)?,
                    delta: self.engine.zeroed(bytes)?,
                    indices: self.engine.zeroed(bytes)?,
                    columns: range,
                })
            })
            .collect()
    }

    /// What all columns outside the block ask of it; with `before`, only those that come before it.
    fn product(&self, slabs: &[Slab], at: usize, first: usize, before: bool) -> Result<Memory> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let (rows, width) = (self.rows.len(), self.call.block);
        let corrections = self.engine.reserve((width * rows * 4) as u64)?;
        let mut accumulate = 0;
        for (slab, number) in slabs.iter().zip(0..) {
            let lines = slab.columns.len();
            let own = if number == at { first - slab.columns.start..first - slab.columns.start + width } else { 0..0 };
            let to = match (before, number == at) {
                (true, true) => own.start,
                (true, false) if number > at => 0,
                _ => lines,
            };
            if to == 0 && accumulate == 1 {
                continue;
            }
            let params = feedback_product::Params {
                rows: rows as u32,
                columns: self.call.columns as u32,
                first: first as u32,
                width: width as u32,
                begin: 0,
                end: to as u32,
                skip_begin: own.start as u32,
                skip_end: own.end as u32,
                accumulate,
                ..Default::default()
            };
            accumulate = 1;
            self.engine.dispatch(Dispatch {
                kernel: Kernel::FeedbackProduct,
                params: bytes_of(&params),
                memories: &[&slab.matrix, &slab.delta, &corrections],
                workgroups: [rows.div_ceil(SIDE) as u32, width.div_ceil(SIDE) as u32, 1],
                work: (rows * width * to.max(1)) as u64,
                bytes: 4 * (to * (rows + width) + rows * width) as u64,
                operations: 2 * (rows * width * to) as u64,
            })?;
        }
        Ok(corrections)
    }

    /// The scales of a block, chosen on the weights as they have become.
    fn choose_scales(&self, slab: &Slab, first: usize, asked: &[u8], choose: &mut Choose<'_>) -> Result<()> {
        let (rows, width, columns) = (self.rows.len(), self.call.block, self.call.columns);
        let mut current = vec![0.0f32; rows * width];
        for (j, line) in asked.chunks_exact(rows * 4).take(width).enumerate() {
            for (row, correction) in floats(line).enumerate() {
                let weight = self.weights[row * columns + first + j];
                current[row * width + j] = if weight.is_finite() { weight } else { 0.0 } - correction;
            }
        }
        let (mut scales, mut offsets) = (vec![0.0f32; rows * width], vec![0.0f32; rows * width]);
        choose(self.rows.clone(), first, &current, &mut scales, &mut offsets)?;
        let line = (first - slab.columns.start) * rows * 4;
        self.engine.put(&slab.scales, line as u64, cast_slice(&scales))?;
        self.engine.put(&slab.offsets, line as u64, cast_slice(&offsets))
    }

    fn columns(&self, slab: &Slab, first: usize, corrections: &Memory, levels: &Memory) -> Result<()> {
        let (rows, width) = (self.rows.len(), self.call.block);
        let (low, count) = match &self.call.levels {
            Levels::Integers(low, high) => (f32::from(*low), (high - low) as u32 + 1),
            Levels::Listed(levels) => (1.0, levels.len() as u32),
        };
        let params = feedback_columns::Params {
            rows: rows as u32,
            columns: self.call.columns as u32,
            first: first as u32,
            line: (first - slab.columns.start) as u32,
            width: width as u32,
            levels: count,
            low,
            padding: 0,
        };
        self.engine.dispatch(Dispatch {
            kernel: Kernel::FeedbackColumns,
            params: bytes_of(&params),
            memories: &[&slab.matrix, corrections, &slab.weights, &slab.scales, &slab.offsets, levels, &slab.delta, &slab.indices],
            workgroups: [rows.div_ceil(64) as u32, 1, 1],
            work: (rows * width * width) as u64,
            bytes: 4 * (6 * rows * width + width * width) as u64,
            operations: 2 * (rows * width * width) as u64,
        })
    }
}
