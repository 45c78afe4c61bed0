//! Encoders of the grid types with shifted ternary rows: IQ1_S (one shift for 32 values) and IQ1_M (one for 8).
//!
//! There are eight scales and two shifts, so the sixteen lanes are all there is: lane c stands for scale c % 8 and, from lane 8 on, for the
//! negative shift.

use super::encode::{BlockEncoder, put_half};
use super::grid_search::{Rows, Tables, Wanted};
use super::grids::{self, IQ1_LEVELS};
use super::lattice::{Codes, Fit, Lattice, fit_lattice};
use super::super_block::floored;
use crate::codec::lanes::{LANES, Lanes, array, min};

static ROWS: Rows<2048, 82> = Rows::new(&grids::IQ1, &IQ1_LEVELS);

/// 2s + 1 for s in 0 ..= 7, twice.
const TWICE: Lanes = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0, 1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0];
const START: Lanes = [0.22, 0.3, 0.38, 0.46, 0.54, 0.63, 0.73, 0.85, 0.22, 0.3, 0.38, 0.46, 0.54, 0.63, 0.73, 0.85];
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

/// scale · (level + shift).
#[inline(always)]
fn values(scales: &Lanes, shifts: &Lanes) -> [Lanes; 3] {
    array(|l| array(|c| scales[c] * (l as f32 - 1.0 + shifts[c])))
}

/// Eight values under eight scales and both shifts.
#[inline(always)]
fn least(x: &[f32; 8], w: &[f32; 8], scales: &Lanes, tables: &mut Tables) -> Lanes {
    let shifts: Lanes = array(|c| if c < 8 { SHIFT } else { -SHIFT });
    tables.fill::<8, 3>(&Wanted { x: array(|i| [x[i]; LANES]), w: array(|i| [w[i]; LANES]), values: values(scales, &shifts) });
    tables.least(&ROWS)
}

/// The rows of sixteen groups from group `first` on, and their errors.
#[inline(always)]
fn nearest<const N: usize>(x: &[f32; 256], w: &[f32; 256], first: usize, scales: &Lanes, shifts: &Lanes, tables: &mut Tables) -> ([usize; LANES], Lanes) {
    let own: Lanes = array(|c| scales[(first + c) * 8 / N]);
    tables.fill::<8, 3>(&Wanted {
        x: array(|i| array(|c| x[(first + c) * 8 + i])),
        w: array(|i| array(|c| w[(first + c) * 8 + i])),
        values: values(&own, shifts),
    });
    tables.nearest::<false, 2048, 82>(&ROWS)
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
    const MULTIPLES: Lanes = TWICE;
    const START: Lanes = START;

    #[inline(always)]
    fn errors(x: &[f32; 32], w: &[f32; 32], scales: &Lanes, tables: &mut Tables) -> Lanes {
        let mut errors = [0.0; LANES];
        for (x, w) in x.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0) {
            let least = least(x, w, scales, tables);
            for c in 0..LANES {
                errors[c] += least[c];
            }
        }
        errors
    }

    #[inline(always)]
    fn assign(x: &[f32; 256], w: &[f32; 256], scales: &Lanes, lanes: &[usize; LANES], tables: &mut Tables) -> Codes {
        let mut codes = Codes::ZERO;
        for first in [0, LANES] {
            let shifts: Lanes = array(|c| if lanes[(first + c) / 4] < 8 { SHIFT } else { -SHIFT });
            let (rows, _) = nearest::<32>(x, w, first, scales, &shifts, tables);
            for c in 0..LANES {
                put(&mut codes, first + c, rows[c], shifts[c]);
            }
        }
        codes
    }
}

pub(super) struct Iq1M;

impl Lattice<16> for Iq1M {
    const UNIT: f32 = 1.0;
    const MULTIPLES: Lanes = TWICE;
    const START: Lanes = START;

    #[inline(always)]
    fn errors(x: &[f32; 16], w: &[f32; 16], scales: &Lanes, tables: &mut Tables) -> Lanes {
        let mut errors = [0.0; LANES];
        for (x, w) in x.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0) {
            let least = least(x, w, scales, tables);
            for c in 0..LANES {
                // Each group has the better shift.
                errors[c] += min(least[c % 8], least[c % 8 + 8]);
            }
        }
        errors
    }

    #[inline(always)]
    fn assign(x: &[f32; 256], w: &[f32; 256], scales: &Lanes, _: &[usize; LANES], tables: &mut Tables) -> Codes {
        let mut codes = Codes::ZERO;
        for first in [0, LANES] {
            let (plus, right) = nearest::<16>(x, w, first, scales, &[SHIFT; LANES], tables);
            let (minus, left) = nearest::<16>(x, w, first, scales, &[-SHIFT; LANES], tables);
            for c in 0..LANES {
                let (row, shift) = if left[c] < right[c] { (minus[c], -SHIFT) } else { (plus[c], SHIFT) };
                put(&mut codes, first + c, row, shift);
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
            let mut high = (fit.lanes[sub] as u16 & 7) << 12 | u16::from(fit.codes.signs[4 * sub]) << 15;
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
                bits |= (fit.lanes[4 * word + i] as u16 & 7) << (3 * i);
            }
            block[48 + 2 * word..50 + 2 * word].copy_from_slice(&bits.to_le_bytes());
        }
    }
}
