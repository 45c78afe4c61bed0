//! The scale search of the grid types: ŵ = d·UNIT·(2s + 1)·v, v from a grid, s a small integer for each sub-block.
//!
//! 1. Each sub-block alone tries sixteen real scales; the largest of the best sets d.
//! 2. With d as stored, each sub-block tries every integer there is, with the nearest rows, and keeps the one of least error.
//! 3. d is fitted again by weighted least squares (rows and integers fixed), and 2 repeats while the error falls.
//!
//! Errors are exact: the rows are the nearest by the weighted squares that count, not those of an unweighted neighbourhood.

use super::grid_search::Tables;
use crate::codec::lanes::{LANES, Lanes, TINY, array, fold, max, smallest, to_half, whole};
use std::ops::Add;

/// Rounds of fitting d again.
const ROUNDS: usize = 3;

/// A grid type whose sub-blocks are `N` values.
pub(super) trait Lattice<const N: usize> {
    /// A sub-block's scale is d · UNIT · multiple.
    const UNIT: f32;
    /// The multiple, 2s + 1, that a lane stands for; the last is the largest.
    const MULTIPLES: Lanes;
    /// The first scales, relative to the largest magnitude of the sub-block.
    const START: Lanes;

    /// The errors of a sub-block with the nearest rows under sixteen scales.
    fn errors(x: &[f32; N], w: &[f32; N], scales: &Lanes, tables: &mut Tables) -> Lanes;

    /// The nearest rows when each sub-block has one scale, reached by one of the lanes.
    fn assign(x: &[f32; 256], w: &[f32; 256], scales: &Lanes, lanes: &[usize; LANES], tables: &mut Tables) -> Codes;
}

/// What is stored of 256 values beside the scales.
#[derive(Clone, Copy)]
pub(super) struct Codes {
    /// Grid rows of groups of 8 (the first 32) or of 4.
    pub(super) rows: [u16; 64],
    /// Minus signs, or (IQ1) in bit 0 the minus of the shift, of eight values each.
    pub(super) signs: [u8; 32],
    /// ŵ / scale.
    pub(super) values: [f32; 256],
}

impl Codes {
    pub(super) const ZERO: Self = Self { rows: [0; 64], signs: [0; 32], values: [0.0; 256] };
}

/// The best d, the lane (integer scale) of each sub-block, and the codes; d = 0 stands for zeros.
pub(super) struct Fit {
    pub(super) d: f32,
    pub(super) lanes: [usize; LANES],
    pub(super) codes: Codes,
}

#[inline(always)]
pub(super) fn fit_lattice<L: Lattice<N>, const N: usize>(x: &[f32; 256], w: &[f32; 256]) -> Fit {
    let (xs, ws) = (x.as_chunks::<N>().0, w.as_chunks::<N>().0);
    let mut tables = Tables::new();
    let mut best = Fit { d: 0.0, lanes: [0; LANES], codes: Codes::ZERO };
    let (mut d, mut least) = (0.0f32, f32::INFINITY);
    for round in 0..=ROUNDS {
        let (mut scales, mut lanes, mut error) = ([0.0f32; LANES], [0; LANES], 0.0);
        for s in 0..256 / N {
            let largest = fold(&xs[s], 0.0, |a, v| max(a, v.abs()));
            let tried: Lanes = if round == 0 { array(|c| largest * L::START[c]) } else { array(|c| d * (L::UNIT * L::MULTIPLES[c])) };
            let made = whole(L::errors(&xs[s], &ws[s], &tried, &mut tables));
            let c = smallest(&made);
            error += made[c];
            (scales[s], lanes[s]) = (tried[c], c);
        }
        if round == 0 {
            let largest = fold(&scales, 0.0, max);
            d = if largest < TINY { 0.0 } else { to_half(largest / (L::UNIT * L::MULTIPLES[LANES - 1])) };
            if d == 0.0 {
                break;
            }
            continue;
        }
        if error >= least {
            break;
        }
        let codes = L::assign(x, w, &scales, &lanes, &mut tables);
        (least, best) = (error, Fit { d, lanes, codes });
        // Least squares of d.
        let (mut xv, mut vv) = (0.0f64, 0.0f64);
        for s in 0..256 / N {
            let multiple = L::UNIT * L::MULTIPLES[lanes[s]];
            let values = &codes.values.as_chunks::<N>().0[s];
            let products: [f32; N] = array(|i| ws[s][i] * xs[s][i] * values[i]);
            let squares: [f32; N] = array(|i| ws[s][i] * values[i] * values[i]);
            xv += f64::from(multiple * fold(&products, 0.0, f32::add));
            vv += f64::from(multiple * multiple * fold(&squares, 0.0, f32::add));
        }
        let fitted = to_half(if vv > 0.0 { (xv / vv) as f32 } else { 0.0 });
        if fitted <= 0.0 || fitted == d {
            break;
        }
        d = fitted;
    }
    best
}
