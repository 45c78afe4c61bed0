//! Scale search for ŵ = d·level: the d that minimises Σ w·(ŵ − x)² with codes rounded to nearest.
//!
//! The error as a function of the scale is rough: every candidate is a fresh draw of the rounding errors, so many are tried, each with its
//! own least-squares d, then the neighbours of the best. What counts at the end is the error measured with the half-precision scale that
//! is stored; the plain absmax scale is always among those measured.

use super::levels::Levels;
use crate::codec::lanes::{LANES, Lanes, TINY, array, fold, is_flat, max, min, reciprocal, smallest, spread, to_half, whole};
use std::ops::Add;

/// Σ w·x·v and Σ w·v² for the levels v nearest to x·inverse.
#[inline(always)]
pub(super) fn products<L: Levels, const N: usize>(x: &[f32; N], w: &[f32; N], inverse: &Lanes) -> (Lanes, Lanes) {
    let (mut xv, mut vv) = ([0.0; LANES], [0.0; LANES]);
    for i in 0..N {
        let (x, w) = (x[i], w[i]);
        let wx = w * x;
        for c in 0..LANES {
            let v = L::nearest(x * inverse[c]);
            xv[c] += wx * v;
            vv[c] += w * v * v;
        }
    }
    (xv, vv)
}

/// Σ w·(x − d·level)² with the nearest levels; d = 0 stands for zeros.
#[inline(always)]
pub(super) fn errors<L: Levels, const N: usize>(x: &[f32; N], w: &[f32; N], d: &Lanes) -> Lanes {
    let inverse: Lanes = array(|c| reciprocal(d[c]));
    let mut error = [0.0; LANES];
    for i in 0..N {
        let (x, w) = (x[i], w[i]);
        for c in 0..LANES {
            let r = x - d[c] * L::nearest(x * inverse[c]);
            error[c] += w * (r * r);
        }
    }
    whole(error)
}

/// Σ w·(x − d·level)² for one d, with the lanes over the weights: cheaper than [`errors`] where few candidates are worth a try.
#[inline(always)]
pub(super) fn error<L: Levels, const N: usize>(x: &[f32; N], w: &[f32; N], d: f32) -> f32 {
    let inverse = reciprocal(d);
    let squares: [f32; N] = array(|i| {
        let r = x[i] - d * L::nearest(x[i] * inverse);
        w[i] * (r * r)
    });
    fold(&squares, 0.0, f32::add)
}

/// The value of largest magnitude, with its sign.
#[inline(always)]
pub(super) fn extreme<const N: usize>(x: &[f32; N]) -> f32 {
    let (low, high) = (fold(x, 0.0, min), fold(x, 0.0, max));
    if high > -low { high } else { low }
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

/// The best half-precision d for ŵ = d·level; 0 for a block of zeros.
#[inline(always)]
pub(super) fn fit_scale<L: Levels, const N: usize>(x: &[f32; N], w: &[f32; N], reach: &Reach) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < TINY {
        return 0.0;
    }
    let (low, high) = L::ENDS;
    let mut best = (f32::INFINITY, 0.0);
    let batches = if is_flat(w) { &[reach.near][..] } else { &[reach.near, reach.far][..] };
    for factors in batches {
        for end in [low, high] {
            let inverse = array(|c| factors[c] * (end / extreme));
            let (xv, vv) = products::<L, N>(x, w, &inverse);
            let losses = array(|c| -xv[c] * xv[c] / vv[c]);
            let c = smallest(&losses);
            if losses[c] < best.0 {
                best = (losses[c], xv[c] / vv[c]);
            }
        }
    }
    // The neighbours of the best scale, and the plain ones, by the error they really make.
    let step = (reach.near[1] - reach.near[0]) / 8.0;
    let mut candidates: Lanes = array(|c| to_half(best.1 * (1.0 + step * (c as f32 - 8.0))));
    (candidates[0], candidates[1]) = (to_half(extreme / low), to_half(extreme / high));
    let candidates = whole(candidates);
    candidates[smallest(&errors::<L, N>(x, w, &candidates))]
}
