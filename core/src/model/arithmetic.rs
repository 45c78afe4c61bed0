//! What a runtime does to the numbers that enter a matrix product: nothing, or a rounding to the type its kernels multiply with.
//!
//! The roundings are those of ggml's CPU kernels: a weight of a block type is never multiplied with floats, but with activations rounded
//! to 8-bit blocks (Q8_0 and Q8_1 of 32, Q8_K of 256 along the row). Invariant: `F32` leaves every bit alone.

use halftone_shaders::twin::round_inputs::{Rounding, round_inputs};
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
    /// What the inputs are rounded to.
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
        let Some(rounding) = self.rounding() else { return };
        x.par_chunks_mut(columns.max(1)).for_each(|row| round_inputs(rounding, row, columns.max(1)));
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
                let max = original.iter().fold(0.0f32, |max, v| max.max(v.abs()));
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
