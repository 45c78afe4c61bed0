//! Blocks of 32 with one half-precision scale, ŵ = d·level: Q4_0, Q5_0, Q8_0, IQ4_NL. The search finds the d that minimises Σ w·(ŵ − x)² with
//! codes rounded to nearest.
//!
//! The error as a function of the scale is rough: every candidate is a fresh draw of the rounding errors, so many are tried, each with its
//! own least-squares d, then the neighbours of the best. What counts at the end is the error measured with the half-precision scale that
//! is stored; the plain absmax scale is always among those measured.

pub use crate::blocks::Params;
use crate::blocks::{BlockEncoder, put_five_bits, put_half, put_nibbles};
use crate::lanes::{LANES, LEAST, Lanes, TINY, array, fold, is_flat, max, min, quotient, reciprocal, smallest, spread, to_half, whole};
use crate::levels::{Integers, Iq4, Levels};
use std::ops::Add;

/// Σ w·x·v and Σ w·v² for the levels v nearest to x·inverse.
#[inline(always)]
pub fn products<L: Levels, const N: usize>(x: &[f32; N], w: &[f32; N], inverse: &Lanes) -> (Lanes, Lanes) {
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
pub fn errors<L: Levels, const N: usize>(x: &[f32; N], w: &[f32; N], d: &Lanes) -> Lanes {
    let inverse: Lanes = array(|c| reciprocal(d[c]));
    let mut error = [LEAST; LANES];
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
pub fn error<L: Levels, const N: usize>(x: &[f32; N], w: &[f32; N], d: f32) -> f32 {
    let inverse = reciprocal(d);
    let squares: [f32; N] = array(|i| {
        let r = x[i] - d * L::nearest(x[i] * inverse);
        w[i] * (r * r)
    });
    fold(&squares, LEAST, f32::add)
}

/// The value of largest magnitude, with its sign.
#[inline(always)]
pub fn extreme<const N: usize>(x: &[f32; N]) -> f32 {
    let (low, high) = (fold(x, 0.0, min), fold(x, 0.0, max));
    if high > -low { high } else { low }
}

/// The factors on 1/d that a one-scale search tries.
#[derive(Debug)]
pub struct Reach {
    /// Enough when all weights count alike.
    near: Lanes,
    /// Tried too where importances differ: the largest weight may then be worth clipping, or the smallest worth most of the levels.
    far: Lanes,
    /// Between the neighbours of the best scale, relative.
    step: f32,
}

impl Reach {
    /// For four bits.
    pub const FOUR_BITS: Self = Self::new(0.80, 1.16);
    /// For five bits.
    pub const FIVE_BITS: Self = Self::new(0.86, 1.08);

    /// `low..high` for equal importances; for others six more below, ten more above, as far apart again.
    pub const fn new(low: f32, high: f32) -> Self {
        let mut far = [0.0; LANES];
        let step = (high - low) / 6.0;
        let mut i = 0;
        while i < LANES {
            far[i] = if i < 6 { low - step * (i + 1) as f32 } else { high + step * (i - 5) as f32 };
            i += 1;
        }
        let near = spread(low, high);
        Self { near, far, step: (near[1] - near[0]) / 8.0 }
    }
}

/// The best half-precision d for ŵ = d·level; 0 for a block of zeros.
#[inline(always)]
pub fn fit_scale<L: Levels, const N: usize>(x: &[f32; N], w: &[f32; N], reach: &Reach) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < TINY {
        return 0.0;
    }
    let (low, high) = L::ENDS;
    let mut best = (-LEAST, 0.0);
    let batches = if is_flat(w) { &[reach.near][..] } else { &[reach.near, reach.far][..] };
    for factors in batches {
        for end in [low, high] {
            let inverse = array(|c| factors[c] * (end / extreme));
            let (xv, vv) = products::<L, N>(x, w, &inverse);
            let scales: Lanes = array(|c| quotient(xv[c], vv[c]));
            let losses = array(|c| -(LEAST + scales[c] * xv[c]));
            let c = smallest(&losses);
            if losses[c] < best.0 {
                best = (losses[c], scales[c]);
            }
        }
    }
    // The neighbours of the best scale, and the plain ones, by the error they really make.
    let mut candidates: Lanes = array(|c| to_half(best.1 * (1.0 + reach.step * (c as f32 - 8.0))));
    (candidates[0], candidates[1]) = (to_half(extreme / low), to_half(extreme / high));
    let candidates = whole(candidates);
    candidates[smallest(&errors::<L, N>(x, w, &candidates))]
}

/// level − lowest level of each value.
#[inline(always)]
pub fn codes<L: Levels, const N: usize>(x: &[f32; N], d: f32) -> [u8; N] {
    let inverse = reciprocal(d);
    array(|j| (L::nearest(x[j] * inverse) - L::ENDS.0) as u8)
}

/// The codes of 32 values of IQ4.
#[inline(always)]
pub fn put_iq4_codes(bytes: &mut [u8], x: &[f32; 32], scale: f32) {
    let inverse = reciprocal(scale);
    for j in 0..16 {
        bytes[j] = Iq4::code(x[j] * inverse) | Iq4::code(x[j + 16] * inverse) << 4;
    }
}

/// Q4_0.
#[derive(Debug)]
pub struct Q4_0;

impl BlockEncoder<32, 18> for Q4_0 {
    #[inline(always)]
    fn encode(x: &[f32; 32], w: &[f32; 32], block: &mut [u8; 18]) {
        let d = fit_scale::<Integers<-8, 7>, 32>(x, w, &Reach::FOUR_BITS);
        put_half(block, 0, d);
        put_nibbles(&mut block[2..], &codes::<Integers<-8, 7>, 32>(x, d));
    }
}

/// Q5_0.
#[derive(Debug)]
pub struct Q5_0;

impl BlockEncoder<32, 22> for Q5_0 {
    #[inline(always)]
    fn encode(x: &[f32; 32], w: &[f32; 32], block: &mut [u8; 22]) {
        let d = fit_scale::<Integers<-16, 15>, 32>(x, w, &Reach::FIVE_BITS);
        put_half(block, 0, d);
        put_five_bits(&mut block[2..], &codes::<Integers<-16, 15>, 32>(x, d));
    }
}

/// Q8_0.
#[derive(Debug)]
pub struct Q8_0;

impl BlockEncoder<32, 34> for Q8_0 {
    #[inline(always)]
    fn encode(x: &[f32; 32], _: &[f32; 32], block: &mut [u8; 34]) {
        // No search: at eight bits it would win a seventh of an error that nobody sees, for three times ggml's time. But the codes are
        // those of the scale as it is stored.
        let largest = extreme(x).abs();
        let d = if largest < TINY { 0.0 } else { to_half(largest / 127.0) };
        put_half(block, 0, d);
        let codes = codes::<Integers<-127, 127>, 32>(x, d);
        for j in 0..32 {
            block[2 + j] = codes[j].wrapping_sub(127);
        }
    }
}

/// IQ4_NL.
#[derive(Debug)]
pub struct Iq4Nl;

impl BlockEncoder<32, 18> for Iq4Nl {
    #[inline(always)]
    fn encode(x: &[f32; 32], w: &[f32; 32], block: &mut [u8; 18]) {
        let d = fit_scale::<Iq4, 32>(x, w, &Reach::FOUR_BITS);
        put_half(block, 0, d);
        put_iq4_codes(&mut block[2..], x, d);
    }
}
