//! y = x·Wᵀ (+ bias), both row-major: what every linear is. A dispatch can take some rows of either and some of the columns, so that matrices
//! may be cut to what a binding holds, and add to what is there.
//!
//! Devices may sum in any order in f32 and must come within [`TOLERANCE`] of Σ |xᵢwᵢ| + |bias|.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `matmul.wgsl` and `matmul_quantized.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Params {
    /// Rows of x in this dispatch.
    pub rows: u32,
    /// The first of them in x's buffer.
    pub x_row: u32,
    /// Where it goes in y's buffer.
    pub y_row: u32,
    /// Rows of W in this dispatch.
    pub outputs: u32,
    /// The first of them in W's buffer.
    pub weight_row: u32,
    /// Its column in y.
    pub y_column: u32,
    /// Row length of y.
    pub y_columns: u32,
    /// Its place in the bias.
    pub bias_at: u32,
    /// Columns that are summed over.
    pub inner: u32,
    /// The first of them.
    pub column: u32,
    /// Row length of x, and of W where it is f32.
    pub columns: u32,
    /// [`ACCUMULATE`] and [`BIAS`].
    pub mode: u32,
    /// As [`super::matmul_quantized::Stored`] has it; 0 for f32.
    pub format: u32,
    /// Bytes of a stored row.
    pub row_bytes: u32,
    /// Columns of a group of integers.
    pub group: u32,
    /// Bits of such an integer.
    pub bits: u32,
}
layout!(Params { rows, x_row, y_row, outputs, weight_row, y_column, y_columns, bias_at, inner, column, columns, mode, format, row_bytes, group, bits });

/// y ← y + … instead of y ← ….
pub const ACCUMULATE: u32 = 1;
/// With a bias.
pub const BIAS: u32 = 2;

/// Largest difference between devices, relative to the sum of the absolute products.
pub const TOLERANCE: f64 = 2e-6;

/// Rows of `columns` in `x` and `weight`; `bias` is empty or has one value a row of the weight.
pub fn matmul(x: &[f32], weight: &[f32], columns: usize, bias: &[f32], y: &mut [f32]) {
    let outputs = weight.len() / columns;
    for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(outputs)) {
        for (output, (weight, y)) in weight.chunks_exact(columns).zip(y).enumerate() {
            let sum: f64 = x.iter().zip(weight).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            *y = (sum + f64::from(bias.get(output).copied().unwrap_or(0.0))) as f32;
        }
    }
}
