//! Orthogonal maps of a row of channels, x ← x·R, applied in n·(b + log n) operations and in double precision.
//!
//! R is a randomised Hadamard matrix (QuIP#, § 3; QuaRot, § 3): the signs of the channels are drawn, then the row is multiplied with
//! H_{2^k} ⊗ B / √n, where B is the smallest base with n = 2^k·b ([`super::hadamard`]). Where n has no such base, B is a seeded random
//! orthogonal matrix of the odd part of n. Invariant: orthogonal to the precision of f64, so that rows keep their length to that of f32; a
//! GPU ([`crate::compute::KernelCall::Rotate`]) computes in f32 and stays within the tolerance of `halftone_shaders::twin::hadamard`.

use super::hadamard::{base_order, hadamard};
use halftone_shaders::twin::hadamard::hadamard as butterflies;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// An orthogonal matrix R of `size × size`.
#[derive(Clone, Debug)]
pub struct Rotation {
    size: usize,
    /// B, orthonormal rows, the first one constant.
    base: Vec<f64>,
    base_size: usize,
    is_hadamard: bool,
    /// ±1 of each channel.
    signs: Vec<f64>,
    fixes_mean: bool,
}

impl Rotation {
    /// A rotation of rows of `size` channels; equal seeds give equal matrices, streams of one seed are independent.
    pub fn new(size: usize, seed: u64, stream: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(stream);
        let signs = (0..size).map(|_| if random.random::<bool>() { 1.0 } else { -1.0 }).collect();
        let order = base_order(size);
        let base_size = order.unwrap_or_else(|| size >> size.trailing_zeros().min(63)).max(1);
        let base = match order.and_then(hadamard) {
            Some(matrix) => matrix.iter().map(|v| f64::from(*v) / (base_size as f64).sqrt()).collect(),
            None => orthogonal(base_size, &mut random),
        };
        Self { size, base, base_size, is_hadamard: order.is_some(), signs, fixes_mean: false }
    }

    /// As [`Self::new`], and the mean of a row and the row of ones stay what they are, so that a LayerNorm commutes with it:
    /// R = Mᵀ·D·M of the Hadamard matrix M, whose first row is constant, and signs D whose first is positive.
    pub fn fixing_mean(size: usize, seed: u64, stream: u64) -> Self {
        let mut rotation = Self { fixes_mean: true, ..Self::new(size, seed, stream) };
        if let Some(first) = rotation.signs.first_mut() {
            *first = 1.0;
        }
        rotation
    }

    /// Channels of a row.
    pub fn size(&self) -> usize {
        self.size
    }

    /// What it is made of, for a person.
    pub fn describe(&self) -> String {
        let kind = if self.is_hadamard { "Hadamard" } else { "random" };
        format!("{}×{} {kind}", self.size / self.base_size.max(1), self.base_size)
    }

    /// B, row by row, orthonormal.
    pub(crate) fn base(&self) -> &[f64] {
        &self.base
    }

    /// Rows of B: the row of channels is a power of two of them.
    pub(crate) fn base_size(&self) -> usize {
        self.base_size
    }

    /// ±1 of each channel.
    pub(crate) fn signs(&self) -> &[f64] {
        &self.signs
    }

    /// Whether a row is multiplied by (H ⊗ B)ᵀ before the signs.
    pub(crate) fn fixes_mean(&self) -> bool {
        self.fixes_mean
    }

    /// Replaces each of the rows, `size` values long, by its product with R.
    pub fn apply(&self, rows: &mut [f32]) {
        let chunk = (65_536 / self.size.max(1)).max(1) * self.size.max(1);
        rows.par_chunks_mut(chunk).for_each(|rows| {
            let (mut x, mut scratch) = (vec![0.0f64; self.size], vec![0.0f64; self.size]);
            for row in rows.chunks_exact_mut(self.size) {
                x.iter_mut().zip(row.iter()).for_each(|(x, v)| *x = f64::from(*v));
                self.turn(&mut x, &mut scratch);
                row.iter_mut().zip(&x).for_each(|(v, x)| *v = *x as f32);
            }
        });
    }

    fn turn(&self, x: &mut Vec<f64>, scratch: &mut Vec<f64>) {
        if self.fixes_mean {
            self.multiply(x, scratch, true);
        }
        x.iter_mut().zip(&self.signs).for_each(|(x, sign)| *x *= sign);
        self.multiply(x, scratch, false);
    }

    /// x ← x·(H ⊗ B), or with its transpose; H is symmetric.
    fn multiply(&self, x: &mut Vec<f64>, scratch: &mut Vec<f64>, transposed: bool) {
        let b = self.base_size;
        if b > 1 {
            for (row, out) in x.chunks_exact(b).zip(scratch.chunks_exact_mut(b)) {
                if transposed {
                    out.iter_mut().zip(self.base.chunks_exact(b)).for_each(|(out, base)| *out = row.iter().zip(base).map(|(x, m)| x * m).sum());
                    continue;
                }
                out.fill(0.0);
                for (x, base) in row.iter().zip(self.base.chunks_exact(b)) {
                    out.iter_mut().zip(base).for_each(|(out, m)| *out += x * m);
                }
            }
            std::mem::swap(x, scratch);
        }
        butterflies(x, self.size / b, b, (b as f64 / self.size as f64).sqrt());
    }
}

/// A random orthogonal matrix whose first row is constant: Gaussian rows, each made orthogonal to those before it, twice.
fn orthogonal(size: usize, random: &mut ChaCha8Rng) -> Vec<f64> {
    let mut rows: Vec<Vec<f64>> = vec![vec![1.0 / (size as f64).sqrt(); size]];
    while rows.len() < size {
        let mut row: Vec<f64> = (0..size).map(|_| gaussian(random)).collect();
        for _ in 0..2 {
            for earlier in &rows {
                let product: f64 = row.iter().zip(earlier).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(earlier).for_each(|(v, e)| *v -= product * e);
            }
        }
        let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        if length > 1e-6 {
            row.iter_mut().for_each(|v| *v /= length);
            rows.push(row);
        }
    }
    rows.concat()
}

/// Box and Muller's transform.
fn gaussian(random: &mut ChaCha8Rng) -> f64 {
    let (radius, angle): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R, row by row.
    fn matrix(rotation: &Rotation) -> Vec<f64> {
        let n = rotation.size();
        let mut out = Vec::with_capacity(n * n);
        for i in 0..n {
            let mut row = vec![0.0; n];
            row[i] = 1.0;
            rotation.turn(&mut row, &mut vec![0.0; n]);
            out.extend(row);
        }
        out
    }

    #[test]
    fn every_rotation_is_orthogonal_and_spreads_a_single_channel() {
        for size in [1, 4, 8, 9, 24, 32, 36, 72, 80, 96, 172, 576, 640] {
            for rotation in [Rotation::new(size, 3, 1), Rotation::fixing_mean(size, 3, 1)] {
                let r = matrix(&rotation);
                for (i, a) in r.chunks(size).enumerate() {
                    for (j, b) in r.chunks(size).enumerate().take(i + 1) {
                        let product: f64 = a.iter().zip(b).map(|(x, y)| x * y).sum();
                        assert!((product - f64::from(u8::from(i == j))).abs() < 1e-12, "{size}: rows {i} and {j} give {product}");
                    }
                }
                let largest = r.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                assert!(size < 64 || largest < 0.5, "{size}: an entry of {largest} leaves an outlier where it is");
            }
        }
    }

    #[test]
    fn a_hadamard_rotation_spreads_as_evenly_as_can_be() {
        for size in [64, 576, 640] {
            let want = 1.0 / (size as f64).sqrt();
            assert!(matrix(&Rotation::new(size, 1, 0)).iter().all(|v| (v.abs() - want).abs() < 1e-12), "{size}");
        }
    }

    #[test]
    fn a_rotation_that_fixes_the_mean_keeps_it() {
        for size in [8, 9, 36, 96] {
            let row: Vec<f32> = (0..size).map(|i| (i * i % 13) as f32 - 3.0).collect();
            let mean = |row: &[f32]| row.iter().sum::<f32>() / size as f32;
            let (mut fixed, mut free) = (row.clone(), row.clone());
            Rotation::fixing_mean(size, 5, 0).apply(&mut fixed);
            Rotation::new(size, 5, 0).apply(&mut free);
            assert!((mean(&fixed) - mean(&row)).abs() < 1e-5, "{size}: {} instead of {}", mean(&fixed), mean(&row));
            assert!((mean(&free) - mean(&row)).abs() > 1e-3, "{size}: any rotation would pass");
        }
    }

    #[test]
    fn seeds_and_streams_are_independent_and_repeatable() {
        let signs = |seed, stream| Rotation::new(64, seed, stream).signs;
        assert_eq!(signs(1, 2), signs(1, 2));
        assert_ne!(signs(1, 2), signs(2, 2));
        assert_ne!(signs(1, 2), signs(1, 3));
    }
}
