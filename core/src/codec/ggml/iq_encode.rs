//! Encoders of the grid types with signs: IQ2_XXS, IQ2_XS, IQ2_S (rows of 8), IQ3_XXS, IQ3_S (rows of 4).

use super::encode::{BlockEncoder, put_half};
use super::grid_search::{Rows, Tables, Wanted};
use super::grids::{self, IQ2_LEVELS, IQ3_S_LEVELS, IQ3_XXS_LEVELS};
use super::lattice::{Codes, Lattice, fit_lattice};
use super::super_block::floored;
use crate::codec::lanes::{LANES, Lanes, array, spread};

static IQ2_XXS_ROWS: Rows<256, 82> = Rows::new(&grids::IQ2_XXS, &IQ2_LEVELS);
static IQ2_XS_ROWS: Rows<512, 82> = Rows::new(&grids::IQ2_XS, &IQ2_LEVELS);
static IQ2_S_ROWS: Rows<1024, 82> = Rows::new(&grids::IQ2_S, &IQ2_LEVELS);
static IQ3_XXS_ROWS: Rows<256, 65> = Rows::new(&grids::IQ3_XXS, &IQ3_XXS_LEVELS);
static IQ3_S_ROWS: Rows<512, 65> = Rows::new(&grids::IQ3_S, &IQ3_S_LEVELS);

/// 2s + 1 for s in 0 ..= 15.
const ODD: Lanes = spread(1.0, 31.0);

/// Bit i: value i is negative.
#[inline(always)]
fn signs_of(x: &[f32; 8]) -> u8 {
    let mut signs = 0;
    for i in 0..8 {
        signs |= u8::from(x[i] < 0.0) << i;
    }
    signs
}

#[inline(always)]
fn is_odd(signs: u8) -> bool {
    signs.count_ones() % 2 == 1
}

/// One group under sixteen scales.
#[inline(always)]
fn across_scales<const W: usize, const K: usize>(x: &[f32; W], w: &[f32; W], scales: &Lanes, levels: &[i8; K]) -> Wanted<W, K> {
    Wanted { x: array(|i| [x[i].abs(); LANES]), w: array(|i| [w[i]; LANES]), values: array(|l| array(|c| scales[c] * f32::from(levels[l]))) }
}

/// Sixteen groups from group `first` on, each under the scale of its sub-block of `N`.
#[inline(always)]
fn across_groups<const N: usize, const W: usize, const K: usize>(
    x: &[f32; 256],
    w: &[f32; 256],
    first: usize,
    scales: &Lanes,
    levels: &[i8; K],
) -> Wanted<W, K> {
    Wanted {
        x: array(|i| array(|c| x[(first + c) * W + i].abs())),
        w: array(|i| array(|c| w[(first + c) * W + i])),
        values: array(|l| array(|c| scales[(first + c) * W / N] * f32::from(levels[l]))),
    }
}

/// Signs of eight values that stand for magnitudes `levels`, the cheapest changed where their number must be even and is not.
#[inline(always)]
fn even(signs: u8, x: &[f32; 8], w: &[f32; 8], levels: &[f32; 8]) -> u8 {
    let mut cheapest = (f32::INFINITY, 0);
    for i in 0..8 {
        let cost = w[i] * x[i].abs() * levels[i];
        cheapest = if cost < cheapest.0 { (cost, i) } else { cheapest };
    }
    if is_odd(signs) { signs ^ (1 << cheapest.1) } else { signs }
}

/// Writes the signs and the signed values of eight weights.
#[inline(always)]
fn put(codes: &mut Codes, octet: usize, signs: u8, levels: &[f32; 8]) {
    codes.signs[octet] = signs;
    for i in 0..8 {
        codes.values[8 * octet + i] = if (signs >> i) & 1 == 1 { -levels[i] } else { levels[i] };
    }
}

/// Errors of a sub-block of rows of 8; `EVEN`: each row has an even number of minus signs.
#[inline(always)]
fn errors_of_8<const EVEN: bool, const N: usize, const R: usize>(
    x: &[f32; N],
    w: &[f32; N],
    scales: &Lanes,
    tables: &mut Tables,
    rows: &Rows<R, 82>,
) -> Lanes {
    let mut errors = [0.0; LANES];
    for (x, w) in x.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0) {
        let wanted = across_scales(x, w, scales, &IQ2_LEVELS);
        tables.fill(&wanted);
        let least = if EVEN && is_odd(signs_of(x)) {
            tables.fill_flips(&wanted, &[1.0; LANES]);
            tables.least_flipped(rows)
        } else {
            tables.least(rows)
        };
        for c in 0..LANES {
            errors[c] += least[c];
        }
    }
    errors
}

/// The nearest rows of 8.
#[inline(always)]
fn assign_8<const EVEN: bool, const N: usize, const R: usize>(
    x: &[f32; 256],
    w: &[f32; 256],
    scales: &Lanes,
    tables: &mut Tables,
    rows: &Rows<R, 82>,
    grid: &[[i8; 8]; R],
) -> Codes {
    let mut codes = Codes::ZERO;
    let (xs, ws) = (x.as_chunks::<8>().0, w.as_chunks::<8>().0);
    for first in [0, LANES] {
        let wanted = across_groups::<N, 8, 3>(x, w, first, scales, &IQ2_LEVELS);
        tables.fill(&wanted);
        let nearest = if EVEN {
            tables.fill_flips(&wanted, &array(|c| f32::from(u8::from(is_odd(signs_of(&xs[first + c]))))));
            tables.nearest::<true, R, 82>(rows).0
        } else {
            tables.nearest::<false, R, 82>(rows).0
        };
        for (c, row) in nearest.into_iter().enumerate() {
            let group = first + c;
            codes.rows[group] = row as u16;
            let levels = array(|i| f32::from(grid[row][i]));
            let signs = signs_of(&xs[group]);
            put(&mut codes, group, if EVEN { even(signs, &xs[group], &ws[group], &levels) } else { signs }, &levels);
        }
    }
    codes
}

/// Errors of a sub-block of rows of 4; `EVEN`: each pair of rows has an even number of minus signs.
#[inline(always)]
fn errors_of_4<const EVEN: bool, const R: usize>(
    x: &[f32; 32],
    w: &[f32; 32],
    scales: &Lanes,
    tables: &mut Tables,
    rows: &Rows<R, 65>,
    levels: &[i8; 8],
) -> Lanes {
    let mut errors = [0.0; LANES];
    for (x, w) in x.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0) {
        // Without a wrong sign, and with one.
        let (mut right, mut wrong) = ([0.0; LANES], [f32::INFINITY; LANES]);
        let odd = EVEN && is_odd(signs_of(x));
        for (x, w) in x.as_chunks::<4>().0.iter().zip(w.as_chunks::<4>().0) {
            let wanted = across_scales(x, w, scales, levels);
            tables.fill(&wanted);
            let least = tables.least(rows);
            if odd {
                tables.fill_flips(&wanted, &[1.0; LANES]);
                let flipped = tables.least_flipped(rows);
                for c in 0..LANES {
                    wrong[c] = (wrong[c] + least[c]).min(right[c] + flipped[c]);
                }
            }
            for c in 0..LANES {
                right[c] += least[c];
            }
        }
        for c in 0..LANES {
            errors[c] += if odd { wrong[c] } else { right[c] };
        }
    }
    errors
}

/// The nearest rows of 4.
#[inline(always)]
fn assign_4<const EVEN: bool, const R: usize>(
    x: &[f32; 256],
    w: &[f32; 256],
    scales: &Lanes,
    tables: &mut Tables,
    rows: &Rows<R, 65>,
    grid: &[[i8; 4]; R],
    levels: &[i8; 8],
) -> Codes {
    let mut codes = Codes::ZERO;
    let (xs, ws) = (x.as_chunks::<8>().0, w.as_chunks::<8>().0);
    for first in [0, LANES, 2 * LANES, 3 * LANES] {
        let wanted = across_groups::<32, 4, 8>(x, w, first, scales, levels);
        tables.fill(&wanted);
        let (mut nearest, right) = tables.nearest::<false, R, 65>(rows);
        if EVEN {
            tables.fill_flips(&wanted, &[1.0; LANES]);
            let (flipped, wrong) = tables.nearest::<true, R, 65>(rows);
            for c in (0..LANES).step_by(2) {
                if is_odd(signs_of(&xs[(first + c) / 2])) {
                    let place = if wrong[c] + right[c + 1] < right[c] + wrong[c + 1] { c } else { c + 1 };
                    nearest[place] = flipped[place];
                }
            }
        }
        for c in (0..LANES).step_by(2) {
            let octet = (first + c) / 2;
            let (a, b) = (nearest[c], nearest[c + 1]);
            (codes.rows[first + c], codes.rows[first + c + 1]) = (a as u16, b as u16);
            let levels = array(|i| f32::from(if i < 4 { grid[a][i] } else { grid[b][i - 4] }));
            let signs = signs_of(&xs[octet]);
            put(&mut codes, octet, if EVEN { even(signs, &xs[octet], &ws[octet], &levels) } else { signs }, &levels);
        }
    }
    codes
}

/// Declares a type: its name, values of a sub-block, unit of the scale, first scales, and the two searches with their operands' names.
macro_rules! lattice {
    ($name:ident, $sub:literal, $unit:expr, $start:expr, ($x:ident, $w:ident, $scales:ident, $tables:ident), $errors:expr, $assign:expr) => {
        pub(super) struct $name;

        impl Lattice<$sub> for $name {
            const UNIT: f32 = $unit;
            const MULTIPLES: Lanes = ODD;
            const START: Lanes = $start;

            #[inline(always)]
            fn errors($x: &[f32; $sub], $w: &[f32; $sub], $scales: &Lanes, $tables: &mut Tables) -> Lanes {
                $errors
            }

            #[inline(always)]
            fn assign($x: &[f32; 256], $w: &[f32; 256], $scales: &Lanes, _: &[usize; LANES], $tables: &mut Tables) -> Codes {
                $assign
            }
        }
    };
}

const START_2: Lanes = spread(0.4 / 43.0, 1.1 / 43.0);
const START_3_XXS: Lanes = spread(0.5 / 62.0, 1.1 / 62.0);
const START_3_S: Lanes = spread(0.5 / 15.0, 1.1 / 15.0);

lattice!(
    Iq2Xxs,
    32,
    0.125,
    START_2,
    (x, w, scales, tables),
    errors_of_8::<true, 32, 256>(x, w, scales, tables, &IQ2_XXS_ROWS),
    assign_8::<true, 32, 256>(x, w, scales, tables, &IQ2_XXS_ROWS, &grids::IQ2_XXS)
);
lattice!(
    Iq2Xs,
    16,
    0.125,
    START_2,
    (x, w, scales, tables),
    errors_of_8::<true, 16, 512>(x, w, scales, tables, &IQ2_XS_ROWS),
    assign_8::<true, 16, 512>(x, w, scales, tables, &IQ2_XS_ROWS, &grids::IQ2_XS)
);
lattice!(
    Iq2S,
    16,
    0.125,
    START_2,
    (x, w, scales, tables),
    errors_of_8::<false, 16, 1024>(x, w, scales, tables, &IQ2_S_ROWS),
    assign_8::<false, 16, 1024>(x, w, scales, tables, &IQ2_S_ROWS, &grids::IQ2_S)
);
lattice!(
    Iq3Xxs,
    32,
    0.25,
    START_3_XXS,
    (x, w, scales, tables),
    errors_of_4::<true, 256>(x, w, scales, tables, &IQ3_XXS_ROWS, &IQ3_XXS_LEVELS),
    assign_4::<true, 256>(x, w, scales, tables, &IQ3_XXS_ROWS, &grids::IQ3_XXS, &IQ3_XXS_LEVELS)
);
lattice!(
    Iq3S,
    32,
    1.0,
    START_3_S,
    (x, w, scales, tables),
    errors_of_4::<false, 512>(x, w, scales, tables, &IQ3_S_ROWS, &IQ3_S_LEVELS),
    assign_4::<false, 512>(x, w, scales, tables, &IQ3_S_ROWS, &grids::IQ3_S, &IQ3_S_LEVELS)
);

/// Four sign codes of 7 bits and the scale on top.
#[inline(always)]
fn sign_word(signs: &[u8], scale: usize) -> u32 {
    let mut word = (scale as u32) << 28;
    for i in 0..4 {
        word |= u32::from(signs[i] & 127) << (7 * i);
    }
    word
}

impl BlockEncoder<256, 66> for Iq2Xxs {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 66]) {
        let fit = fit_lattice::<Self, 32>(x, &floored(w));
        put_half(block, 0, fit.d);
        for sub in 0..8 {
            let at = 2 + 8 * sub;
            for i in 0..4 {
                block[at + i] = fit.codes.rows[4 * sub + i] as u8;
            }
            block[at + 4..at + 8].copy_from_slice(&sign_word(&fit.codes.signs[4 * sub..], fit.lanes[sub]).to_le_bytes());
        }
    }
}

impl BlockEncoder<256, 74> for Iq2Xs {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 74]) {
        let fit = fit_lattice::<Self, 16>(x, &floored(w));
        block.fill(0);
        put_half(block, 0, fit.d);
        for i in 0..32 {
            let word = fit.codes.rows[i] | u16::from(fit.codes.signs[i] & 127) << 9;
            block[2 + 2 * i..4 + 2 * i].copy_from_slice(&word.to_le_bytes());
        }
        for sub in 0..16 {
            block[66 + sub / 2] |= (fit.lanes[sub] as u8) << (4 * (sub % 2));
        }
    }
}

impl BlockEncoder<256, 82> for Iq2S {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 82]) {
        let fit = fit_lattice::<Self, 16>(x, &floored(w));
        block.fill(0);
        put_half(block, 0, fit.d);
        for i in 0..32 {
            block[2 + i] = fit.codes.rows[i] as u8;
            block[34 + i] = fit.codes.signs[i];
            block[66 + i / 4] |= ((fit.codes.rows[i] >> 8) as u8) << (2 * (i % 4));
        }
        for sub in 0..16 {
            block[74 + sub / 2] |= (fit.lanes[sub] as u8) << (4 * (sub % 2));
        }
    }
}

impl BlockEncoder<256, 98> for Iq3Xxs {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 98]) {
        let fit = fit_lattice::<Self, 32>(x, &floored(w));
        put_half(block, 0, fit.d);
        for i in 0..64 {
            block[2 + i] = fit.codes.rows[i] as u8;
        }
        for sub in 0..8 {
            block[66 + 4 * sub..70 + 4 * sub].copy_from_slice(&sign_word(&fit.codes.signs[4 * sub..], fit.lanes[sub]).to_le_bytes());
        }
    }
}

impl BlockEncoder<256, 110> for Iq3S {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 110]) {
        let fit = fit_lattice::<Self, 32>(x, &floored(w));
        block.fill(0);
        put_half(block, 0, fit.d);
        for i in 0..64 {
            block[2 + i] = fit.codes.rows[i] as u8;
            block[66 + i / 8] |= ((fit.codes.rows[i] >> 8) as u8) << (i % 8);
        }
        block[74..106].copy_from_slice(&fit.codes.signs);
        for sub in 0..8 {
            block[106 + sub / 2] |= (fit.lanes[sub] as u8) << (4 * (sub % 2));
        }
    }
}
