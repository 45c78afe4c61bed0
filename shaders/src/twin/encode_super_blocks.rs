//! Super-blocks of 256 whose sub-blocks have small integer scales under a shared half-precision factor, ŵ = d·sc·level: Q3_K, Q6_K, IQ4_XS.
//!
//! 1. Each sub-block alone gives its best real scale; the largest sets the factor.
//! 2. With the factor as stored, each sub-block tries the integers around its real one and keeps that of least measured error.
//! 3. The factor is fitted again by weighted least squares (codes and integers fixed), and 2 repeats while the measured error falls.
//!
//! So everything that is rounded is rounded inside the search, never after it.

use super::encode_blocks::{Reach, codes, errors, extreme, fit_scale, put_iq4_codes};
pub use crate::blocks::Params;
use crate::blocks::{BlockEncoder, plane, put_half, six_bit_places};
use crate::lanes::{LANES, Lanes, array, fold, max, ratio, reciprocal, smallest, to_half};
use crate::levels::{Integers, Iq4, Levels};
use std::ops::Add;

/// Rounds of fitting the factor again.
pub(super) const ROUNDS: usize = 3;

const REACH_3: Reach = Reach::new(0.60, 1.30);
const REACH_6: Reach = Reach::new(0.90, 1.06);

/// Importances that no sub-block can do without: a sub-block of zeros would have nothing to choose its scale by.
#[inline(always)]
pub fn floored(w: &[f32; 256]) -> [f32; 256] {
    array(|i| max(w[i], 1e-9))
}

/// ŵ = d·sc·level: the factor and the integer scales.
#[derive(Clone, Copy, Debug)]
pub struct Scales<const SUBS: usize> {
    /// The factor, a half-precision number.
    pub d: f32,
    /// The integer scales.
    pub sc: [f32; SUBS],
}

/// The best factor and integer scales in `ends.0 ..= ends.1` (the first is negative and the larger in magnitude) for sub-blocks of `N`.
#[inline(always)]
pub fn fit_scales<L: Levels, const N: usize, const SUBS: usize>(x: &[f32; 256], w: &[f32; 256], reach: &Reach, ends: (f32, f32)) -> Scales<SUBS> {
    let (xs, ws) = (x.as_chunks::<N>().0, w.as_chunks::<N>().0);
    let mut real = [0.0f32; SUBS];
    for s in 0..SUBS {
        real[s] = fit_scale::<L, N>(&xs[s], &ws[s], reach);
    }
    let mut d = to_half(extreme(&real) / ends.0);
    let mut best = Scales { d: 0.0, sc: [0.0; SUBS] };
    let mut least = f32::INFINITY;
    for _ in 0..ROUNDS {
        if d == 0.0 {
            break;
        }
        let mut sc = [0.0f32; SUBS];
        let mut error = 0.0;
        for s in 0..SUBS {
            let centre = (real[s] / d).round_ties_even();
            let tried: Lanes = array(|c| (centre + c as f32 - 8.0).clamp(ends.0, ends.1));
            let made = errors::<L, N>(&xs[s], &ws[s], &array(|c| d * tried[c]));
            let c = smallest(&made);
            error += made[c];
            sc[s] = if real[s] == 0.0 { 0.0 } else { tried[c] };
        }
        if error >= least {
            break;
        }
        (least, best) = (error, Scales { d, sc });
        // Least squares of d with these scales and codes.
        let (mut xv, mut vv) = (0.0, 0.0);
        for s in 0..SUBS {
            let scale = d * sc[s];
            real[s] = scale;
            let inverse = reciprocal(scale);
            let (mut xvs, mut vvs) = ([0.0f32; LANES], [0.0f32; LANES]);
            for i in 0..N {
                let v = sc[s] * L::nearest(xs[s][i] * inverse);
                xvs[i % LANES] += ws[s][i] * xs[s][i] * v;
                vvs[i % LANES] += ws[s][i] * v * v;
            }
            xv += fold(&xvs, 0.0, f32::add);
            vv += fold(&vvs, 0.0, f32::add);
        }
        let refitted = to_half(ratio(xv, vv));
        if refitted == d {
            break;
        }
        d = refitted;
    }
    best
}

/// Q3_K.
#[derive(Debug)]
pub struct Q3K;

impl BlockEncoder<256, 110> for Q3K {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 110]) {
        let fit = fit_scales::<Integers<-4, 3>, 16, 16>(x, &floored(w), &REACH_3, (-32.0, 31.0));
        block.fill(0);
        put_half(block, 108, fit.d);
        for (sub, x) in x.as_chunks::<16>().0.iter().enumerate() {
            let sc = (fit.sc[sub] + 32.0) as u8;
            block[96 + sub % 8] |= (sc & 15) << (4 * (sub / 8));
            block[104 + sub % 4] |= (sc >> 4) << (2 * (sub / 4));
            let (at, shift) = plane(sub);
            for (l, q) in codes::<Integers<-4, 3>, 16>(x, fit.d * fit.sc[sub]).into_iter().enumerate() {
                block[32 + at + l] |= (q & 3) << shift;
                block[16 * (sub % 2) + l] |= (q >> 2) << (sub / 2);
            }
        }
    }
}

/// Q6_K.
#[derive(Debug)]
pub struct Q6K;

impl BlockEncoder<256, 210> for Q6K {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 210]) {
        let fit = fit_scales::<Integers<-32, 31>, 16, 16>(x, &floored(w), &REACH_6, (-128.0, 127.0));
        block.fill(0);
        put_half(block, 208, fit.d);
        for (sub, x) in x.as_chunks::<16>().0.iter().enumerate() {
            block[192 + sub] = fit.sc[sub] as i8 as u8;
            let (low, low_shift, high, high_shift) = six_bit_places(sub);
            for (l, q) in codes::<Integers<-32, 31>, 16>(x, fit.d * fit.sc[sub]).into_iter().enumerate() {
                block[low + l] |= (q & 15) << low_shift;
                block[high + l] |= (q >> 4) << high_shift;
            }
        }
    }
}

/// IQ4_XS.
#[derive(Debug)]
pub struct Iq4Xs;

impl BlockEncoder<256, 136> for Iq4Xs {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 136]) {
        let fit = fit_scales::<Iq4, 32, 8>(x, &floored(w), &Reach::FOUR_BITS, (-32.0, 31.0));
        block.fill(0);
        put_half(block, 0, fit.d);
        for (sub, x) in x.as_chunks::<32>().0.iter().enumerate() {
            let sc = (fit.sc[sub] + 32.0) as u8;
            block[4 + sub / 2] |= (sc & 15) << (4 * (sub % 2));
            block[2 + sub / 4] |= (sc >> 4) << (2 * (sub % 4));
            put_iq4_codes(&mut block[8 + 16 * sub..], x, fit.d * fit.sc[sub]);
        }
    }
}
