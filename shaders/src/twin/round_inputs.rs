//! The inputs of a product as a runtime's kernels round them: to half precision, to bfloat16, or to 8-bit blocks along the row.
//!
//! Halves and bfloats are equal on every device. Steps of a block come from a division, which devices may round differently: a value may
//! then fall on the other side of a tie, one step away, and a step may differ by [`TOLERANCE`].

use crate::params::layout;
use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};

/// Parameters of `round_inputs.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Params {
    /// Rows.
    pub rows: u32,
    /// Columns of a row.
    pub columns: u32,
    /// As [`Rounding`] has it.
    pub rounding: u32,
    /// Not used.
    pub padding: u32,
}
layout!(Params { rows, columns, rounding, padding });

/// Largest relative difference of a step between devices.
pub const TOLERANCE: f64 = 1e-3;

/// To what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Half precision; beyond ±65504 infinite.
    F16,
    /// bfloat16.
    Bf16,
    /// Blocks of 32: round(127·x/max|x|) steps of an f16 scale.
    Q8_0,
    /// Blocks of 256: steps of an f32 scale whose sign is such that the largest value becomes −127.
    Q8K,
}

impl Rounding {
    /// The number it has in [`Params::rounding`].
    pub const fn number(self) -> u32 {
        match self {
            Self::F16 => 0,
            Self::Bf16 => 1,
            Self::Q8_0 => 2,
            Self::Q8K => 3,
        }
    }
}

/// Rounds rows of `columns`; a block does not cross rows.
pub fn round_inputs(rounding: Rounding, x: &mut [f32], columns: usize) {
    for row in x.chunks_mut(columns) {
        match rounding {
            Rounding::F16 => row.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32()),
            Rounding::Bf16 => row.iter_mut().for_each(|v| *v = bf16::from_f32(*v).to_f32()),
            Rounding::Q8_0 => row.chunks_mut(32).for_each(|block| {
                let size = largest(block).abs();
                steps(block, 127.0 / size, f16::from_f32(size / 127.0).to_f32());
            }),
            Rounding::Q8K => row.chunks_mut(256).for_each(|block| {
                let inverse = -127.0 / largest(block);
                steps(block, inverse, 1.0 / inverse);
            }),
        }
    }
}

/// The value furthest from zero, of several the first.
fn largest(block: &[f32]) -> f32 {
    block.iter().fold(0.0, |m: f32, &v| if v.abs() > m.abs() { v } else { m })
}

fn steps(block: &mut [f32], inverse: f32, step: f32) {
    // Zeros alone have an infinite inverse and stay.
    if inverse.is_finite() {
        block.iter_mut().for_each(|v| *v = (*v * inverse).round_ties_even().min(127.0) * step);
    }
}
