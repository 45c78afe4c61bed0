//! Super-blocks of 256 whose values are rows of a codebook grid with signs: IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S.
//! The encoders are in the twin `encode_grid_rows.rs` and in `iq1_encode.rs`.

use super::half_at;
use halftone_shaders::grids::{self, even_signs};

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// scale · grid row · signs (bit i of `signs` set: minus).
fn write_signed<const W: usize>(out: &mut [f32], row: &[i8; W], scale: f32, signs: u8) {
    for (i, (value, &level)) in out.iter_mut().zip(row).enumerate() {
        let magnitude = scale * f32::from(level);
        *value = if (signs >> i) & 1 == 0 { magnitude } else { -magnitude };
    }
}

/// f16 d; per 32 values four grid bytes and a u32 of 4 × 7 sign bits with the scale on top. db = d·(½ + s)/4.
pub(super) fn decode_iq2_xxs(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    for (sub, values) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let at = 2 + 8 * sub;
        let word = u32_at(block, at + 4);
        let scale = d * (0.5 + (word >> 28) as f32) * 0.25;
        for (i, values) in values.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            write_signed(values, &grids::IQ2_XXS[usize::from(block[at + i])], scale, even_signs(word >> (7 * i)));
        }
    }
}

/// f16 d; 32 u16 (9 bits grid, 7 bits signs); 8 bytes of scale nibbles, one nibble per 16 values. db = d·(½ + s)/4.
pub(super) fn decode_iq2_xs(block: &[u8; 74], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    for (i, values) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let word = u16_at(block, 2 + 2 * i);
        let scale = quarter_scale(d, block[66 + i / 4], i);
        write_signed(values, &grids::IQ2_XS[usize::from(word & 511)], scale, even_signs(u32::from(word >> 9)));
    }
}

/// f16 d; 32 low index bytes; 32 sign bytes; qh[8] (2 index bits per 8 values); 8 bytes of scale nibbles. db = d·(½ + s)/4.
pub(super) fn decode_iq2_s(block: &[u8; 82], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    for (i, values) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let high = (block[66 + i / 4] >> (2 * (i % 4))) & 3;
        let scale = quarter_scale(d, block[74 + i / 4], i);
        write_signed(values, &grids::IQ2_S[usize::from(block[2 + i]) | usize::from(high) << 8], scale, block[34 + i]);
    }
}

/// The scale of group `i` of 8: one byte of two nibbles serves 32 values.
pub(super) fn quarter_scale(d: f32, nibbles: u8, i: usize) -> f32 {
    d * (0.5 + f32::from((nibbles >> (4 * (i % 4 / 2))) & 15)) * 0.25
}

/// f16 d; 64 grid bytes (4 values each); 8 u32 of 4 × 7 sign bits with the scale on top. db = d·(½ + s)/2.
pub(super) fn decode_iq3_xxs(block: &[u8; 98], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    for (i, values) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let word = u32_at(block, 66 + 4 * (i / 4));
        let scale = d * (0.5 + (word >> 28) as f32) * 0.5;
        let signs = even_signs(word >> (7 * (i % 4)));
        write_signed(&mut values[..4], &grids::IQ3_XXS[usize::from(block[2 + 2 * i])], scale, signs);
        write_signed(&mut values[4..], &grids::IQ3_XXS[usize::from(block[3 + 2 * i])], scale, signs >> 4);
    }
}

/// f16 d; 64 low index bytes; qh[8] (ninth bits); 32 sign bytes; 4 bytes of scale nibbles, one per 32 values. db = d·(1 + 2s).
pub(super) fn decode_iq3_s(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    for (i, values) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let nibble = (block[106 + i / 8] >> (4 * (i % 8 / 4))) & 15;
        let scale = d * f32::from(1 + 2 * nibble);
        for half in 0..2 {
            let group = 2 * i + half;
            let high = usize::from(block[66 + group / 8] >> (group % 8)) & 1;
            let row = &grids::IQ3_S[usize::from(block[2 + group]) | high << 8];
            write_signed(&mut values[4 * half..4 * half + 4], row, scale, block[74 + i] >> (4 * half));
        }
    }
}

/// f16 d; 32 low index bytes; 8 u16: 4 × 3 high index bits, a 3-bit scale, the sign of the shift. ŵ = d·(2s + 1)·(grid ± ⅛).
pub(super) fn decode_iq1_s(block: &[u8; 50], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    for (i, values) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let high = u16_at(block, 34 + 2 * (i / 4));
        let scale = d * f32::from(2 * ((high >> 12) & 7) + 1);
        let index = usize::from(block[2 + i]) | usize::from((high >> (3 * (i % 4))) & 7) << 8;
        write_shifted(values, index, scale, high & 0x8000 != 0);
    }
}

/// 32 low index bytes; qh[16] (per 8 values 3 index bits and the sign of the shift); 4 u16 of 4 × 3-bit scales, one per 16 values, whose
/// top nibbles together are the f16 d. ŵ = d·(2s + 1)·(grid ± ⅛).
pub(super) fn decode_iq1_m(block: &[u8; 56], out: &mut [f32; 256]) {
    let scales: [u16; 4] = std::array::from_fn(|i| u16_at(block, 48 + 2 * i));
    let bits = scales.iter().rev().fold(0u16, |bits, s| bits << 4 | s >> 12);
    let d = half::f16::from_bits(bits).to_f32();
    for (i, values) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let sub = i / 2;
        let scale = d * f32::from(2 * ((scales[sub / 4] >> (3 * (sub % 4))) & 7) + 1);
        let high = block[32 + i / 2] >> (4 * (i % 2));
        write_shifted(values, usize::from(block[i]) | usize::from(high & 7) << 8, scale, high & 8 != 0);
    }
}

fn write_shifted(out: &mut [f32; 8], index: usize, scale: f32, minus: bool) {
    let shift = if minus { -0.125 } else { 0.125 };
    for (value, &level) in out.iter_mut().zip(&grids::IQ1[index]) {
        *value = scale * (f32::from(level) + shift);
    }
}
