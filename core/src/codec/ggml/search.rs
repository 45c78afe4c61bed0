//! Scale searches for one block: the d (and m) that minimise Σ w·(ŵ − x)² with codes rounded to nearest.
//!
//! The error as a function of the scale is rough: every candidate is a fresh draw of the rounding errors, so many are tried, and the best
//! is polished by weighted least squares of the scale (codes fixed) and its neighbours. What counts at the end is the error measured with
//! the half-precision scale that is stored; the plain absmax (or min–max) scale is always among those measured.

use super::levels::{Integers, LANES, Lanes, Levels, errors, products, reciprocal, smallest, to_half};

/// Below this largest magnitude a block is zero: no half-precision scale can hold it.
const TINY: f32 = 1e-12;

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
    far: [Lanes; 2],
}

impl Reach {
    /// `low..high` for equal importances, twice as far out on both sides for others.
    pub(super) const fn new(low: f32, high: f32) -> Self {
        let width = high - low;
        Self { near: spread(low, high), far: [spread(low - width, low), spread(high, high + 2.0 * width)] }
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
        attempt(&reach.far[0]);
        attempt(&reach.far[1]);
    }
    // The neighbours of the best scale, and the plain ones, by the error they really make.
    let step = (reach.near[1] - reach.near[0]) / 8.0;
    let mut candidates: Lanes = std::array::from_fn(|c| to_half(best.1 * (1.0 + step * (c as f32 - 8.0))));
    candidates[0] = to_half(extreme / low);
    candidates[1] = to_half(extreme / high);
    candidates[smallest(&errors::<L, N>(x, w, &candidates))]
}

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
        let (mut weight, mut sum) = (0.0, 0.0);
        let (mut low, mut high) = (x[0], x[0]);
        for i in 0..N {
            weight += w[i];
            sum += w[i] * x[i];
            low = if x[i] < low { x[i] } else { low };
            high = if x[i] > high { x[i] } else { high };
        }
        Self { weight, mean: sum / weight, range: (low, high) }
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
        let inverse = self.d.map(reciprocal);
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
        let variance: Lanes = std::array::from_fn(|c| wqq[c] - wq[c] * wq[c] / moments.weight);
        let d: Lanes = std::array::from_fn(|c| if variance[c] > 0.0 { wxq[c] / variance[c] } else { 0.0 });
        let m = std::array::from_fn(|c| moments.mean - d[c] * wq[c] / moments.weight);
        let losses = std::array::from_fn(|c| -d[c] * wxq[c]);
        (Self { d, m }, losses)
    }

    /// Σ w·(x − ŵ)² of each candidate as it is.
    #[inline(always)]
    pub(super) fn errors<const HIGH: i32, const N: usize>(&self, x: &[f32; N], w: &[f32; N]) -> Lanes {
        let inverse = self.d.map(reciprocal);
        let mut error = [0.0; LANES];
        for i in 0..N {
            let (x, w) = (x[i], w[i]);
            for c in 0..LANES {
                let q = Integers::<0, HIGH>::nearest((x - self.m[c]) * inverse[c]);
                let r = x - (self.d[c] * q + self.m[c]);
                error[c] += w * (r * r);
            }
        }
        error
    }
}

/// The best half-precision (d, m) for ŵ = d·q + m, q in 0 ..= `HIGH`.
#[inline(always)]
pub(super) fn fit_affine<const HIGH: i32, const N: usize>(x: &[f32; N], w: &[f32; N], cuts: &[[f32; 4]]) -> (f32, f32) {
    let moments = Moments::new(x, w);
    let (low, high) = moments.range;
    if low.abs().max(high.abs()) < TINY {
        return (0.0, 0.0);
    }
    let width = high - low;
    let levels = HIGH as f32;
    let mut best = (f32::INFINITY, width / levels, low);
    for cut in cuts {
        let m: Lanes = std::array::from_fn(|c| low + cut[c % 4] * width);
        let d = std::array::from_fn(|c| (high - cut[c / 4] * width - m[c]) / levels);
        let (fitted, _) = Affine { d, m }.refitted::<HIGH, N>(x, w, &moments);
        let (fitted, losses) = fitted.refitted::<HIGH, N>(x, w, &moments);
        let c = smallest(&losses);
        if losses[c] < best.0 {
            best = (losses[c], fitted.d[c], fitted.m[c]);
        }
    }
    // The neighbours of the best, and the plain one, by the error they really make. Turning the line about its middle keeps the fit.
    let middle = 0.5 * levels;
    let mut near = Affine { d: [0.0; LANES], m: [0.0; LANES] };
    for c in 0..LANES {
        let (turn, shift) = ((c % 4) as f32 - 1.0, (c / 4) as f32 - 1.5);
        near.d[c] = to_half(best.1 * (1.0 + turn * 0.15 / levels));
        near.m[c] = to_half(best.2 + middle * (best.1 - near.d[c]) + shift * 0.08 * best.1);
    }
    let plain = to_half(width / levels);
    (near.d[0], near.m[0]) = (plain, to_half(low));
    (near.d[4], near.m[4]) = (to_half(best.1), to_half(best.2));
    let c = smallest(&near.errors::<HIGH, N>(x, w));
    (near.d[c], near.m[c])
}
