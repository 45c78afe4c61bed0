//! Scale searches for one block: the d (and m) that minimise Σ w·(ŵ − x)² with codes rounded to nearest.
//!
//! The error as a function of the scale is rough: every candidate is a fresh draw of the rounding errors, so many are tried, and the best
//! is polished by weighted least squares of the scale (codes fixed) and its neighbours. What counts at the end is the error measured with
//! the half-precision scale that is stored; the plain absmax (or min–max) scale is always among those measured.

use super::levels::{Affine, LANES, Lanes, Levels, Moments, errors, products, smallest, to_half};

/// Below this largest magnitude a block is zero: no half-precision scale can hold it.
pub(super) const TINY: f32 = 1e-12;

/// The value of largest magnitude, with its sign.
#[inline(always)]
pub(super) fn extreme<const N: usize>(x: &[f32; N]) -> f32 {
    let (mut low, mut high) = (0.0f32, 0.0f32);
    for &v in x {
        low = if v < low { v } else { low };
        high = if v > high { v } else { high };
    }
    if high > -low { high } else { low }
}

/// Factors on 1/d that a search tries: evenly spaced, 1 being the plain scale. Below 1 the grid is wider than the block, above 1 it is clipped.
pub(super) const fn spread(low: f32, high: f32) -> Lanes {
    let mut factors = [0.0; LANES];
    let mut i = 0;
    while i < LANES {
        factors[i] = low + (high - low) * i as f32 / (LANES - 1) as f32;
        i += 1;
    }
    factors
}

/// The factors on 1/d that a one-scale search tries.
pub(super) struct Reach {
    /// Enough when all weights count alike.
    near: Lanes,
    /// Tried too where importances differ: the largest weight may then be worth clipping, or the smallest worth most of the levels.
    far: Lanes,
}

impl Reach {
    /// `low..high` for equal importances; for others six more below, ten more above, as far apart again.
    pub(super) const fn new(low: f32, high: f32) -> Self {
        let mut far = [0.0; LANES];
        let step = (high - low) / 6.0;
        let mut i = 0;
        while i < LANES {
            far[i] = if i < 6 { low - step * (i + 1) as f32 } else { high + step * (i - 5) as f32 };
            i += 1;
        }
        Self { near: spread(low, high), far }
    }
}

/// Whether all importances are the same.
#[inline(always)]
pub(super) fn is_flat<const N: usize>(w: &[f32; N]) -> bool {
    w.iter().all(|&v| v == w[0])
}

/// The best half-precision d for ŵ = d·level; 0 for a block of zeros.
#[inline(always)]
pub(super) fn fit_scale<L: Levels, const N: usize>(x: &[f32; N], w: &[f32; N], reach: &Reach) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < TINY {
        return 0.0;
    }
    let (low, high) = L::ENDS;
    let mut best = (f32::INFINITY, 0.0);
    let mut attempt = |factors: &Lanes| {
        for end in [low, high] {
            let inverse = factors.map(|factor| factor * (end / extreme));
            let (xv, vv) = products::<L, N>(x, w, &inverse);
            let losses = std::array::from_fn(|c| -xv[c] * xv[c] / vv[c]);
            let c = smallest(&losses);
            if losses[c] < best.0 {
                best = (losses[c], xv[c] / vv[c]);
            }
        }
    };
    attempt(&reach.near);
    if !is_flat(w) {
        attempt(&reach.far);
    }
    // The neighbours of the best scale, and the plain ones, by the error they really make.
    let step = (reach.near[1] - reach.near[0]) / 8.0;
    let mut candidates: Lanes = std::array::from_fn(|c| to_half(best.1 * (1.0 + step * (c as f32 - 8.0))));
    candidates[0] = to_half(extreme / low);
    candidates[1] = to_half(extreme / high);
    candidates[smallest(&errors::<L, N>(x, w, &candidates))]
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
    let m: Lanes = std::array::from_fn(|c| low + cuts.0[c % 4] * width);
    let d = std::array::from_fn(|c| (high - cuts.0[c / 4] * width - m[c]) / HIGH as f32);
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
    let mut near = Affine { d: [0.0; LANES], m: [0.0; LANES] };
    for c in 0..LANES {
        let (turn, shift) = ((c % 4) as f32 - 1.0, (c / 4) as f32 - 1.5);
        near.d[c] = to_half(d * (1.0 + turn * 0.15 / levels));
        near.m[c] = to_half(m + middle * (d - near.d[c]) + shift * 0.08 * d);
    }
    let plain = to_half(width / levels);
    (near.d[0], near.m[0]) = (plain, to_half(low));
    (near.d[4], near.m[4]) = (to_half(d), to_half(m));
    let c = smallest(&near.errors::<HIGH, N>(x, w));
    (near.d[c], near.m[c])
}
