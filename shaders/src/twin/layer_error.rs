//! What an error of the weights does to a layer's output: the rows of tr(ΔHΔᵀ), Δ = Ŵ − W, H = XᵀX / T.
//!
//! Entry r is Σᵢ Σⱼ Δᵣᵢ Hⱼᵢ Δᵣⱼ = E‖Δᵣ·x‖². Both operands are read along their rows; for a symmetric H that is ΔHΔᵀ, and any other H
//! gives the same number, since a quadratic form sees only the symmetric part.
//! Devices may sum in any order in f32 and must come within [`TOLERANCE`] of Σᵢ Σⱼ |Δᵣᵢ Hⱼᵢ Δᵣⱼ|.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `layer_error.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Params {
    /// Rows of Δ in this dispatch.
    pub rows: u32,
    /// Columns of Δ and of H.
    pub columns: u32,
    /// The row of H that this dispatch's `hessian` binding begins with.
    pub first_hessian_row: u32,
    /// Rows of H in this dispatch.
    pub hessian_rows: u32,
}
layout!(Params { rows, columns, first_hessian_row, hessian_rows });

/// Largest difference between devices, relative to the sum of the absolute products of the row.
pub const TOLERANCE: f64 = 2e-6;

/// One entry for each row of `difference` (rows of `columns`) into `row_errors`; `hessian` is `columns × columns`.
pub fn layer_error(difference: &[f32], columns: usize, hessian: &[f32], row_errors: &mut [f32]) {
    for (row, error) in difference.chunks_exact(columns).zip(row_errors) {
        let mut sum = 0.0f64;
        for (&delta, hessian_row) in row.iter().zip(hessian.chunks_exact(columns)) {
            let product: f64 = row.iter().zip(hessian_row).map(|(&d, &h)| f64::from(d) * f64::from(h)).sum();
            sum += product * f64::from(delta);
        }
        *error = sum as f32;
    }
}
