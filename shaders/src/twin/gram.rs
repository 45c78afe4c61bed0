//! H = XᵀX, added up over many calls: the lower triangle of a row-major matrix; what is above it is not touched.
//!
//! Devices may sum in any order in f32 and must come within [`TOLERANCE`] of Σₜ |xₜᵢxₜⱼ| plus the magnitude of what was there.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `gram.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Params {
    /// Rows of x.
    pub tokens: u32,
    /// Its columns, and those of the matrix.
    pub columns: u32,
    /// The row of the matrix with which the buffer begins.
    pub first_row: u32,
    /// The buffer's row with which this dispatch begins.
    pub row: u32,
    /// The buffer's row before which it ends.
    pub rows: u32,
    /// Not used.
    pub pad0: u32,
    /// Not used.
    pub pad1: u32,
    /// Not used.
    pub pad2: u32,
}
layout!(Params { tokens, columns, first_row, row, rows, pad0, pad1, pad2 });

/// Largest difference between devices, relative to the sum of the absolute products and what was there.
pub const TOLERANCE: f64 = 4e-6;

/// Adds XᵀX of rows of `columns` to rows `first_row ..` of a lower triangle.
pub fn gram(x: &[f32], columns: usize, first_row: usize, sums: &mut [f32]) {
    for (row, sums) in (first_row..).zip(sums.chunks_exact_mut(columns)) {
        for (column, sum) in sums[..=row].iter_mut().enumerate() {
            let products: f64 = x.chunks_exact(columns).map(|x| f64::from(x[row]) * f64::from(x[column])).sum();
            *sum = (f64::from(*sum) + products) as f32;
        }
    }
}
