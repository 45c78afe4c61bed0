//! Super-blocks of 256 whose values are rows of a codebook grid with signs: IQ2_XXS, IQ2_XS, IQ2_S (rows of 8), IQ3_XXS, IQ3_S (rows of 4).
//! The scales are those of `lattice.rs`, the rows the nearest (`grid_search.rs`).

use super::encode_super_blocks::floored;
pub use crate::blocks::Params;
use crate::blocks::{BlockEncoder, put_half};
use crate::grid_search::{Groups, Rows, Tables};
use crate::grids::{self, IQ2_LEVELS, IQ3_S_LEVELS, IQ3_XXS_LEVELS};
use crate::lanes::{LANES, Lanes, array, min};
use crate::lattice::{Codes, Lattice, fit_lattice};

static IQ2_XXS_ROWS: Rows<256, 82> = Rows::new(&grids::IQ2_XXS, &IQ2_LEVELS);
static IQ2_XS_ROWS: Rows<512, 82> = Rows::new(&grids::IQ2_XS, &IQ2_LEVELS);
static IQ2_S_ROWS: Rows<1024, 82> = Rows::new(&grids::IQ2_S, &IQ2_LEVELS);
static IQ3_XXS_ROWS: Rows<256, 65> = Rows::new(&grids::IQ3_XXS, &IQ3_XXS_LEVELS);
static IQ3_S_ROWS: Rows<512, 65> = Rows::new(&grids::IQ3_S, &IQ3_S_LEVELS);

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

/// Magnitudes by lanes; `EVEN`: eight values have an even number of minus signs, else one is wrong.
#[inline(always)]
fn magnitudes<const EVEN: bool, const W: usize, const B: usize>(x: &[f32; 256], w: &[f32; 256]) -> Groups<W, B> {
    let odd = array(|group| f32::from(u8::from(EVEN && group * W < 256 && is_odd(signs_of(&x.as_chunks().0[(group * W / 8) % 32])))));
    Groups::new(&array(|i| x[i].abs()), w, &odd)
}

/// scale · level for the sixteen groups of a batch.
#[inline(always)]
fn values<const N: usize, const W: usize, const K: usize>(batch: usize, scales: &Lanes, levels: &[i8; K]) -> [Lanes; K] {
    let own: Lanes = array(|c| scales[(batch * LANES + c) * W / N]);
    array(|l| array(|c| own[c] * f32::from(levels[l])))
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

/// Errors of sub-blocks of rows of 8.
#[inline(always)]
fn errors_of_8<const EVEN: bool, const N: usize, const R: usize>(groups: &Groups<8, 2>, scales: &Lanes, tables: &mut Tables, rows: &Rows<R, 82>) -> Lanes {
    let mut errors = [0.0; LANES];
    for batch in 0..2 {
        tables.fill::<EVEN, 8, 2, 3>(groups, batch, &values::<N, 8, 3>(batch, scales, &IQ2_LEVELS));
        let least = tables.least::<EVEN, R, 82>(rows);
        for c in 0..LANES {
            errors[(batch * LANES + c) * 8 / N] += least[c];
        }
    }
    errors
}

/// The nearest rows of 8.
#[inline(always)]
fn assign_8<const EVEN: bool, const N: usize, const R: usize>(
    (x, w): (&[f32; 256], &[f32; 256]),
    groups: &Groups<8, 2>,
    scales: &Lanes,
    tables: &mut Tables,
    rows: &Rows<R, 82>,
    grid: &[[i8; 8]; R],
) -> Codes {
    let mut codes = Codes::ZERO;
    let (xs, ws) = (x.as_chunks::<8>().0, w.as_chunks::<8>().0);
    for batch in 0..2 {
        tables.fill::<EVEN, 8, 2, 3>(groups, batch, &values::<N, 8, 3>(batch, scales, &IQ2_LEVELS));
        let (nearest, _) = tables.nearest::<EVEN, R, 82>(rows);
        for c in 0..LANES {
            let (group, row) = (batch * LANES + c, nearest[c]);
            codes.rows[group] = row as u16;
            let levels = array(|i| f32::from(grid[row][i]));
            let signs = signs_of(&xs[group]);
            put(&mut codes, group, if EVEN { even(signs, &xs[group], &ws[group], &levels) } else { signs }, &levels);
        }
    }
    codes
}

/// Errors of sub-blocks of rows of 4; `EVEN`: each pair of rows has an even number of minus signs.
#[inline(always)]
fn errors_of_4<const EVEN: bool, const R: usize>(groups: &Groups<4, 4>, scales: &Lanes, tables: &mut Tables, rows: &Rows<R, 65>, levels: &[i8; 8]) -> Lanes {
    let mut errors = [0.0; LANES];
    for batch in 0..4 {
        tables.fill::<EVEN, 4, 4, 8>(groups, batch, &values::<32, 4, 8>(batch, scales, levels));
        let right = tables.least::<false, R, 65>(rows);
        let wrong = if EVEN { tables.least::<true, R, 65>(rows) } else { right };
        for c in (0..LANES).step_by(2) {
            // The wrong sign, if there is one, is in the first row or in the second.
            errors[(batch * LANES + c) / 8] += min(wrong[c] + right[c + 1], right[c] + wrong[c + 1]);
        }
    }
    errors
}

/// The nearest rows of 4.
#[inline(always)]
fn assign_4<const EVEN: bool, const R: usize>(
    (x, w): (&[f32; 256], &[f32; 256]),
    groups: &Groups<4, 4>,
    scales: &Lanes,
    tables: &mut Tables,
    (rows, grid): (&Rows<R, 65>, &[[i8; 4]; R]),
    levels: &[i8; 8],
) -> Codes {
    let mut codes = Codes::ZERO;
    let (xs, ws) = (x.as_chunks::<8>().0, w.as_chunks::<8>().0);
    for batch in 0..4 {
        tables.fill::<EVEN, 4, 4, 8>(groups, batch, &values::<32, 4, 8>(batch, scales, levels));
        let (mut nearest, right) = tables.nearest::<false, R, 65>(rows);
        if EVEN {
            let (flipped, wrong) = tables.nearest::<true, R, 65>(rows);
            for c in (0..LANES).step_by(2) {
                let place = if wrong[c] + right[c + 1] < right[c] + wrong[c + 1] { c } else { c + 1 };
                nearest[place] = flipped[place];
            }
        }
        for c in (0..LANES).step_by(2) {
            let group = batch * LANES + c;
            let (a, b, octet) = (nearest[c], nearest[c + 1], group / 2);
            (codes.rows[group], codes.rows[group + 1]) = (a as u16, b as u16);
            let levels = array(|i| f32::from(if i < 4 { grid[a][i] } else { grid[b][i - 4] }));
            let signs = signs_of(&xs[octet]);
            put(&mut codes, octet, if EVEN { even(signs, &xs[octet], &ws[octet], &levels) } else { signs }, &levels);
        }
    }
    codes
}

/// Declares a type: name, values of a sub-block, unit of the scale, first scales, groups, and the two searches with their operands' names.
macro_rules! lattice {
    ($doc:literal $name:ident, $sub:literal, $unit:expr, $start:expr, $even:literal, $width:literal, $batches:literal,
     ($both:ident, $groups:ident, $scales:ident, $tables:ident), $errors:expr, $assign:expr) => {
        #[doc = $doc]
        #[derive(Debug)]
        pub struct $name;

        impl Lattice<$sub> for $name {
            const UNIT: f32 = $unit;
            const TOP: i32 = 15;
            const START: &'static [f32] = &$start;
            const TRIED: usize = 4;
            type Groups = Groups<$width, $batches>;

            #[inline(always)]
            fn groups(x: &[f32; 256], w: &[f32; 256]) -> Self::Groups {
                magnitudes::<$even, $width, $batches>(x, w)
            }

            #[inline(always)]
            fn errors($groups: &Self::Groups, $scales: &Lanes, _: &Lanes, $tables: &mut Tables) -> (Lanes, [bool; LANES]) {
                ($errors, [false; LANES])
            }

            #[inline(always)]
            fn assign(x: &[f32; 256], w: &[f32; 256], $groups: &Self::Groups, $scales: &Lanes, _: &[bool; LANES], $tables: &mut Tables) -> Codes {
                let $both = (x, w);
                $assign
            }
        }
    };
}

/// Scales at which the largest magnitude is `low` to `high` times the largest level.
const fn start(low: f32, high: f32, level: f32) -> [f32; 5] {
    let mut scales = [0.0; 5];
    let mut i = 0;
    while i < 5 {
        scales[i] = 1.0 / (level * (high + (low - high) * i as f32 / 4.0));
        i += 1;
    }
    scales
}

const START_2: [f32; 5] = start(0.95, 2.2, 43.0);
const START_3_XXS: [f32; 5] = start(0.92, 1.8, 62.0);
const START_3_S: [f32; 5] = start(0.92, 1.8, 15.0);

lattice!(
    "IQ2_XXS." Iq2Xxs,
    32,
    0.125,
    START_2,
    true,
    8,
    2,
    (both, groups, scales, tables),
    errors_of_8::<true, 32, 256>(groups, scales, tables, &IQ2_XXS_ROWS),
    assign_8::<true, 32, 256>(both, groups, scales, tables, &IQ2_XXS_ROWS, &grids::IQ2_XXS)
);
lattice!(
    "IQ2_XS." Iq2Xs,
    16,
    0.125,
    START_2,
    true,
    8,
    2,
    (both, groups, scales, tables),
    errors_of_8::<true, 16, 512>(groups, scales, tables, &IQ2_XS_ROWS),
    assign_8::<true, 16, 512>(both, groups, scales, tables, &IQ2_XS_ROWS, &grids::IQ2_XS)
);
lattice!(
    "IQ2_S." Iq2S,
    16,
    0.125,
    START_2,
    false,
    8,
    2,
    (both, groups, scales, tables),
    errors_of_8::<false, 16, 1024>(groups, scales, tables, &IQ2_S_ROWS),
    assign_8::<false, 16, 1024>(both, groups, scales, tables, &IQ2_S_ROWS, &grids::IQ2_S)
);
lattice!(
    "IQ3_XXS." Iq3Xxs,
    32,
    0.25,
    START_3_XXS,
    true,
    4,
    4,
    (both, groups, scales, tables),
    errors_of_4::<true, 256>(groups, scales, tables, &IQ3_XXS_ROWS, &IQ3_XXS_LEVELS),
    assign_4::<true, 256>(both, groups, scales, tables, (&IQ3_XXS_ROWS, &grids::IQ3_XXS), &IQ3_XXS_LEVELS)
);
lattice!(
    "IQ3_S." Iq3S,
    32,
    1.0,
    START_3_S,
    false,
    4,
    4,
    (both, groups, scales, tables),
    errors_of_4::<false, 512>(groups, scales, tables, &IQ3_S_ROWS, &IQ3_S_LEVELS),
    assign_4::<false, 512>(both, groups, scales, tables, (&IQ3_S_ROWS, &grids::IQ3_S), &IQ3_S_LEVELS)
);

/// Four sign codes of 7 bits and the scale on top.
#[inline(always)]
fn sign_word(signs: &[u8], scale: u8) -> u32 {
    let mut word = u32::from(scale) << 28;
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
            block[at + 4..at + 8].copy_from_slice(&sign_word(&fit.codes.signs[4 * sub..], fit.integers[sub]).to_le_bytes());
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
            block[66 + sub / 2] |= fit.integers[sub] << (4 * (sub % 2));
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
            block[74 + sub / 2] |= fit.integers[sub] << (4 * (sub % 2));
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
            block[66 + 4 * sub..70 + 4 * sub].copy_from_slice(&sign_word(&fit.codes.signs[4 * sub..], fit.integers[sub]).to_le_bytes());
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
            block[106 + sub / 2] |= fit.integers[sub] << (4 * (sub % 2));
        }
    }
}

/// What the kernel is told of a type, by its number in ggml; nothing for a type that is not one of these.
pub fn table(format: u32) -> Vec<u32> {
    match format {
        16 => words::<Iq2Xxs, 32, 8, 3, 256, 82>(format, true, &IQ2_XXS_ROWS, &IQ2_LEVELS),
        17 => words::<Iq2Xs, 16, 8, 3, 512, 82>(format, true, &IQ2_XS_ROWS, &IQ2_LEVELS),
        22 => words::<Iq2S, 16, 8, 3, 1024, 82>(format, false, &IQ2_S_ROWS, &IQ2_LEVELS),
        18 => words::<Iq3Xxs, 32, 4, 8, 256, 65>(format, true, &IQ3_XXS_ROWS, &IQ3_XXS_LEVELS),
        21 => words::<Iq3S, 32, 4, 8, 512, 65>(format, false, &IQ3_S_ROWS, &IQ3_S_LEVELS),
        _ => Vec::new(),
    }
}

/// Room for the halves of rows in the struct `Grid` of the WGSL.
const HALVES: usize = 162;

/// The struct `Grid` of the WGSL, word by word: `W` values a row, `K` levels, sub-blocks of `SUB`.
fn words<L: Lattice<SUB>, const SUB: usize, const W: usize, const K: usize, const N: usize, const STARTS: usize>(
    format: u32,
    even: bool,
    rows: &Rows<N, STARTS>,
    levels: &[i8; K],
) -> Vec<u32> {
    let patterns = STARTS - 1;
    let mut words: Vec<u32> = [format, W as u32, K as u32, patterns as u32, N as u32, SUB as u32, even.into(), L::UNIT.to_bits()].into();
    words.extend(L::START.iter().map(|start| start.to_bits()));
    words.extend((0..8).map(|l| levels.get(l).map_or(0, |level| f32::from(*level).to_bits())));
    // Of each half: where in a table of K numbers a position those of its values stand, a byte each.
    let half = W / 2;
    let cell = |pattern: usize, from: usize, i: usize| ((from + i) * K + pattern / K.pow((half - 1 - i) as u32) % K) as u32;
    for from in [0, half] {
        words.extend((0..patterns).map(|pattern| (0..half).fold(0, |cells, i| cells | cell(pattern, from, i) << (8 * i))));
    }
    words.resize(words.len() + HALVES - 2 * patterns, 0);
    words.extend(rows.sorted().map(|[a, b, index]| a | (b + patterns as u32) << 8 | index << 16));
    words
}
