//! Blocks of 32 with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0; and the two types that only exist during a matmul, Q8_1 and Q8_K.
//!
//! The encoders are twins of kernels. Nibbles: element j is the low half of byte j, element j + 16 the high half.

use super::half_at;
use crate::codec::lanes::array;

/// f16 d; 16 bytes of nibbles. ŵ = d·(q − 8).
pub(super) fn decode_q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for j in 0..16 {
        let q = block[2 + j];
        out[j] = d * (f32::from(q & 15) - 8.0);
        out[j + 16] = d * (f32::from(q >> 4) - 8.0);
    }
}

/// f16 d, f16 m; 16 bytes of nibbles. ŵ = d·q + m.
pub(super) fn decode_q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for j in 0..16 {
        let q = block[4 + j];
        out[j] = d * f32::from(q & 15) + m;
        out[j + 16] = d * f32::from(q >> 4) + m;
    }
}

/// f16 d; u32 of fifth bits; 16 bytes of nibbles. ŵ = d·(q − 16).
pub(super) fn decode_q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    let q = five_bits(&block[2..]);
    for j in 0..32 {
        out[j] = d * (f32::from(q[j]) - 16.0);
    }
}

/// f16 d, f16 m; u32 of fifth bits; 16 bytes of nibbles. ŵ = d·q + m.
pub(super) fn decode_q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    let q = five_bits(&block[4..]);
    for j in 0..32 {
        out[j] = d * f32::from(q[j]) + m;
    }
}

/// f16 d; 32 × i8. ŵ = d·q.
pub(super) fn decode_q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for j in 0..32 {
        out[j] = f32::from(block[2 + j] as i8) * d;
    }
}

/// f16 d, f16 sum; 32 × i8. ŵ = d·q.
pub(super) fn decode_q8_1(block: &[u8; 36], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for j in 0..32 {
        out[j] = f32::from(block[4 + j] as i8) * d;
    }
}

/// f32 d; 256 × i8; 16 sums. ŵ = d·q.
pub(super) fn decode_q8_k(block: &[u8; 292], out: &mut [f32; 256]) {
    let d = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    for j in 0..256 {
        out[j] = d * f32::from(block[4 + j] as i8);
    }
}

/// The 5-bit codes of a u32 of high bits followed by 16 bytes of nibbles.
fn five_bits(bytes: &[u8]) -> [u8; 32] {
    let high = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    array(|j| {
        let low = if j < 16 { bytes[4 + j] & 15 } else { bytes[4 + j - 16] >> 4 };
        low | (((high >> j) & 1) as u8) << 4
    })
}
