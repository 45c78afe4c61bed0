//! One and two bits a weight with one scale: TQ1_0, TQ2_0 (ternary), Q1_0 (signs) and Q2_0.

use super::encode::{BlockEncoder, put_half};
use super::half_at;
use crate::codec::lanes::{LANES, Lanes, TINY, array, fold, max, reciprocal, to_half, to_integer, whole};
use halftone_shaders::levels::{Integers, Levels};
use halftone_shaders::twin::encode_blocks::extreme;
use std::ops::Add;

/// What some scales gain with their own least-squares d, over the weights in one pass: Σ w·x·level and Σ w·level² of each.
struct Sums<const S: usize> {
    xv: [Lanes; S],
    vv: [Lanes; S],
}

impl<const S: usize> Sums<S> {
    const ZERO: Self = Self { xv: [[0.0; LANES]; S], vv: [[0.0; LANES]; S] };

    /// The d of the scale that gains most, as it is stored; 0 where all codes are 0.
    #[inline(always)]
    fn best(&self) -> f32 {
        let mut best = (0.0, 0.0);
        for s in 0..S {
            let (xv, vv) = (fold(&whole(self.xv[s]), 0.0, f32::add), fold(&whole(self.vv[s]), 0.0, f32::add));
            let gain = if vv > 0.0 { xv * xv / vv } else { 0.0 };
            best = if gain > best.0 { (gain, xv / vv) } else { best };
        }
        to_half(best.1)
    }
}

/// The largest magnitude and the weighted mean magnitude, in one pass.
#[inline(always)]
fn magnitudes<const N: usize>(x: &[f32; N], w: &[f32; N]) -> (f32, f32) {
    let (mut largest, mut weighted, mut weight) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    for (x, w) in x.as_chunks::<LANES>().0.iter().zip(w.as_chunks::<LANES>().0) {
        for c in 0..LANES {
            let magnitude = x[c].abs();
            largest[c] = max(largest[c], magnitude);
            weighted[c] += w[c] * magnitude;
            weight[c] += w[c];
        }
    }
    let (largest, weighted, weight) = (whole(largest), whole(weighted), whole(weight));
    (fold(&largest, 0.0, max), fold(&weighted, 0.0, f32::add) / fold(&weight, 0.0, f32::add))
}

/// The best half-precision d for ŵ = d·{−1, 0, 1}. Weights beyond half the scale become ±1: the best cut lies near the mean magnitude, higher
/// the heavier the tails. The last scale tried is the plain one. Few scales, because ggml's encoders of these types are quick.
#[inline(always)]
fn fit_trits(x: &[f32; 256], w: &[f32; 256]) -> f32 {
    let (largest, mean) = magnitudes(x, w);
    if largest < TINY || mean == 0.0 {
        return 0.0;
    }
    let cuts = [0.8 * mean, 1.2 * mean, 0.5 * largest];
    let mut sums = Sums::<3>::ZERO;
    for (x, w) in x.as_chunks::<LANES>().0.iter().zip(w.as_chunks::<LANES>().0) {
        for c in 0..LANES {
            let (magnitude, w) = (x[c].abs(), w[c]);
            for (s, cut) in cuts.into_iter().enumerate() {
                sums.xv[s][c] += if magnitude > cut { w * magnitude } else { 0.0 };
                sums.vv[s][c] += if magnitude > cut { w } else { 0.0 };
            }
        }
    }
    sums.best()
}

/// The digits 0, 1, 2 of ŵ = d·(digit − 1), d ≥ 0.
#[inline(always)]
fn trits(x: &[f32; 256], d: f32) -> [u8; 256] {
    // Two comparisons a weight; a block of zeros has no cut.
    let cut = if d > 0.0 { 0.5 * d } else { f32::INFINITY };
    let mut digits = [1; 256];
    for i in 0..256 {
        digits[i] = 1 + u8::from(x[i] > cut) - u8::from(x[i] < -cut);
    }
    digits
}

/// Where TQ1_0 keeps its digits: bytes from..to, so many digits each.
const SEGMENTS: [(usize, usize, usize); 3] = [(0, 32, 5), (32, 48, 5), (48, 52, 4)];

pub(super) struct Tq1_0;

impl BlockEncoder<256, 54> for Tq1_0 {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 54]) {
        let d = fit_trits(x, w);
        put_half(block, 52, d);
        put_tq1_0(block, &trits(x, d));
    }
}

/// Writes the digits of a block.
#[inline(always)]
pub(super) fn put_tq1_0(block: &mut [u8], digits: &[u8]) {
    put_digits::<32>(digits[..160].as_chunks().0, &mut block[..32]);
    put_digits::<16>(digits[160..240].as_chunks().0, &mut block[32..48]);
    put_digits::<4>(digits[240..256].as_chunks().0, &mut block[48..52]);
}

/// Digits of `M` bytes, four or five to a byte, first digit of all bytes first: the least byte/256 that is at least 0.digits in base 3.
#[inline(always)]
fn put_digits<const M: usize>(digits: &[[u8; M]], bytes: &mut [u8]) {
    let mut numbers = [0u8; M];
    for digits in digits {
        for m in 0..M {
            numbers[m] = 3 * numbers[m] + digits[m];
        }
    }
    // Three digits to the power of five are 243; a fifth digit that is not there is 0.
    let scale = if digits.len() == 5 { 256 } else { 3 * 256 };
    for m in 0..M {
        // At most 242·256: sixteen bits, and twice as many to a vector.
        bytes[m] = (scale * u16::from(numbers[m])).div_ceil(243) as u8;
    }
}

pub(super) struct Tq2_0;

impl BlockEncoder<256, 66> for Tq2_0 {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 66]) {
        let d = fit_trits(x, w);
        put_half(block, 64, d);
        put_tq2_0(block, &trits(x, d));
    }
}

/// Writes the digits of a block.
#[inline(always)]
pub(super) fn put_tq2_0(block: &mut [u8], digits: &[u8]) {
    block[..64].fill(0);
    for (i, digits) in digits.as_chunks::<32>().0.iter().enumerate() {
        for l in 0..32 {
            block[32 * (i / 4) + l] |= digits[l] << (2 * (i % 4));
        }
    }
}

pub(super) struct Q1_0;

impl BlockEncoder<128, 18> for Q1_0 {
    #[inline(always)]
    fn encode(x: &[f32; 128], w: &[f32; 128], block: &mut [u8; 18]) {
        // The error is a parabola in d, so the half nearest to its vertex is the best.
        let d = magnitudes(x, w).1;
        block.fill(0);
        put_half(block, 0, to_half(d));
        for j in 0..128 {
            block[2 + j / 8] |= u8::from(x[j] >= 0.0) << (j % 8);
        }
    }
}

/// Of some scales the best d for the levels −1 … 2.
#[inline(always)]
fn fit_four(x: &[f32; 64], w: &[f32; 64], scales: [f32; 3]) -> f32 {
    let inverse = scales.map(|scale| 1.0 / scale);
    let mut sums = Sums::<3>::ZERO;
    for (x, w) in x.as_chunks::<LANES>().0.iter().zip(w.as_chunks::<LANES>().0) {
        for c in 0..LANES {
            for s in 0..3 {
                let level = Integers::<-1, 2>::nearest(x[c] * inverse[s]);
                let weighted = w[c] * level;
                sums.xv[s][c] += weighted * x[c];
                sums.vv[s][c] += weighted * level;
            }
        }
    }
    sums.best()
}

pub(super) struct Q2_0;

impl BlockEncoder<64, 18> for Q2_0 {
    #[inline(always)]
    fn encode(x: &[f32; 64], w: &[f32; 64], block: &mut [u8; 18]) {
        let (largest, mean) = magnitudes(x, w);
        // Either sign, because the levels −1 … 2 are not symmetric.
        let scales = [1.35 * mean, -1.35 * mean, 0.5 * extreme(x)];
        let d = if largest < TINY || mean == 0.0 { 0.0 } else { fit_four(x, w, scales) };
        put_half(block, 0, d);
        let inverse = reciprocal(d);
        let codes: [u8; 64] = array(|j| to_integer((x[j] * inverse).clamp(-1.0, 2.0) + 1.0) as u8);
        put_q2_0(block, &codes);
    }
}

/// Writes the codes of a block.
#[inline(always)]
pub(super) fn put_q2_0(block: &mut [u8], codes: &[u8]) {
    for (byte, codes) in block[2..18].iter_mut().zip(codes.as_chunks::<4>().0) {
        *byte = codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6;
    }
}

/// qs[48] (five base-3 digits a byte), qh[4] (four digits a byte), f16 d. ŵ = d·(digit − 1).
///
/// A byte is a fixed-point fraction: digit n is the integer part of 3·(byte·3ⁿ mod 256)/256.
pub(super) fn decode_tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
    let d = half_at(block, 52);
    let mut values = out.iter_mut();
    for (from, to, digits) in SEGMENTS {
        let mut power = 1u8;
        for _ in 0..digits {
            for (&byte, value) in block[from..to].iter().zip(&mut values) {
                let digit = (u16::from(byte.wrapping_mul(power)) * 3) >> 8;
                *value = d * (f32::from(digit) - 1.0);
            }
            power = power.wrapping_mul(3);
        }
    }
}

/// qs[64] (per 128 values 32 bytes with four planes of 2 bits), f16 d. ŵ = d·(q − 1).
pub(super) fn decode_tq2_0(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half_at(block, 64);
    for (i, values) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (l, value) in values.iter_mut().enumerate() {
            *value = d * (f32::from((block[32 * (i / 4) + l] >> (2 * (i % 4))) & 3) - 1.0);
        }
    }
}

/// f16 d; one bit a weight in order, least significant first. ŵ = d where set, else −d.
pub(super) fn decode_q1_0(block: &[u8; 18], out: &mut [f32; 128]) {
    let d = half_at(block, 0);
    for (j, value) in out.iter_mut().enumerate() {
        *value = if (block[2 + j / 8] >> (j % 8)) & 1 == 1 { d } else { -d };
    }
}

/// f16 d; two bits a weight in order, least significant first. ŵ = d·(q − 1): −1, 0, 1, 2.
pub(super) fn decode_q2_0(block: &[u8; 18], out: &mut [f32; 64]) {
    let d = half_at(block, 0);
    for (j, value) in out.iter_mut().enumerate() {
        *value = d * (f32::from((block[2 + j / 4] >> (2 * (j % 4))) & 3) - 1.0);
    }
}
