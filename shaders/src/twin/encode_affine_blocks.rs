//! Blocks of 32 with half-precision scale and offset, ŵ = d·q + m, q in 0 ..= HIGH: Q4_1, Q5_1. The search finds the (d, m) that minimise
//! Σ w·(ŵ − x)² with codes rounded to nearest.
//!
//! Starts with sixteen ways of cutting the range at both ends, alternates rounding with weighted least squares, then measures the
//! neighbours of the best with the half-precision numbers that are stored; the plain min–max scale is always among those measured.

pub use crate::blocks::Params;
use crate::blocks::{BlockEncoder, put_five_bits, put_half, put_nibbles};
use crate::lanes::{LANES, LEAST, Lanes, TINY, array, clean, fold, max, min, ratio, reciprocal, smallest, to_half, whole};
use crate::levels::{Integers, Levels};
use std::ops::Add;

/// Weighted sums over a block that do not depend on the codes.
#[derive(Debug)]
pub struct Moments {
    /// Σ w.
    pub weight: f32,
    /// Σ w·x / Σ w.
    pub mean: f32,
    /// Smallest and largest x.
    pub range: (f32, f32),
}

impl Moments {
    /// Of a block.
    #[inline(always)]
    pub fn new<const N: usize>(x: &[f32; N], w: &[f32; N]) -> Self {
        let weighted: [f32; N] = array(|i| w[i] * x[i]);
        let (weight, sum) = (fold(w, 0.0, f32::add), fold(&weighted, 0.0, f32::add));
        Self { weight, mean: clean(sum / weight), range: (fold(x, x[0], min), fold(x, x[0], max)) }
    }
}

/// Sixteen candidates for ŵ = d·q + m.
#[derive(Clone, Copy, Debug)]
pub struct Affine {
    /// Scales.
    pub d: Lanes,
    /// Offsets.
    pub m: Lanes,
}

impl Affine {
    /// Fits d and m by least squares to the codes that each candidate gives; returns also the losses, up to a constant.
    #[inline(always)]
    pub fn refitted<const HIGH: i32, const N: usize>(&self, x: &[f32; N], w: &[f32; N], moments: &Moments) -> (Self, Lanes) {
        let inverse: Lanes = array(|c| reciprocal(self.d[c]));
        let (mut wq, mut wqq, mut wxq) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for i in 0..N {
            let (w, x, centred) = (w[i], x[i], w[i] * (x[i] - moments.mean));
            for c in 0..LANES {
                let q = Integers::<0, HIGH>::nearest((x - self.m[c]) * inverse[c]);
                wq[c] += w * q;
                wqq[c] += w * q * q;
                wxq[c] += centred * q;
            }
        }
        let d: Lanes = array(|c| ratio(wxq[c], wqq[c] - wq[c] * wq[c] / moments.weight));
        let m = array(|c| moments.mean - d[c] * wq[c] / moments.weight);
        let losses = array(|c| -(LEAST + d[c] * wxq[c]));
        (Self { d, m }, losses)
    }

    /// Σ w·(x − ŵ)² of each candidate as it is.
    #[inline(always)]
    pub fn errors<const HIGH: i32, const N: usize>(&self, x: &[f32; N], w: &[f32; N]) -> Lanes {
        let inverse: Lanes = array(|c| reciprocal(self.d[c]));
        let mut error = [LEAST; LANES];
        for i in 0..N {
            let (x, w) = (x[i], w[i]);
            for c in 0..LANES {
                let q = Integers::<0, HIGH>::nearest((x - self.m[c]) * inverse[c]);
                let r = x - (self.d[c] * q + self.m[c]);
                error[c] += w * (r * r);
            }
        }
        whole(error)
    }
}

/// The shares of the range that an affine search cuts off at each end, four in all pairs.
#[derive(Debug)]
pub struct Cuts([f32; 4]);

impl Cuts {
    /// For two bits.
    pub const TWO_BITS: Self = Self([-0.02, 0.05, 0.12, 0.2]);
    /// For four bits.
    pub const FOUR_BITS: Self = Self([-0.02, 0.03, 0.08, 0.14]);
    /// For five bits.
    pub const FIVE_BITS: Self = Self([-0.01, 0.01, 0.03, 0.06]);
}

/// The best real (d, m) for x ≈ d·q + m, q in 0 ..= `HIGH`.
#[inline(always)]
pub fn best_affine<const HIGH: i32, const N: usize>(x: &[f32; N], w: &[f32; N], moments: &Moments, cuts: &Cuts) -> (f32, f32) {
    let (low, high) = moments.range;
    let width = high - low;
    let m: Lanes = array(|c| low + cuts.0[c % 4] * width);
    let d = array(|c| (high - cuts.0[c / 4] * width - m[c]) / HIGH as f32);
    let (fitted, _) = Affine { d, m }.refitted::<HIGH, N>(x, w, moments);
    let (fitted, losses) = fitted.refitted::<HIGH, N>(x, w, moments);
    let c = smallest(&losses);
    (fitted.d[c], fitted.m[c])
}

/// The best half-precision (d, m) for ŵ = d·q + m, q in 0 ..= `HIGH`.
#[inline(always)]
pub fn fit_affine<const HIGH: i32, const N: usize>(x: &[f32; N], w: &[f32; N], cuts: &Cuts) -> (f32, f32) {
    let moments = Moments::new(x, w);
    let (low, high) = moments.range;
    if low.abs().max(high.abs()) < TINY {
        return (0.0, 0.0);
    }
    let (width, levels) = (high - low, HIGH as f32);
    let (d, m) = best_affine::<HIGH, N>(x, w, &moments, cuts);
    // The neighbours of the best, and the plain one, by the error they really make. Turning the line about its middle keeps the fit.
    let middle = 0.5 * levels;
    let (turn, shift) = (|c: usize| (c % 4) as f32 - 1.0, |c: usize| (c / 4) as f32 - 1.5);
    let mut ds: Lanes = array(|c| to_half(d * (1.0 + turn(c) * 0.15 / levels)));
    let mut ms: Lanes = array(|c| to_half(m + middle * (d - ds[c]) + shift(c) * 0.08 * d));
    (ds[0], ms[0]) = (to_half(width / levels), to_half(low));
    (ds[4], ms[4]) = (to_half(d), to_half(m));
    let near = Affine { d: whole(ds), m: whole(ms) };
    let c = smallest(&near.errors::<HIGH, N>(x, w));
    (near.d[c], near.m[c])
}

/// Codes of x ≈ d·q + m.
#[inline(always)]
fn codes<const HIGH: i32>(x: &[f32; 32], d: f32, m: f32) -> [u8; 32] {
    let inverse = reciprocal(d);
    array(|j| Integers::<0, HIGH>::nearest((x[j] - m) * inverse) as u8)
}

/// Q4_1.
#[derive(Debug)]
pub struct Q4_1;

impl BlockEncoder<32, 20> for Q4_1 {
    #[inline(always)]
    fn encode(x: &[f32; 32], w: &[f32; 32], block: &mut [u8; 20]) {
        let (d, m) = fit_affine::<15, 32>(x, w, &Cuts::FOUR_BITS);
        put_half(block, 0, d);
        put_half(block, 2, m);
        put_nibbles(&mut block[4..], &codes::<15>(x, d, m));
    }
}

/// Q5_1.
#[derive(Debug)]
pub struct Q5_1;

impl BlockEncoder<32, 24> for Q5_1 {
    #[inline(always)]
    fn encode(x: &[f32; 32], w: &[f32; 32], block: &mut [u8; 24]) {
        let (d, m) = fit_affine::<31, 32>(x, w, &Cuts::FIVE_BITS);
        put_half(block, 0, d);
        put_half(block, 2, m);
        put_five_bits(&mut block[4..], &codes::<31>(x, d, m));
    }
}
