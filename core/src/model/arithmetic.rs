//! What a runtime does to the numbers that enter a matrix product: nothing, or a rounding to the type its kernels multiply with.
//!
//! The roundings are those of ggml's CPU kernels: a weight of a block type is never multiplied with floats, but with activations rounded
//! to 8-bit blocks (Q8_0 and Q8_1 of 32, Q8_K of 256 along the row). Invariant: `F32` leaves every bit alone.

use half::{bf16, f16};
use halftone_shaders::twin::round_inputs::Rounding;
use rayon::prelude::*;

/// How the input of a linear (or a cached key or value) is represented when it is multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// As it is.
    #[default]
    F32,
    /// As it is, but the product is summed in two halves that are added: the same value in another order of sums.
    HalvedSums,
    /// Rounded to half precision; beyond ±65504 it becomes infinite, as in the runtime.
    F16,
    /// Rounded to bfloat16.
    Bf16,
    /// Blocks of 32: round(127·x/max|x|) steps of an f16 scale.
    Q8_0,
    /// Blocks of 256: steps of an f32 scale whose sign is such that the largest value becomes −127.
    Q8K,
}

impl Arithmetic {
    /// What a device rounds to.
    pub(super) fn rounding(self) -> Option<Rounding> {
        match self {
            Self::F32 | Self::HalvedSums => None,
            Self::F16 => Some(Rounding::F16),
            Self::Bf16 => Some(Rounding::Bf16),
            Self::Q8_0 => Some(Rounding::Q8_0),
            Self::Q8K => Some(Rounding::Q8K),
        }
    }

    /// Replaces rows of `columns` values by what the runtime multiplies with. Blocks do not cross rows; `columns` is a whole number of them.
    pub(crate) fn round(self, x: &mut [f32], columns: usize) {
        match self {
            Self::F32 | Self::HalvedSums => {}
            Self::F16 => each(x, columns, |x| x.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32())),
            Self::Bf16 => each(x, columns, |x| x.iter_mut().for_each(|v| *v = bf16::from_f32(*v).to_f32())),
            Self::Q8_0 => each(x, columns, |row| row.chunks_mut(32).for_each(round_q8_0)),
            Self::Q8K => each(x, columns, |row| row.chunks_mut(256).for_each(round_q8_k)),
        }
    }
}

fn each(x: &mut [f32], columns: usize, f: impl Fn(&mut [f32]) + Send + Sync) {
    x.par_chunks_mut(columns.max(1)).for_each(f);
}

fn largest(block: &[f32]) -> f32 {
    let mut largest = 0.0f32;
    for &v in block {
        if v.abs() > largest.abs() {
            largest = v;
        }
    }
    largest
}

fn round_q8_0(block: &mut [f32]) {
    let max = largest(block).abs();
    if max == 0.0 {
        return;
    }
    // The codes come from the unrounded scale, the values from the stored one.
    let (steps, scale) = (127.0 / max, f16::from_f32(max / 127.0).to_f32());
    for v in block {
        *v = (*v * steps).round_ties_even() * scale;
    }
}

fn round_q8_k(block: &mut [f32]) {
    let max = largest(block);
    if max == 0.0 {
        return;
    }
    let steps = -127.0 / max;
    let scale = 1.0 / steps;
    for v in block {
        *v = (*v * steps).round_ties_even().min(127.0) * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: usize) -> Vec<f32> {
        (0..columns).map(|i| ((i * 7919) % 1013) as f32 / 300.0 - 1.5).collect()
    }

    #[test]
    fn blocks_keep_their_largest_value_and_err_at_most_half_a_step() {
        for (arithmetic, block) in [(Arithmetic::Q8_0, 32), (Arithmetic::Q8K, 256)] {
            let (mut x, original) = (row(512), row(512));
            arithmetic.round(&mut x, 512);
            for (x, original) in x.chunks(block).zip(original.chunks(block)) {
                let max = largest(original).abs();
                for (&x, &original) in x.iter().zip(original) {
                    // The f16 scale is off by up to 2⁻¹¹.
                    assert!((x - original).abs() <= max * (0.5 / 127.0 + 5e-4), "{arithmetic:?}: {original} became {x}");
                }
                assert!(x.iter().zip(original).any(|(a, b)| a != b), "{arithmetic:?} rounds");
            }
        }
    }

    #[test]
    fn f32_changes_no_bit_and_zeros_stay() {
        let mut x = row(64);
        Arithmetic::F32.round(&mut x, 64);
        assert_eq!(x, row(64), "bits");
        let mut zeros = vec![0.0; 256];
        Arithmetic::Q8_0.round(&mut zeros, 256);
        Arithmetic::Q8K.round(&mut zeros, 256);
        assert_eq!(zeros, vec![0.0; 256], "no division by nothing");
    }
}
