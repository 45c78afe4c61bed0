//! The scale search of the grid types: ŵ = d·UNIT·(2s + 1)·v, v from a grid, s a small integer for each sub-block.
//!
//! 1. Each sub-block alone tries a few real scales; the largest of the best sets d.
//! 2. With d as stored, each sub-block tries the integers around its real scale, with the nearest rows, and keeps the one of least error.
//! 3. d is fitted again by weighted least squares, rows and integers fixed.
//!
//! Errors are exact: the rows are the nearest by the weighted squares that count, not those of an unweighted neighbourhood.

use crate::grid_search::Tables;
use crate::lanes::{LANES, Lanes, TINY, array, fold, max, ratio, to_half};
use std::ops::Add;

/// A grid type whose sub-blocks are `N` values.
pub trait Lattice<const N: usize> {
    /// A sub-block's scale is d · UNIT · (2s + 1), s in 0 ..= TOP.
    const UNIT: f32;
    /// The largest of the integers s.
    const TOP: i32;
    /// The first scales, relative to the largest magnitude of the sub-block.
    const START: &'static [f32];
    /// How many integers are tried then, around the real scale's place among them.
    const TRIED: usize;
    /// The super-block by lanes.
    type Groups;

    /// Weights and importances by lanes.
    fn groups(x: &[f32; 256], w: &[f32; 256]) -> Self::Groups;

    /// The least errors of the sub-blocks with these scales, and (IQ1_S) whether it takes the negative shift. Where the error is not below
    /// `known`, any number that is not either will do, so that rows which cannot matter are passed over.
    fn errors(groups: &Self::Groups, scales: &Lanes, known: &Lanes, tables: &mut Tables) -> (Lanes, [bool; LANES]);

    /// The nearest rows.
    fn assign(x: &[f32; 256], w: &[f32; 256], groups: &Self::Groups, scales: &Lanes, minus: &[bool; LANES], tables: &mut Tables) -> Codes;
}

/// What is stored of 256 values beside the scales.
#[derive(Clone, Copy, Debug)]
pub struct Codes {
    /// Grid rows of groups of 8 (the first 32) or of 4.
    pub rows: [u16; 64],
    /// Minus signs, or (IQ1) in bit 0 the minus of the shift, of eight values each.
    pub signs: [u8; 32],
    /// ŵ / scale.
    pub values: [f32; 256],
}

impl Codes {
    /// Those of zeros.
    pub const ZERO: Self = Self { rows: [0; 64], signs: [0; 32], values: [0.0; 256] };
}

/// The best d, the integer s of each sub-block, and the codes; d = 0 stands for zeros.
#[derive(Debug)]
pub struct Fit {
    /// The factor, a half-precision number.
    pub d: f32,
    /// s of each sub-block.
    pub integers: [u8; LANES],
    /// The rest.
    pub codes: Codes,
}

/// The best of the scales tried, sub-block by sub-block.
struct Best {
    errors: Lanes,
    scales: Lanes,
    integers: [f32; LANES],
    minus: [bool; LANES],
}

impl Best {
    const NONE: Self = Self { errors: [f32::INFINITY; LANES], scales: [0.0; LANES], integers: [0.0; LANES], minus: [false; LANES] };

    #[inline(always)]
    fn take(&mut self, scales: &Lanes, integers: &Lanes, (errors, minus): (Lanes, [bool; LANES])) {
        for s in 0..LANES {
            if errors[s] < self.errors[s] {
                (self.errors[s], self.scales[s], self.integers[s], self.minus[s]) = (errors[s], scales[s], integers[s], minus[s]);
            }
        }
    }
}

/// The best fit of 256 weights; importances are positive.
#[inline(always)]
pub fn fit_lattice<L: Lattice<N>, const N: usize>(x: &[f32; 256], w: &[f32; 256]) -> Fit {
    let (xs, ws) = (x.as_chunks::<N>().0, w.as_chunks::<N>().0);
    let (groups, mut tables) = (L::groups(x, w), Tables::new());
    let mut largest = [0.0f32; LANES];
    for s in 0..256 / N {
        largest[s] = fold(&xs[s], 0.0, |a, v| max(a, v.abs()));
    }
    // One loop over the real scales and then the integers, so that the search is compiled once.
    let (mut best, mut d, mut real) = (Best::NONE, 0.0f32, [0.0f32; LANES]);
    let starts = L::START.len();
    for k in 0..starts + L::TRIED {
        if k == starts {
            real = best.scales;
            d = to_half(fold(&real, 0.0, max) / (L::UNIT * (2 * L::TOP + 1) as f32));
            if d == 0.0 || fold(&largest, 0.0, max) < TINY {
                return Fit { d: 0.0, integers: [0; LANES], codes: Codes::ZERO };
            }
            best = Best::NONE;
        }
        let (mut integers, mut scales) = ([0.0f32; LANES], [0.0f32; LANES]);
        for s in 0..256 / N {
            if k < starts {
                scales[s] = largest[s] * L::START[k];
            } else {
                let place = 0.5 * (real[s] / (d * L::UNIT)) - 0.5;
                let first = (place - 0.5 * (L::TRIED - 1) as f32).round_ties_even();
                integers[s] = (first + (k - starts) as f32).clamp(0.0, L::TOP as f32);
                scales[s] = d * (L::UNIT * (2.0 * integers[s] + 1.0));
            }
        }
        let known = best.errors;
        best.take(&scales, &integers, L::errors(&groups, &scales, &known, &mut tables));
    }
    let codes = L::assign(x, w, &groups, &best.scales, &best.minus, &mut tables);
    // Least squares of d.
    let (mut xv, mut vv) = (0.0, 0.0);
    for s in 0..256 / N {
        let multiple = L::UNIT * (2.0 * best.integers[s] + 1.0);
        let values = &codes.values.as_chunks::<N>().0[s];
        let products: [f32; N] = array(|i| ws[s][i] * xs[s][i] * values[i]);
        let squares: [f32; N] = array(|i| ws[s][i] * values[i] * values[i]);
        xv += multiple * fold(&products, 0.0, f32::add);
        vv += multiple * multiple * fold(&squares, 0.0, f32::add);
    }
    let fitted = to_half(ratio(xv, vv));
    Fit { d: if fitted > 0.0 { fitted } else { d }, integers: array(|s| best.integers[s] as u8), codes }
}
