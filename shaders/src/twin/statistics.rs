//! Histogram, power sums and counts of a run of values.
//!
//! Bins are equal parts of [−absmax, absmax], lower edge included; values outside fall into the end bins. Which bin a value is in
//! follows from integer comparison with the [`edges`], which the host computes once for every device: the counts are equal everywhere.
//! The sums Σx … Σx⁴ are of the finite values in f64 here; a GPU sums tiles in f32 and must come within [`TOLERANCE`] of Σ|x|ᵏ.
//! Extremes are not here: the host needs them before it knows the bins.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `statistics.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// Values of this dispatch.
    pub count: u32,
    /// Values each workgroup sums: a multiple of its 256 threads.
    pub per_workgroup: u32,
    /// Power of two that brings the values into [−2, 2] before powers are taken.
    pub scale: f32,
    /// Nothing.
    pub padding: u32,
}
layout!(Params { count, per_workgroup, scale, padding });

/// Number of bins.
pub const BINS: usize = 128;
/// Largest difference of a power sum between devices, relative to the sum of the absolute values.
pub const TOLERANCE: f64 = 1e-5;

/// What is known of a run of values; adding two runs adds their fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// Counts of the bins.
    pub histogram: [u64; BINS],
    /// Σx, Σx², Σx³, Σx⁴ of the finite values.
    pub powers: [f64; 4],
    /// Finite values.
    pub finite: u64,
    /// NaN and infinite values.
    pub non_finite: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { histogram: [0; BINS], powers: [0.0; 4], finite: 0, non_finite: 0 }
    }
}

impl std::ops::AddAssign<&Self> for Tally {
    fn add_assign(&mut self, other: &Self) {
        for (sum, more) in self.histogram.iter_mut().zip(other.histogram) {
            *sum += more;
        }
        for (sum, more) in self.powers.iter_mut().zip(other.powers) {
            *sum += more;
        }
        self.finite += other.finite;
        self.non_finite += other.non_finite;
    }
}

/// The lower edge of every bin as ordered keys, the first being the key of everything; see [`key`]. A range of 0 (or one that is no
/// range) is taken as the smallest normal number, so that zeros lie in the middle.
pub fn edges(absmax: f32) -> [u32; BINS] {
    let range = if absmax.is_finite() && absmax > 0.0 { absmax } else { f32::MIN_POSITIVE };
    std::array::from_fn(|k| if k == 0 { 0 } else { key(range * ((k as f32 - 64.0) / 64.0)) })
}

/// Maps a float to an integer of the same order; −0 and 0 are one.
#[inline(always)]
pub fn key(value: f32) -> u32 {
    let bits = if value == 0.0 { 0 } else { value.to_bits() };
    if bits >> 31 == 0 { bits | 0x8000_0000 } else { !bits }
}

/// Counts and sums `values`.
#[inline(always)]
pub fn tally(values: &[f32], absmax: f32) -> Tally {
    let edges = edges(absmax);
    let to_bins = 64.0 / absmax;
    let mut tally = Tally::default();
    for &value in values {
        if !value.is_finite() {
            tally.non_finite += 1;
            continue;
        }
        tally.finite += 1;
        // The float only proposes; the edges decide.
        let mut bin = ((value * to_bins + 64.0) as usize).min(BINS - 1);
        let key = key(value);
        while key < edges[bin] {
            bin -= 1;
        }
        while bin + 1 < BINS && key >= edges[bin + 1] {
            bin += 1;
        }
        tally.histogram[bin] += 1;
        let x = f64::from(value);
        let square = x * x;
        tally.powers[0] += x;
        tally.powers[1] += square;
        tally.powers[2] += square * x;
        tally.powers[3] += square * square;
    }
    tally
}
