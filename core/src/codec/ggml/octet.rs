//! Freeze, then round, for the grid types (IQ1 to IQ3): a code stands for eight weights at once, so the finest step of error feedback is eight
//! columns wide. The nearest code is looked for among all rows, with the scales that the block has.
//!
//! The encoders of whole blocks (`grid_search.rs` of the shaders) keep sixteen groups in the lanes; here groups come one at a time and the lanes are rows.

use super::iq::{quarter_scale, u16_at, u32_at};
use super::{GgmlType, half_at};
use crate::codec::lanes::{LANES, Lanes, min, smallest};
use halftone_shaders::grids::{self, even_signs};
use pulp::NullaryFnOnce;
use std::sync::LazyLock;

/// What is stored of eight weights beside the scale: one row of eight, or two of four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Octet {
    rows: [u16; 2],
    /// Bit i: value i is negative; of IQ1 bit 0: the shift is.
    signs: u8,
}

/// A grid by columns, so that consecutive rows lie side by side.
struct Grid {
    rows: usize,
    columns: Vec<Lanes>,
}

impl Grid {
    fn new<const W: usize, const N: usize>(grid: &[[i8; W]; N]) -> Self {
        let rows = |i: usize| grid.as_chunks::<LANES>().0.iter().map(move |rows| std::array::from_fn(|c| f32::from(rows[c][i])));
        Self { rows: N, columns: (0..W).flat_map(rows).collect() }
    }

    /// The row nearest to `x` at `scale`·(level + `shift`) by the squares weighted with `w`, and the cost; `ODD`: with the cheapest sign wrong.
    #[inline(always)]
    fn nearest<const W: usize, const ODD: bool>(&self, x: &[f32; W], w: &[f32; W], scale: f32, shift: f32) -> (u16, f32) {
        let chunks = self.rows / LANES;
        let (mut best, mut place) = ([f32::INFINITY; LANES], [0.0f32; LANES]);
        for chunk in 0..chunks {
            let (mut cost, mut flip) = ([0.0f32; LANES], [f32::INFINITY; LANES]);
            for i in 0..W {
                let levels = &self.columns[i * chunks + chunk];
                for c in 0..LANES {
                    let value = scale * (levels[c] + shift);
                    let residual = x[i] - value;
                    cost[c] += w[i] * (residual * residual);
                    if ODD {
                        flip[c] = min(flip[c], 4.0 * w[i] * x[i] * value);
                    }
                }
            }
            for c in 0..LANES {
                let total = if ODD { cost[c] + flip[c] } else { cost[c] };
                place[c] = if total < best[c] { chunk as f32 } else { place[c] };
                best[c] = min(best[c], total);
            }
        }
        let lane = smallest(&best);
        ((place[lane] as usize * LANES + lane) as u16, best[lane])
    }

    fn row<const W: usize>(&self, row: u16) -> [f32; W] {
        let (chunk, lane) = (usize::from(row) / LANES, usize::from(row) % LANES);
        std::array::from_fn(|i| self.columns[i * (self.rows / LANES) + chunk][lane])
    }
}

static IQ2_XXS: LazyLock<Grid> = LazyLock::new(|| Grid::new(&grids::IQ2_XXS));
static IQ2_XS: LazyLock<Grid> = LazyLock::new(|| Grid::new(&grids::IQ2_XS));
static IQ2_S: LazyLock<Grid> = LazyLock::new(|| Grid::new(&grids::IQ2_S));
static IQ3_XXS: LazyLock<Grid> = LazyLock::new(|| Grid::new(&grids::IQ3_XXS));
static IQ3_S: LazyLock<Grid> = LazyLock::new(|| Grid::new(&grids::IQ3_S));
static IQ1: LazyLock<Grid> = LazyLock::new(|| Grid::new(&grids::IQ1));

impl GgmlType {
    fn grid(self) -> Option<&'static Grid> {
        Some(match self {
            Self::IQ2_XXS => &IQ2_XXS,
            Self::IQ2_XS => &IQ2_XS,
            Self::IQ2_S => &IQ2_S,
            Self::IQ3_XXS => &IQ3_XXS,
            Self::IQ3_S => &IQ3_S,
            Self::IQ1_S | Self::IQ1_M => &IQ1,
            _ => return None,
        })
    }

    /// Whether a code stands for eight weights.
    pub(in crate::codec) fn has_octets(self) -> bool {
        self.grid().is_some()
    }

    /// The nearest codes of the eight weights `x` at place `octet` of a block, for several blocks that lie `stride` bytes apart, and the values
    /// they stand for. Nothing is written. Where a block's scale is 0 its codes do not matter, and `None` is found.
    pub(in crate::codec) fn find_octets(
        self,
        blocks: &[u8],
        stride: usize,
        octet: usize,
        x: &[[f32; 8]],
        w: &[f32; 8],
        found: &mut [(Option<Octet>, [f32; 8])],
    ) {
        let Some(grid) = self.grid() else { unreachable!("{self} has a code for each weight") };
        pulp::Arch::new().dispatch(Find { kind: self, grid, blocks, stride, octet, x, w, found });
    }

    /// Scale and shift of eight weights: ŵ = ± scale·(level + shift).
    fn octet_law(self, block: &[u8], octet: usize) -> (f32, f32) {
        let quarter = octet / 4;
        let scale = match self {
            Self::IQ2_XXS => half_at(block, 0) * (0.5 + (u32_at(block, 6 + 8 * quarter) >> 28) as f32) * 0.25,
            Self::IQ2_XS => quarter_scale(half_at(block, 0), block[66 + quarter], octet),
            Self::IQ2_S => quarter_scale(half_at(block, 0), block[74 + quarter], octet),
            Self::IQ3_XXS => half_at(block, 0) * (0.5 + (u32_at(block, 66 + 4 * quarter) >> 28) as f32) * 0.5,
            Self::IQ3_S => half_at(block, 0) * f32::from(1 + 2 * ((block[106 + quarter / 2] >> (4 * (quarter % 2))) & 15)),
            Self::IQ1_S => {
                let word = u16_at(block, 34 + 2 * quarter);
                let shift = if word & 0x8000 != 0 { -SHIFT } else { SHIFT };
                return (half_at(block, 0) * f32::from(2 * ((word >> 12) & 7) + 1), shift);
            }
            Self::IQ1_M => {
                let word = |i: usize| u16_at(block, 48 + 2 * i);
                let bits = (0..4).fold(0, |bits, i| bits | (word(i) >> 12) << (4 * i));
                let sub = octet / 2;
                half::f16::from_bits(bits).to_f32() * f32::from(2 * ((word(sub / 4) >> (3 * (sub % 4))) & 7) + 1)
            }
            _ => unreachable!("{self} has a code for each weight"),
        };
        (scale, 0.0)
    }

    /// Writes the code of eight weights; the scales stay.
    pub(in crate::codec) fn put_octet(self, block: &mut [u8], octet: usize, code: Octet) {
        let Octet { rows, signs } = code;
        let (quarter, place) = (octet / 4, octet % 4);
        let low = [rows[0] as u8, rows[1] as u8];
        let high = [(rows[0] >> 8) as u8, (rows[1] >> 8) as u8];
        match self {
            Self::IQ2_XXS => {
                block[2 + 8 * quarter + place] = low[0];
                put_signs(&mut block[6 + 8 * quarter..], place, signs);
            }
            Self::IQ2_XS => block[2 + 2 * octet..4 + 2 * octet].copy_from_slice(&(rows[0] | u16::from(signs & 127) << 9).to_le_bytes()),
            Self::IQ2_S => {
                (block[2 + octet], block[34 + octet]) = (low[0], signs);
                put_bits(&mut block[66 + quarter], 2 * place, 3, high[0]);
            }
            Self::IQ3_XXS => {
                block[2 + 2 * octet..4 + 2 * octet].copy_from_slice(&low);
                put_signs(&mut block[66 + 4 * quarter..], place, signs);
            }
            Self::IQ3_S => {
                block[2 + 2 * octet..4 + 2 * octet].copy_from_slice(&low);
                block[74 + octet] = signs;
                put_bits(&mut block[66 + quarter], 2 * place, 3, high[0] | high[1] << 1);
            }
            Self::IQ1_S => {
                block[2 + octet] = low[0];
                let at = 34 + 2 * quarter;
                let word = u16_at(block, at) & !(7 << (3 * place)) | u16::from(high[0]) << (3 * place);
                block[at..at + 2].copy_from_slice(&word.to_le_bytes());
            }
            Self::IQ1_M => {
                block[octet] = low[0];
                put_bits(&mut block[32 + octet / 2], 4 * (octet % 2), 15, high[0] | signs << 3);
            }
            _ => unreachable!("{self} has a code for each weight"),
        }
    }
}

const SHIFT: f32 = 0.125;

fn put_bits(byte: &mut u8, at: usize, mask: u8, bits: u8) {
    *byte = *byte & !(mask << at) | bits << at;
}

/// Seven bits of the word of four sign codes and a scale; the eighth sign makes their number even.
fn put_signs(word: &mut [u8], place: usize, signs: u8) {
    let bits = u32_at(word, 0) & !(127 << (7 * place)) | u32::from(signs & 127) << (7 * place);
    word[..4].copy_from_slice(&bits.to_le_bytes());
}

/// The arguments of [`GgmlType::find_octets`], as a type that is compiled for wide vectors.
struct Find<'a> {
    kind: GgmlType,
    grid: &'static Grid,
    blocks: &'a [u8],
    stride: usize,
    octet: usize,
    x: &'a [[f32; 8]],
    w: &'a [f32; 8],
    found: &'a mut [(Option<Octet>, [f32; 8])],
}

impl NullaryFnOnce for Find<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { kind, grid, w, .. } = self;
        for (row, (x, found)) in self.x.iter().zip(self.found).enumerate() {
            let (scale, shift) = kind.octet_law(&self.blocks[row * self.stride..], self.octet);
            *found = if scale == 0.0 {
                (None, [0.0; 8])
            } else {
                let (octet, values) = match kind {
                    GgmlType::IQ2_XXS | GgmlType::IQ2_XS => grid.find_signed::<8, true>(x, w, scale),
                    GgmlType::IQ2_S => grid.find_signed::<8, false>(x, w, scale),
                    GgmlType::IQ3_XXS => grid.find_signed::<4, true>(x, w, scale),
                    GgmlType::IQ3_S => grid.find_signed::<4, false>(x, w, scale),
                    GgmlType::IQ1_S => grid.find_shifted(x, w, scale, &[shift]),
                    _ => grid.find_shifted(x, w, scale, &[SHIFT, -SHIFT]),
                };
                (Some(octet), values)
            };
        }
    }
}

impl Grid {
    /// Rows of `W` magnitudes with signs; `EVEN`: of an even number of minus signs in eight.
    #[inline(always)]
    fn find_signed<const W: usize, const EVEN: bool>(&self, x: &[f32; 8], w: &[f32; 8], scale: f32) -> (Octet, [f32; 8]) {
        let mut signs = 0u8;
        let mut size = [0.0f32; 8];
        for i in 0..8 {
            signs |= u8::from(x[i] < 0.0) << i;
            size[i] = x[i].abs();
        }
        let (sizes, weights) = (size.as_chunks::<W>().0, w.as_chunks::<W>().0);
        let mut rows = [0u16; 2];
        let mut costs = [0.0f32; 2];
        for part in 0..8 / W {
            (rows[part], costs[part]) = self.nearest::<W, false>(&sizes[part], &weights[part], scale, 0.0);
        }
        let odd = EVEN && signs.count_ones() % 2 == 1;
        // The part that has the wrong sign.
        let mut wrong = 0;
        if odd {
            let mut least = f32::INFINITY;
            let mut flipped = [0u16; 2];
            for part in 0..8 / W {
                let (row, cost) = self.nearest::<W, true>(&sizes[part], &weights[part], scale, 0.0);
                flipped[part] = row;
                if cost - costs[part] < least {
                    (least, wrong) = (cost - costs[part], part);
                }
            }
            rows[wrong] = flipped[wrong];
        }
        let mut levels = [0.0f32; 8];
        for part in 0..8 / W {
            levels[part * W..(part + 1) * W].copy_from_slice(&self.row::<W>(rows[part]));
        }
        if odd {
            let cost = |i: usize| w[i] * size[i] * levels[i];
            let mut cheapest = wrong * W;
            for i in wrong * W..(wrong + 1) * W {
                cheapest = if cost(i) < cost(cheapest) { i } else { cheapest };
            }
            signs ^= 1 << cheapest;
        }
        if EVEN {
            debug_assert_eq!(signs, even_signs(u32::from(signs)), "an even number of minus signs");
        }
        for i in 0..8 {
            levels[i] *= if (signs >> i) & 1 == 1 { -scale } else { scale };
        }
        (Octet { rows, signs }, levels)
    }

    /// Rows of eight levels with one of these shifts.
    #[inline(always)]
    fn find_shifted(&self, x: &[f32; 8], w: &[f32; 8], scale: f32, shifts: &[f32]) -> (Octet, [f32; 8]) {
        let (mut best, mut least) = ((0, 0.0), f32::INFINITY);
        for &shift in shifts {
            let (row, cost) = self.nearest::<8, false>(x, w, scale, shift);
            if cost < least {
                (best, least) = ((row, shift), cost);
            }
        }
        let (row, shift) = best;
        let levels = self.row::<8>(row);
        (Octet { rows: [row, 0], signs: u8::from(shift < 0.0) }, std::array::from_fn(|i| scale * (levels[i] + shift)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn the_code_found_is_no_worse_than_any_other_and_decodes_to_its_values() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for &kind in GgmlType::ALL.iter().filter(|t| t.has_octets()) {
            let grid = kind.grid().expect("a grid");
            let row: Vec<f32> = (0..256).map(|_| rng.random_range(-1.0..1.0f32).powi(3)).collect();
            let mut block = vec![0u8; kind.block_bytes()];
            kind.encode_row(&row, None, &mut block);
            let mut decoded = [0.0f32; 256];
            for octet in 0..32 {
                let x: [f32; 8] = std::array::from_fn(|_| rng.random_range(-1.0..1.0f32).powi(3));
                let w: [f32; 8] = std::array::from_fn(|_| rng.random_range(0.01..1.0));
                let cost = |values: &[f32]| (0..8).map(|i| w[i] * (x[i] - values[i]).powi(2)).sum::<f32>();
                let mut found = [(None, [0.0; 8])];
                kind.find_octets(&block, block.len(), octet, &[x], &w, &mut found);
                let (code, values) = found[0];
                let before = block.clone();
                kind.put_octet(&mut block, octet, code.expect("a scale"));
                kind.decode(&block, &mut decoded);
                for (got, want) in decoded[8 * octet..][..8].iter().zip(values) {
                    assert!((got - want).abs() <= 1e-6 * want.abs(), "{kind} octet {octet}: {got} instead of {want}");
                }
                let mut other = before.clone();
                for _ in 0..1000 {
                    let rows = [rng.random_range(0..grid.rows as u16), rng.random_range(0..grid.rows as u16)];
                    let signs = if matches!(kind, GgmlType::IQ1_S | GgmlType::IQ1_M) { rng.random::<u8>() & 1 } else { rng.random() };
                    kind.put_octet(&mut other, octet, Octet { rows, signs });
                    kind.decode(&other, &mut decoded);
                    assert!(cost(&decoded[8 * octet..][..8]) >= cost(&values) * (1.0 - 1e-5), "{kind} octet {octet}: a better code");
                }
                // What stands beside it is as it was.
                kind.put_octet(&mut other, octet, code.expect("a scale"));
                assert_eq!(other, block, "{kind} octet {octet}");
            }
        }
    }
}
