//! x ← x·factor + addend, so many rounds, on 32 starting values a thread: x, x + 1, … x + 31; the result is their sum.
//!
//! Devices round a fused or a split multiplication differently and must come within [`TOLERANCE`] for factors of at most 1.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `multiply_add.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// Results.
    pub threads: u32,
    /// Rounds.
    pub rounds: u32,
    /// Multiplied with.
    pub factor: f32,
    /// Added.
    pub addend: f32,
}
layout!(Params { threads, rounds, factor, addend });

/// Chains of a thread.
pub const CHAINS: u32 = 32;
/// Largest difference between devices, relative to the sum of the magnitudes.
pub const TOLERANCE: f64 = 1e-4;

/// One result a value.
pub fn multiply_add(params: &Params, values: &[f32], results: &mut [f32]) {
    for (value, result) in values.iter().zip(results).take(params.threads as usize) {
        let chain = |k: u32| (0..params.rounds).fold(f64::from(*value) + f64::from(k), |x, _| x * f64::from(params.factor) + f64::from(params.addend));
        *result = (0..CHAINS).map(chain).sum::<f64>() as f32;
    }
}
