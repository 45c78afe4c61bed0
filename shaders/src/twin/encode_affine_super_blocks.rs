//! Super-blocks of 256 whose sub-blocks have small integer scales and minima under two half-precision factors, ŵ = d·sc·q − dmin·m: Q2_K,
//! Q4_K, Q5_K. The search goes as that of `encode_super_blocks`, with pairs of integers.

use super::encode_affine_blocks::{Affine, Cuts, Moments, best_affine};
use super::encode_super_blocks::{ROUNDS, floored};
pub use crate::blocks::Params;
use crate::blocks::{BlockEncoder, plane, put_half};
use crate::lanes::{LANES, Lanes, TINY, array, fold, ratio, reciprocal, smallest, to_half};
use crate::levels::{Integers, Levels};
use std::ops::Add;

/// ŵ = d·sc·q − dmin·m: the factors, the integer scales and minima.
#[derive(Clone, Copy, Debug)]
pub struct AffineScales<const SUBS: usize> {
    /// The factor of the scales.
    pub d: f32,
    /// The factor of the minima.
    pub dmin: f32,
    /// The integer scales.
    pub sc: [f32; SUBS],
    /// The integer minima.
    pub m: [f32; SUBS],
}

/// The best factors, integer scales and minima in 0 ..= `top` for sub-blocks of `N` with codes 0 ..= `HIGH`.
#[inline(always)]
pub fn fit_affine_scales<const HIGH: i32, const N: usize, const SUBS: usize>(x: &[f32; 256], w: &[f32; 256], cuts: &Cuts, top: f32) -> AffineScales<SUBS> {
    let (xs, ws) = (x.as_chunks::<N>().0, w.as_chunks::<N>().0);
    let (mut scale, mut min) = ([0.0f32; SUBS], [0.0f32; SUBS]);
    let (mut scale_max, mut min_max) = (0.0f32, 0.0f32);
    for s in 0..SUBS {
        let mut moments = Moments::new(&xs[s], &ws[s]);
        moments.range.0 = moments.range.0.min(0.0);
        let (d, m) = best_affine::<HIGH, N>(&xs[s], &ws[s], &moments, cuts);
        (scale[s], min[s]) = (d.max(0.0), (-m).max(0.0));
        scale_max = scale_max.max(scale[s]);
        min_max = min_max.max(min[s]);
    }
    let mut best = AffineScales { d: 0.0, dmin: 0.0, sc: [0.0; SUBS], m: [0.0; SUBS] };
    let mut least = f32::INFINITY;
    let (mut d, mut dmin) = (to_half(scale_max / top), to_half(min_max / top));
    if scale_max < TINY {
        return best;
    }
    for _ in 0..ROUNDS {
        let (per_d, per_dmin) = (reciprocal(d), reciprocal(dmin));
        let (mut sc, mut m) = ([0.0f32; SUBS], [0.0f32; SUBS]);
        let mut error = 0.0;
        for s in 0..SUBS {
            let (sc0, m0) = ((scale[s] * per_d).floor() - 1.0, (min[s] * per_dmin).floor() - 1.0);
            let scs: Lanes = array(|c| (sc0 + (c % 4) as f32).clamp(0.0, top));
            let ms: Lanes = array(|c| (m0 + (c / 4) as f32).clamp(0.0, top));
            let tried = Affine { d: array(|c| d * scs[c]), m: array(|c| -(dmin * ms[c])) };
            let made = tried.errors::<HIGH, N>(&xs[s], &ws[s]);
            let c = smallest(&made);
            error += made[c];
            (sc[s], m[s]) = (scs[c], ms[c]);
        }
        if error >= least {
            break;
        }
        (least, best) = (error, AffineScales { d, dmin, sc, m });
        // Least squares of (d, dmin) with these integers and codes: ŵ = d·a − dmin·b with a = sc·q, b = m.
        let (mut aa, mut ab, mut bb, mut xa, mut xb) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for s in 0..SUBS {
            (scale[s], min[s]) = (d * sc[s], dmin * m[s]);
            let inverse = reciprocal(scale[s]);
            let mut lanes = [[0.0f32; LANES]; 5];
            for i in 0..N {
                let (x, w, lane) = (xs[s][i], ws[s][i], i % LANES);
                let q = Integers::<0, HIGH>::nearest((x + min[s]) * inverse);
                lanes[0][lane] += w * q * q;
                lanes[1][lane] += w * q;
                lanes[2][lane] += w;
                lanes[3][lane] += w * x * q;
                lanes[4][lane] += w * x;
            }
            let [wqq, wq, ww, wxq, wx]: [f32; 5] = array(|k| fold(&lanes[k], 0.0, f32::add));
            let (sc, m) = (sc[s], m[s]);
            aa += sc * sc * wqq;
            ab += sc * m * wq;
            bb += m * m * ww;
            xa += sc * wxq;
            xb += m * wx;
        }
        let determinant = aa * bb - ab * ab;
        let new_d = if bb == 0.0 { ratio(xa, aa) } else { ratio(xa * bb - ab * xb, determinant) };
        let new_dmin = if bb == 0.0 { 0.0 } else { ratio(ab * xa - aa * xb, determinant) };
        let (new_d, new_dmin) = (to_half(new_d), to_half(new_dmin));
        if new_d <= 0.0 || new_dmin < 0.0 || (new_d, new_dmin) == (d, dmin) {
            break;
        }
        (d, dmin) = (new_d, new_dmin);
    }
    best
}

/// Codes of x ≈ scale·q − min.
#[inline(always)]
fn codes<const HIGH: i32, const N: usize>(x: &[f32; N], scale: f32, min: f32) -> [u8; N] {
    let inverse = reciprocal(scale);
    array(|i| Integers::<0, HIGH>::nearest((x[i] + min) * inverse) as u8)
}

/// Q2_K.
#[derive(Debug)]
pub struct Q2K;

impl BlockEncoder<256, 84> for Q2K {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 84]) {
        let fit: AffineScales<16> = fit_affine_scales::<3, 16, 16>(x, &floored(w), &Cuts::TWO_BITS, 15.0);
        block.fill(0);
        put_half(block, 80, fit.d);
        put_half(block, 82, fit.dmin);
        for (sub, x) in x.as_chunks::<16>().0.iter().enumerate() {
            block[sub] = fit.sc[sub] as u8 | (fit.m[sub] as u8) << 4;
            let (at, shift) = plane(sub);
            for (l, q) in codes::<3, 16>(x, fit.d * fit.sc[sub], fit.dmin * fit.m[sub]).into_iter().enumerate() {
                block[16 + at + l] |= q << shift;
            }
        }
    }
}

/// The 12 bytes of eight six-bit scales and minima.
#[inline(always)]
fn put_scales_and_mins(bytes: &mut [u8], fit: &AffineScales<8>) {
    for sub in 0..4 {
        let (sc, m) = (fit.sc[sub] as u8, fit.m[sub] as u8);
        let (sc4, m4) = (fit.sc[sub + 4] as u8, fit.m[sub + 4] as u8);
        bytes[sub] = sc | sc4 >> 4 << 6;
        bytes[sub + 4] = m | m4 >> 4 << 6;
        bytes[sub + 8] = sc4 & 15 | (m4 & 15) << 4;
    }
}

/// Q4_K.
#[derive(Debug)]
pub struct Q4K;

impl BlockEncoder<256, 144> for Q4K {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 144]) {
        let fit = fit_affine_scales::<15, 32, 8>(x, &floored(w), &Cuts::FOUR_BITS, 63.0);
        block.fill(0);
        put_half(block, 0, fit.d);
        put_half(block, 2, fit.dmin);
        put_scales_and_mins(&mut block[4..16], &fit);
        for (sub, x) in x.as_chunks::<32>().0.iter().enumerate() {
            let (at, shift) = (16 + 32 * (sub / 2), 4 * (sub % 2));
            for (l, q) in codes::<15, 32>(x, fit.d * fit.sc[sub], fit.dmin * fit.m[sub]).into_iter().enumerate() {
                block[at + l] |= q << shift;
            }
        }
    }
}

/// Q5_K.
#[derive(Debug)]
pub struct Q5K;

impl BlockEncoder<256, 176> for Q5K {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 176]) {
        let fit = fit_affine_scales::<31, 32, 8>(x, &floored(w), &Cuts::FIVE_BITS, 63.0);
        block.fill(0);
        put_half(block, 0, fit.d);
        put_half(block, 2, fit.dmin);
        put_scales_and_mins(&mut block[4..16], &fit);
        for (sub, x) in x.as_chunks::<32>().0.iter().enumerate() {
            let (at, shift) = (48 + 32 * (sub / 2), 4 * (sub % 2));
            for (l, q) in codes::<31, 32>(x, fit.d * fit.sc[sub], fit.dmin * fit.m[sub]).into_iter().enumerate() {
                block[at + l] |= (q & 15) << shift;
                block[16 + l] |= (q >> 4) << sub;
            }
        }
    }
}
