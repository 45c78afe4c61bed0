//! One step of Lloyd's iteration for a codebook under scales of groups: how many weights are nearest to each level, and what their weighted mean
//! is made of.
//!
//! The place of a weight v in a group of scale s is v/s, its weight is a = importance·s², which is what an error of its level costs. Level k
//! gets Σa = Σ importance·s² and Σa·v/s = Σ importance·s·v; their quotient is the level that is best for what it was given. v is above a
//! boundary m (the middle of two levels) where v ≥ m·s in f32: one rounded product, no quotient, so that counts are equal on every device.
//! The sums are in f64 here; a GPU sums runs in f32 and must come within [`TOLERANCE`] of the sum of the absolute terms.
//! What is not finite, and groups of scales below 2⁻⁶⁰, are left out; weights below 2⁻¹⁰⁰ and boundaries below 2⁻⁶⁰ count as 0, so that nothing
//! depends on subnormal numbers.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `lloyd_step.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// Weights of this dispatch.
    pub count: u32,
    /// Weights each workgroup sums.
    pub per_workgroup: u32,
    /// Columns of a group.
    pub group: u32,
    /// Place of the first weight in its group.
    pub first_in_group: u32,
    /// Columns of a row, for the importances; 0 where all are 1.
    pub columns: u32,
    /// Column of the first weight.
    pub first_column: u32,
    /// Levels: a power of two up to [`MOST_LEVELS`].
    pub levels: u32,
    /// Power of two that brings the scales to about 1 before they are squared.
    pub factor: f32,
}
layout!(Params { count, per_workgroup, group, first_in_group, columns, first_column, levels, factor });

/// Most levels of a codebook.
pub const MOST_LEVELS: usize = 16;
/// Largest difference of a sum between devices, relative to the sum of the absolute values of its terms.
pub const TOLERANCE: f64 = 1e-5;

const LEAST_SCALE: f32 = 1.0 / (1u64 << 60) as f32;
const LEAST: f32 = LEAST_SCALE / (1u64 << 40) as f32;

/// What each level has been given; adding two runs adds their fields.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Weights that are nearest to it.
    pub counts: [u64; MOST_LEVELS],
    /// Σ importance·s².
    pub weights: [f64; MOST_LEVELS],
    /// Σ importance·s·v.
    pub sums: [f64; MOST_LEVELS],
}

impl std::ops::AddAssign<&Self> for Tally {
    fn add_assign(&mut self, other: &Self) {
        for k in 0..MOST_LEVELS {
            self.counts[k] += other.counts[k];
            self.weights[k] += other.weights[k];
            self.sums[k] += other.sums[k];
        }
    }
}

impl Tally {
    /// The level that is best for what level k was given; None where that weighs nothing.
    pub fn level(&self, k: usize) -> Option<f32> {
        (self.weights[k] > 0.0).then(|| (self.sums[k] / self.weights[k]) as f32)
    }
}

/// Between each two of the levels, which rise.
pub fn boundaries(levels: &[f32]) -> Vec<f32> {
    let middle = |pair: &[f32]| 0.5 * (pair[0] + pair[1]);
    levels.windows(2).map(middle).map(|m| if m.abs() < LEAST_SCALE { 0.0 } else { m }).collect()
}

/// Weights whose place is `first` in the tensor: `scales` has one value a group of the whole tensor, `importance` one a column (empty: all 1).
#[inline(always)]
pub fn tally(values: &[f32], first: usize, scales: &[f32], group: usize, importance: &[f32], boundaries: &[f32]) -> Tally {
    let mut tally = Tally::default();
    for (i, &value) in (first..).zip(values) {
        let scale = scales[i / group];
        if !value.is_finite() || scale < LEAST_SCALE || scale.is_nan() {
            continue;
        }
        let value = if value.abs() < LEAST { 0.0 } else { value };
        let level = boundaries.partition_point(|m| value >= m * scale);
        let importance = if importance.is_empty() { 1.0 } else { f64::from(importance[i % importance.len()]) };
        let (v, s) = (f64::from(value), f64::from(scale));
        tally.counts[level] += 1;
        tally.weights[level] += importance * s * s;
        tally.sums[level] += importance * s * v;
    }
    tally
}
