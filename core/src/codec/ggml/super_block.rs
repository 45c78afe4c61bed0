//! Scale searches for super-blocks of 256, whose sub-blocks have small integer scales under a shared half-precision factor.
//!
//! 1. Each sub-block alone gives its best real scale (and minimum); the largest set the factors.
//! 2. With the factors as stored, each sub-block tries the integers around its real ones and keeps those of least measured error.
//! 3. The factors are fitted again by weighted least squares (codes and integers fixed), and 2 repeats while the measured error falls.
//!
//! So everything that is rounded is rounded inside the search, never after it.

use super::affine_search::{Affine, Cuts, Moments, best_affine};
use super::levels::{Integers, Levels};
use super::scale_search::{Reach, errors, extreme, fit_scale};
use crate::codec::lanes::{LANES, Lanes, TINY, array, fold, max, reciprocal, smallest, to_half};
use std::ops::Add;

/// Rounds of fitting the factors again.
const ROUNDS: usize = 3;

/// Importances that no sub-block can do without: a sub-block of zeros would have nothing to choose its scale by.
#[inline(always)]
pub(super) fn floored(w: &[f32; 256]) -> [f32; 256] {
    array(|i| max(w[i], 1e-9))
}

/// ŵ = d·sc·level: the factor and the integer scales.
#[derive(Clone, Copy)]
pub(super) struct Scales<const SUBS: usize> {
    pub(super) d: f32,
    pub(super) sc: [f32; SUBS],
}

/// The best factor and integer scales in `ends.0 ..= ends.1` (the first is negative and the larger in magnitude) for sub-blocks of `N`.
#[inline(always)]
pub(super) fn fit_scales<L: Levels, const N: usize, const SUBS: usize>(x: &[f32; 256], w: &[f32; 256], reach: &Reach, ends: (f32, f32)) -> Scales<SUBS> {
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
        let (mut xv, mut vv) = (0.0f64, 0.0f64);
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
            xv += f64::from(fold(&xvs, 0.0, f32::add));
            vv += f64::from(fold(&vvs, 0.0, f32::add));
        }
        let refitted = to_half(if vv > 0.0 { (xv / vv) as f32 } else { 0.0 });
        if refitted == d {
            break;
        }
        d = refitted;
    }
    best
}

/// ŵ = d·sc·q − dmin·m: the factors, the integer scales and minima.
#[derive(Clone, Copy)]
pub(super) struct AffineScales<const SUBS: usize> {
    pub(super) d: f32,
    pub(super) dmin: f32,
    pub(super) sc: [f32; SUBS],
    pub(super) m: [f32; SUBS],
}

/// The best factors, integer scales and minima in 0 ..= `top` for sub-blocks of `N` with codes 0 ..= `HIGH`.
#[inline(always)]
pub(super) fn fit_affine_scales<const HIGH: i32, const N: usize, const SUBS: usize>(
    x: &[f32; 256],
    w: &[f32; 256],
    cuts: &Cuts,
    top: f32,
) -> AffineScales<SUBS> {
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
        let (mut aa, mut ab, mut bb, mut xa, mut xb) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
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
            let [wqq, wq, ww, wxq, wx]: [f64; 5] = array(|k| f64::from(fold(&lanes[k], 0.0, f32::add)));
            let (sc, m) = (f64::from(sc[s]), f64::from(m[s]));
            aa += sc * sc * wqq;
            ab += sc * m * wq;
            bb += m * m * ww;
            xa += sc * wxq;
            xb += m * wx;
        }
        let determinant = ab * ab - aa * bb;
        let (new_d, new_dmin) = if bb == 0.0 { (xa / aa, 0.0) } else { ((ab * xb - xa * bb) / determinant, (aa * xb - ab * xa) / determinant) };
        let (new_d, new_dmin) = (to_half(new_d as f32), to_half(new_dmin as f32));
        if !(new_d > 0.0 && new_dmin >= 0.0) || (new_d, new_dmin) == (d, dmin) {
            break;
        }
        (d, dmin) = (new_d, new_dmin);
    }
    best
}
