//! Encoders of the grid types with shifted ternary rows: IQ1_S (one shift for 32 values) and IQ1_M (one for 8).

use super::encode::{BlockEncoder, put_half};
use crate::codec::lanes::{LANES, Lanes, array, min};
use halftone_shaders::grid_search::{Groups, Rows, Tables};
use halftone_shaders::grids::{self, IQ1_LEVELS};
use halftone_shaders::lattice::{Codes, Fit, Lattice, fit_lattice};
use halftone_shaders::twin::encode_super_blocks::floored;

static ROWS: Rows<2048, 82> = Rows::new(&grids::IQ1, &IQ1_LEVELS);

const SHIFT: f32 = 0.125;

/// A row without −1: with d = 0 and the positive shift it gives zeros that are not negative.
const ZEROS: u16 = {
    let mut row = 0;
    'rows: loop {
        let mut i = 0;
        while grids::IQ1[row][i] >= 0 {
            i += 1;
            if i == 8 {
                break 'rows;
            }
        }
        row += 1;
    }
    row as u16
};

/// scale · (level + shift) for the sixteen groups of a batch.
#[inline(always)]
fn values<const N: usize>(batch: usize, scales: &Lanes, shifts: &Lanes) -> [Lanes; 3] {
    let own: Lanes = array(|c| scales[(batch * LANES + c) * 8 / N]);
    array(|l| array(|c| own[c] * (l as f32 - 1.0 + shifts[c])))
}

/// The least errors of a batch with one shift; where `known` is lower, that.
#[inline(always)]
fn least<const N: usize>(groups: &Groups<8, 2>, batch: usize, scales: &Lanes, shift: f32, known: &Lanes, tables: &mut Tables) -> Lanes {
    tables.fill::<false, 8, 2, 3>(groups, batch, &values::<N>(batch, scales, &[shift; LANES]));
    tables.least_below::<2048, 82>(&ROWS, known)
}

#[inline(always)]
fn nearest<const N: usize>(groups: &Groups<8, 2>, batch: usize, scales: &Lanes, shifts: &Lanes, known: &Lanes, tables: &mut Tables) -> ([usize; LANES], Lanes) {
    tables.fill::<false, 8, 2, 3>(groups, batch, &values::<N>(batch, scales, shifts));
    tables.nearest_below::<false, 2048, 82>(&ROWS, known)
}

#[inline(always)]
fn put(codes: &mut Codes, group: usize, row: usize, shift: f32) {
    codes.rows[group] = row as u16;
    codes.signs[group] = u8::from(shift < 0.0);
    for i in 0..8 {
        codes.values[8 * group + i] = f32::from(grids::IQ1[row][i]) + shift;
    }
}

pub(super) struct Iq1S;

impl Lattice<32> for Iq1S {
    const UNIT: f32 = 1.0;
    const TOP: i32 = 7;
    const START: &'static [f32] = &[0.3, 0.48, 0.74];
    const TRIED: usize = 3;
    type Groups = Groups<8, 2>;

    #[inline(always)]
    fn groups(x: &[f32; 256], w: &[f32; 256]) -> Self::Groups {
        Groups::new(x, w, &[0.0; 64])
    }

    #[inline(always)]
    fn errors(groups: &Self::Groups, scales: &Lanes, known: &Lanes, tables: &mut Tables) -> (Lanes, [bool; LANES]) {
        let mut errors = [[0.0; LANES]; 2];
        for batch in 0..2 {
            // A group that alone is not below what its sub-block must be below decides it.
            let mut known: Lanes = *known;
            for (errors, shift) in errors.iter_mut().zip([SHIFT, -SHIFT]) {
                let own: Lanes = array(|c| known[(batch * LANES + c) / 4]);
                let least = least::<32>(groups, batch, scales, shift, &own, tables);
                for c in 0..LANES {
                    errors[(batch * LANES + c) / 4] += least[c];
                }
                for s in 4 * batch..4 * batch + 4 {
                    known[s] = min(known[s], errors[s]);
                }
            }
        }
        let minus = array(|s| errors[1][s] < errors[0][s]);
        (array(|s| min(errors[0][s], errors[1][s])), minus)
    }

    #[inline(always)]
    fn assign(_: &[f32; 256], _: &[f32; 256], groups: &Self::Groups, scales: &Lanes, minus: &[bool; LANES], tables: &mut Tables) -> Codes {
        let mut codes = Codes::ZERO;
        for batch in 0..2 {
            let shifts: Lanes = array(|c| if minus[(batch * LANES + c) / 4] { -SHIFT } else { SHIFT });
            let (rows, _) = nearest::<32>(groups, batch, scales, &shifts, &[f32::INFINITY; LANES], tables);
            for c in 0..LANES {
                put(&mut codes, batch * LANES + c, rows[c], shifts[c]);
            }
        }
        codes
    }
}

pub(super) struct Iq1M;

impl Lattice<16> for Iq1M {
    const UNIT: f32 = 1.0;
    const TOP: i32 = 7;
    const START: &'static [f32] = &[0.3, 0.48, 0.74];
    const TRIED: usize = 2;
    type Groups = Groups<8, 2>;

    #[inline(always)]
    fn groups(x: &[f32; 256], w: &[f32; 256]) -> Self::Groups {
        Groups::new(x, w, &[0.0; 64])
    }

    #[inline(always)]
    fn errors(groups: &Self::Groups, scales: &Lanes, known: &Lanes, tables: &mut Tables) -> (Lanes, [bool; LANES]) {
        let mut errors = [0.0; LANES];
        for batch in 0..2 {
            // Each group has the better shift; one that alone is not below what its sub-block must be below decides it.
            let mut own: Lanes = array(|c| known[(batch * LANES + c) / 2]);
            for shift in [SHIFT, -SHIFT] {
                own = least::<16>(groups, batch, scales, shift, &own, tables);
            }
            for c in 0..LANES {
                errors[(batch * LANES + c) / 2] += own[c];
            }
        }
        (errors, [false; LANES])
    }

    #[inline(always)]
    fn assign(_: &[f32; 256], _: &[f32; 256], groups: &Self::Groups, scales: &Lanes, _: &[bool; LANES], tables: &mut Tables) -> Codes {
        let mut codes = Codes::ZERO;
        for batch in 0..2 {
            let (plus, right) = nearest::<16>(groups, batch, scales, &[SHIFT; LANES], &[f32::INFINITY; LANES], tables);
            let (minus, left) = nearest::<16>(groups, batch, scales, &[-SHIFT; LANES], &right, tables);
            for c in 0..LANES {
                let (row, shift) = if left[c] < right[c] { (minus[c], -SHIFT) } else { (plus[c], SHIFT) };
                put(&mut codes, batch * LANES + c, row, shift);
            }
        }
        codes
    }
}

/// The fit; the rows of a block of zeros are such that it decodes to zeros.
#[inline(always)]
fn fit<L: Lattice<N>, const N: usize>(x: &[f32; 256], w: &[f32; 256]) -> Fit {
    let mut fit = fit_lattice::<L, N>(x, &floored(w));
    if fit.d == 0.0 {
        fit.codes.rows = [ZEROS; 64];
    }
    fit
}

impl BlockEncoder<256, 50> for Iq1S {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 50]) {
        let fit = fit::<Self, 32>(x, w);
        put_half(block, 0, fit.d);
        for sub in 0..8 {
            let mut high = u16::from(fit.integers[sub]) << 12 | u16::from(fit.codes.signs[4 * sub]) << 15;
            for i in 0..4 {
                let row = fit.codes.rows[4 * sub + i];
                block[2 + 4 * sub + i] = row as u8;
                high |= (row >> 8) << (3 * i);
            }
            block[34 + 2 * sub..36 + 2 * sub].copy_from_slice(&high.to_le_bytes());
        }
    }
}

impl BlockEncoder<256, 56> for Iq1M {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 56]) {
        let fit = fit::<Self, 16>(x, w);
        block.fill(0);
        for i in 0..32 {
            let row = fit.codes.rows[i];
            block[i] = row as u8;
            block[32 + i / 2] |= ((row >> 8) as u8 | fit.codes.signs[i] << 3) << (4 * (i % 2));
        }
        let d = half::f16::from_f32(fit.d).to_bits();
        for word in 0..4 {
            let mut bits = (d >> (4 * word)) << 12;
            for i in 0..4 {
                bits |= u16::from(fit.integers[4 * word + i]) << (3 * i);
            }
            block[48 + 2 * word..50 + 2 * word].copy_from_slice(&bits.to_le_bytes());
        }
    }
}
