//! Rows added to rows: x ← x + y, the residual connection; or x[row] ← x[row] + share·y for a list of rows and shares, the sum over experts.
//!
//! One rounding, or two: devices must come within [`TOLERANCE`] of |x| + |share·y|.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `add.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Params {
    /// Rows of y.
    pub rows: u32,
    /// Columns of a row.
    pub columns: u32,
    /// 1: a list says where they go.
    pub listed: u32,
    /// Not used.
    pub padding: u32,
}
layout!(Params { rows, columns, listed, padding });

/// Largest difference between devices, relative to the magnitudes of the terms.
pub const TOLERANCE: f64 = 2e-7;

/// Where a row goes, and its share; laid out as the kernel reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Entry {
    /// Row of x; each once in a list.
    pub row: u32,
    /// Factor of y.
    pub share: f32,
}

/// Adds rows of `columns`; an empty list means all in order.
pub fn add(x: &mut [f32], y: &[f32], columns: usize, list: &[Entry]) {
    for (i, y) in y.chunks_exact(columns).enumerate() {
        let Entry { row, share } = list.get(i).copied().unwrap_or(Entry { row: i as u32, share: 1.0 });
        for (x, y) in x[row as usize * columns..].iter_mut().zip(y) {
            *x += share * y;
        }
    }
}
