//! RMSNorm x·γ / √(mean x² + ε) (Zhang & Sennrich 2019) and LayerNorm (x − mean)·γ / √(variance + ε) + β (Ba et al. 2016) of rows.
//!
//! Devices must come within [`TOLERANCE`] of the row's largest |x|·|γ|·(factor of the row) + |β|.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `norm.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// Rows in this dispatch.
    pub rows: u32,
    /// Columns of a row.
    pub columns: u32,
    /// 1 for LayerNorm.
    pub centred: u32,
    /// ε.
    pub eps: f32,
}
layout!(Params { rows, columns, centred, eps });

/// Largest difference between devices, relative to the row's largest value before β is added, plus |β|.
pub const TOLERANCE: f64 = 4e-6;

/// Each row of `γ.len()` normalised into `y`; a LayerNorm where there is a β. Returns the ceiling of the difference for each row.
pub fn norm(x: &[f32], gamma: &[f32], beta: &[f32], eps: f32, y: &mut [f32]) -> Vec<f64> {
    let columns = gamma.len();
    let row = |(x, y): (&[f32], &mut [f32])| {
        let mean = if beta.is_empty() { 0.0 } else { x.iter().map(|&v| f64::from(v)).sum::<f64>() / columns as f64 };
        let square = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / columns as f64;
        let scale = 1.0 / (square + f64::from(eps)).sqrt();
        let mut largest = 0.0f64;
        for (i, (&v, y)) in x.iter().zip(y).enumerate() {
            let shift = f64::from(beta.get(i).copied().unwrap_or(0.0));
            *y = ((f64::from(v) - mean) * scale * f64::from(gamma[i]) + shift) as f32;
            largest = largest.max((f64::from(v) * scale * f64::from(gamma[i])).abs() + shift.abs());
        }
        TOLERANCE * largest
    };
    x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)).map(row).collect()
}
