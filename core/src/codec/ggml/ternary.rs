//! One and two bits a weight with one scale: TQ1_0, TQ2_0 (ternary), Q1_0 (signs) and Q2_0. Decoders only.

use super::half_at;

/// qs[48] (five base-3 digits a byte), qh[4] (four digits a byte), f16 d. ŵ = d·(digit − 1).
///
/// A byte is a fixed-point fraction: digit n is the integer part of 3·(byte·3ⁿ mod 256)/256.
pub(super) fn decode_tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
    let d = half_at(block, 52);
    let mut values = out.iter_mut();
    for (from, to, digits) in [(0, 32, 5), (32, 48, 5), (48, 52, 4)] {
        let mut power = 1u8;
        for _ in 0..digits {
            for (&byte, value) in block[from..to].iter().zip(&mut values) {
                let digit = (u16::from(byte.wrapping_mul(power)) * 3) >> 8;
                *value = d * (f32::from(digit) - 1.0);
            }
            power = power.wrapping_mul(3);
        }
    }
}

/// qs[64] (per 128 values 32 bytes with four planes of 2 bits), f16 d. ŵ = d·(q − 1).
pub(super) fn decode_tq2_0(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half_at(block, 64);
    for (i, values) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (l, value) in values.iter_mut().enumerate() {
            *value = d * (f32::from((block[32 * (i / 4) + l] >> (2 * (i % 4))) & 3) - 1.0);
        }
    }
}

/// f16 d; one bit a weight in order, least significant first. ŵ = d where set, else −d.
pub(super) fn decode_q1_0(block: &[u8; 18], out: &mut [f32; 128]) {
    let d = half_at(block, 0);
    for (j, value) in out.iter_mut().enumerate() {
        *value = if (block[2 + j / 8] >> (j % 8)) & 1 == 1 { d } else { -d };
    }
}

/// f16 d; two bits a weight in order, least significant first. ŵ = d·(q − 1): −1, 0, 1, 2.
pub(super) fn decode_q2_0(block: &[u8; 18], out: &mut [f32; 64]) {
    let d = half_at(block, 0);
    for (j, value) in out.iter_mut().enumerate() {
        *value = d * (f32::from((block[2 + j / 4] >> (2 * (j % 4))) & 3) - 1.0);
    }
}
