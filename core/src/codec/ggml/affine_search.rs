//! Scale and offset search for ŵ = d·q + m, q in 0 ..= HIGH: the (d, m) that minimise Σ w·(ŵ − x)² with codes rounded to nearest.
//!
//! Starts with sixteen ways of cutting the range at both ends, alternates rounding with weighted least squares, then measures the
//! neighbours of the best with the half-precision numbers that are stored; the plain min–max scale is always among those measured.

use super::levels::{Integers, Levels};
use crate::codec::lanes::{LANES, Lanes, TINY, array, fold, max, min, reciprocal, smallest, to_half, whole};
use std::ops::Add;

/// Weighted sums over a block that do not depend on the codes.
pub(super) struct Moments {
    /// Σ w.
    pub(super) weight: f32,
    /// Σ w·x / Σ w.
    pub(super) mean: f32,
    /// Smallest and largest x.
    pub(super) range: (f32, f32),
}

impl Moments {
    #[inline(always)]
    pub(super) fn new<const N: usize>(x: &[f32; N], w: &[f32; N]) -> Self {
        let weighted: [f32; N] = array(|i| w[i] * x[i]);
        let (weight, sum) = (fold(w, 0.0, f32::add), fold(&weighted, 0.0, f32::add));
        Self { weight, mean: sum / weight, range: (fold(x, x[0], min), fold(x, x[0], max)) }
    }
}

/// Sixteen candidates for ŵ = d·q + m.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub(super) d: Lanes,
    pub(super) m: Lanes,
}

impl Affine {
    /// Fits d and m by least squares to the codes that each candidate gives; returns also the losses, up to a constant.
    #[inline(always)]
    pub(super) fn refitted<const HIGH: i32, const N: usize>(&self, x: &[f32; N], w: &[f32; N], moments: &Moments) -> (Self, Lanes) {
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
        let variance: Lanes = array(|c| wqq[c] - wq[c] * wq[c] / moments.weight);
        let d: Lanes = array(|c| if variance[c] > 0.0 { wxq[c] / variance[c] } else { 0.0 });
        let m = array(|c| moments.mean - d[c] * wq[c] / moments.weight);
        let losses = array(|c| -d[c] * wxq[c]);
        (Self { d, m }, losses)
    }

    /// Σ w·(x − ŵ)² of each candidate as it is.
    #[inline(always)]
    pub(super) fn errors<const HIGH: i32, const N: usize>(&self, x: &[f32; N], w: &[f32; N]) -> Lanes {
        let inverse: Lanes = array(|c| reciprocal(self.d[c]));
        let mut error = [0.0; LANES];
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
pub(super) struct Cuts([f32; 4]);

impl Cuts {
    pub(super) const TWO_BITS: Self = Self([-0.02, 0.05, 0.12, 0.2]);
    pub(super) const FOUR_BITS: Self = Self([-0.02, 0.03, 0.08, 0.14]);
    pub(super) const FIVE_BITS: Self = Self([-0.01, 0.01, 0.03, 0.06]);
}

/// The best real (d, m) for x ≈ d·q + m, q in 0 ..= `HIGH`.
#[inline(always)]
pub(super) fn best_affine<const HIGH: i32, const N: usize>(x: &[f32; N], w: &[f32; N], moments: &Moments, cuts: &Cuts) -> (f32, f32) {
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
pub(super) fn fit_affine<const HIGH: i32, const N: usize>(x: &[f32; N], w: &[f32; N], cuts: &Cuts) -> (f32, f32) {
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
