//! The matrix product of the host that all others stand on, A·Bᵀ of row-major matrices.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use std::ops::Range;

/// As [`times_transposed`] over some of the inner columns.
pub(crate) fn partial_product(a: &[f32], b: &[f32], inner: usize, columns: Range<usize>) -> Vec<f32> {
    let (rows, outputs) = (a.len() / inner, b.len() / inner);
    let mut out = vec![0.0; rows * outputs];
    matmul(
        MatMut::from_row_major_slice_mut(&mut out, rows, outputs),
        Accum::Replace,
        MatRef::from_row_major_slice(a, rows, inner).subcols(columns.start, columns.len()),
        MatRef::from_row_major_slice(b, outputs, inner).subcols(columns.start, columns.len()).transpose(),
        1.0,
        Par::rayon(0),
    );
    out
}

/// A·Bᵀ for row-major A (rows of `inner`) and B (rows of `inner`); the result is row-major, A's rows × B's rows.
pub fn times_transposed(a: &[f32], b: &[f32], inner: usize) -> Vec<f32> {
    partial_product(a, b, inner, 0..inner)
}
