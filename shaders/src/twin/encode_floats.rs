//! The scale of ŵ = s·level that minimises Σ w·(ŵ − x)² with codes rounded to nearest, for any set of levels; the kernel knows those of small
//! floats (FP8, FP6, FP4 with a half-precision scale for some columns, MXFP8, MXFP6 under a power of two).
//!
//! As a function of the scale the error is rough, so 32 scales are tried, each with its own least-squares fit; then the neighbours of the
//! best and the plain scale (the largest magnitude becomes the largest level) by the error they make as they are stored.

pub use crate::blocks::Params;
use crate::lanes::{LANES, LEAST, Lanes, TINY, array, max, quotient, reciprocal, smallest, spread, whole};

/// The values that codes stand for.
pub trait Grid: Copy + Sync {
    /// The level nearest to `v`.
    fn nearest(self, v: f32) -> f32;

    /// The magnitude that the largest weight gets by plain scaling.
    fn top(self) -> f32;
}

/// Rounding to a small float: sign, exponent with a bias, mantissa; exponent 0 is subnormal. To the nearest, ties to even; saturates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ToFloat {
    /// The largest value.
    pub top: f32,
    /// Its code.
    pub top_code: u32,
    /// Bits of the mantissa.
    pub mantissa_bits: u32,
    /// Biased f32 exponent of the smallest normal number.
    pub least_exponent: u32,
}

impl ToFloat {
    /// The nearest value, and its index among all by rising value; `v` is a number.
    #[inline(always)]
    pub fn nearest(self, v: f32) -> (f32, u32) {
        let magnitude = if v.abs() < self.top { v.abs() } else { self.top };
        let exponent = (magnitude.to_bits() >> 23).max(self.least_exponent);
        // 1.5·2²³ steps of this exponent: adding it leaves no bits for fractions of a step, and the number of steps in the last bits.
        let shift = f32::from_bits((exponent + 23 - self.mantissa_bits) << 23 | 0x0040_0000);
        let shifted = magnitude + shift;
        let code = ((exponent - self.least_exponent) << self.mantissa_bits) + (shifted.to_bits() - shift.to_bits());
        let level = (shifted - shift).copysign(v);
        (level, if v < 0.0 { self.top_code - code } else { self.top_code + code })
    }
}

impl Grid for ToFloat {
    #[inline(always)]
    fn nearest(self, v: f32) -> f32 {
        Self::nearest(self, v).0
    }

    #[inline(always)]
    fn top(self) -> f32 {
        Self::nearest(self, f32::MAX).0
    }
}

/// What a search asks of the weights under one scale: whoever has them says how they are gone through.
pub trait Weights {
    /// The least and the greatest weight, or 0.
    fn range(&self) -> (f32, f32);

    /// Σ w·x·level and Σ w·level² for sixteen 1/s; see [`products`].
    fn products(&self, grid: impl Grid, inverse: &Lanes) -> [Lanes; 2];

    /// Σ w·(s·level − x)² for sixteen s; see [`errors`].
    fn errors(&self, grid: impl Grid, scales: &Lanes) -> Lanes;
}

/// Σ w·x·level and Σ w·level² for sixteen 1/s.
#[inline(always)]
pub fn products(grid: impl Grid, x: &[f32], w: &[f32], inverse: &Lanes) -> [Lanes; 2] {
    let (mut xv, mut vv) = ([0.0; LANES], [0.0; LANES]);
    for (&x, &w) in x.iter().zip(w) {
        for c in 0..LANES {
            let level = grid.nearest(x * inverse[c]);
            xv[c] += w * x * level;
            vv[c] += w * level * level;
        }
    }
    [whole(xv), whole(vv)]
}

/// Σ w·(s·level − x)² for sixteen s.
#[inline(always)]
pub fn errors(grid: impl Grid, x: &[f32], w: &[f32], scales: &Lanes) -> Lanes {
    let inverse: Lanes = array(|c| reciprocal(scales[c]));
    let mut errors = [LEAST; LANES];
    for (&x, &w) in x.iter().zip(w) {
        for c in 0..LANES {
            let r = x - scales[c] * grid.nearest(x * inverse[c]);
            errors[c] += w * (r * r);
        }
    }
    whole(errors)
}

/// Scales tried, relative to the plain one: clipped, and with room above, which costs floats nothing.
const FACTORS: [Lanes; 2] = [spread(0.40, 1.0), spread(1.04, 2.0)];

/// The best scale as `stored` keeps it; 0 for zeros.
pub fn fit_scale(grid: impl Grid, weights: &impl Weights, stored: impl Fn(f32) -> f32) -> f32 {
    let (low, high) = weights.range();
    let largest = max(high, -low);
    if largest < TINY {
        return 0.0;
    }
    let plain = largest / grid.top();
    let mut best = (-LEAST, plain);
    for factors in FACTORS {
        let inverse: Lanes = array(|c| reciprocal(plain * factors[c]));
        let [xv, vv] = weights.products(grid, &inverse);
        let scales: Lanes = array(|c| quotient(xv[c], vv[c]));
        let losses: Lanes = array(|c| -(LEAST + scales[c] * xv[c]));
        let c = smallest(&losses);
        if losses[c] < best.0 {
            best = (losses[c], scales[c]);
        }
    }
    let mut scales: Lanes = array(|c| stored(best.1 * (1.0 + 0.006 * (c as f32 - 8.0))));
    scales[0] = stored(plain);
    least(grid, weights, &scales)
}

/// Of sixteen scales the one of least error.
pub fn least(grid: impl Grid, weights: &impl Weights, scales: &Lanes) -> f32 {
    scales[smallest(&weights.errors(grid, scales))]
}
