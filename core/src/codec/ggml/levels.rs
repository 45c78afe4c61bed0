//! The values that codes stand for, and sixteen candidate scales tried at once.
//!
//! A search tries many scales on few weights, so the vector lanes hold candidates and the loop runs over the weights: no reduction across
//! lanes, and every sum is in the order of the weights, the same on every machine. Everything is branch-free and `#[inline(always)]`, so that
//! it becomes vector code inside the functions compiled for wide vectors.

/// Candidates tried together.
pub(super) const LANES: usize = 16;

/// One value for each candidate.
pub(super) type Lanes = [f32; LANES];

/// The integers or table values that codes stand for.
pub(super) trait Levels {
    /// The most negative and the most positive level.
    const ENDS: (f32, f32);

    /// The level nearest to `v`.
    fn nearest(v: f32) -> f32;
}

/// The integers `LOW ..= HIGH`.
pub(super) struct Integers<const LOW: i32, const HIGH: i32>;

impl<const LOW: i32, const HIGH: i32> Levels for Integers<LOW, HIGH> {
    const ENDS: (f32, f32) = (LOW as f32, HIGH as f32);

    #[inline(always)]
    fn nearest(v: f32) -> f32 {
        round(v.clamp(LOW as f32, HIGH as f32))
    }
}

/// Rounds |v| < 2²² to the nearest integer, ties to even; two additions on every machine.
#[inline(always)]
pub(super) fn round(v: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0; // 1.5 · 2²³: no bits left for a fraction
    (v + SHIFT) - SHIFT
}

/// The nearest half-precision number, saturating instead of infinite.
#[inline(always)]
pub(super) fn to_half(v: f32) -> f32 {
    let v = v.clamp(-65504.0, 65504.0);
    // Dekker's splitting keeps the upper 24 − 13 = 11 bits; subnormal halves are multiples of 2⁻²⁴, the last place of 0.75.
    let scaled = v * 8193.0;
    let normal = scaled - (scaled - v);
    let subnormal = (v + 0.75) - 0.75;
    if v.abs() < 6.103_515_6e-5 { subnormal } else { normal }
}

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
    let inverse = d.map(reciprocal);
    let mut error = [0.0; LANES];
    for i in 0..N {
        let (x, w) = (x[i], w[i]);
        for c in 0..LANES {
            let r = x - d[c] * L::nearest(x * inverse[c]);
            error[c] += w * (r * r);
        }
    }
    error
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

/// 1/d, and 0 for 0.
#[inline(always)]
pub(super) fn reciprocal(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// Index of the smallest value, the first of equals; not-a-number never wins.
#[inline(always)]
pub(super) fn smallest(values: &Lanes) -> usize {
    let least = values.iter().fold(f32::INFINITY, |least, &v| if v < least { v } else { least });
    values.iter().position(|&v| v == least).unwrap_or(0)
}
