//! What the columns of a row that are not being rounded ask of those that are: C = AᵀD.
//!
//! A is a slab of rows of a square matrix (see `halftone_core::round`: the factor of H, or the matrix of coordinate descent), D the errors
//! Δ of the same columns, both with the column index outermost. C has one line for each of `width` columns from `first` on.
//! Devices may sum in any order in f32 and must come within [`TOLERANCE`] of Σ|A_kj·D_kr|.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `feedback_product.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Params {
    /// Rows of the weights.
    pub rows: u32,
    /// Columns of the whole matrix.
    pub columns: u32,
    /// The first column that is being rounded.
    pub first: u32,
    /// Columns that are being rounded.
    pub width: u32,
    /// First line of the slab that counts.
    pub begin: u32,
    /// Line behind the last one that counts.
    pub end: u32,
    /// Lines from here …
    pub skip_begin: u32,
    /// … to here do not count: the columns being rounded themselves.
    pub skip_end: u32,
    /// 1: add to what is there.
    pub accumulate: u32,
    /// Nothing.
    pub padding_a: u32,
    /// Nothing.
    pub padding_b: u32,
    /// Nothing.
    pub padding_c: u32,
}
layout!(Params { rows, columns, first, width, begin, end, skip_begin, skip_end, accumulate, padding_a, padding_b, padding_c });

/// Largest difference between devices, relative to the sum of the absolute products.
pub const TOLERANCE: f64 = 2e-6;

/// `matrix` has lines of `columns`, `delta` and `corrections` lines of `rows`.
pub fn feedback_product(params: &Params, matrix: &[f32], delta: &[f32], corrections: &mut [f32]) {
    let (rows, columns) = (params.rows as usize, params.columns as usize);
    let skipped = params.skip_begin..params.skip_end;
    for (c, line) in corrections.chunks_exact_mut(rows).take(params.width as usize).enumerate() {
        for (r, correction) in line.iter_mut().enumerate() {
            let lines = (params.begin..params.end).filter(|k| !skipped.contains(k)).map(|k| k as usize);
            let sum: f64 = lines.map(|k| f64::from(matrix[k * columns + params.first as usize + c]) * f64::from(delta[k * rows + r])).sum();
            *correction = sum as f32 + if params.accumulate != 0 { *correction } else { 0.0 };
        }
    }
}
