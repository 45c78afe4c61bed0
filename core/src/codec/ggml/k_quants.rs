//! Super-blocks of 256: Q2_K to Q6_K. Sub-blocks of 16 or 32 have small integer scales (and minima) that share one or two half-precision
//! factors. The encoders are twins of kernels.

use super::half_at;
pub(super) use halftone_shaders::blocks::{plane, six_bit_places};

/// scales[16] (low nibble scale, high nibble minimum, one byte per 16 values); qs[64]; f16 d; f16 dmin. ŵ = d·sc·q − dmin·m.
///
/// Each 128 values are 32 bytes with four planes of 2 bits.
pub(super) fn decode_q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    for (sub, values) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (scale, min) = (d * f32::from(block[sub] & 15), dmin * f32::from(block[sub] >> 4));
        let (at, shift) = plane(sub);
        for (l, value) in values.iter_mut().enumerate() {
            *value = scale * f32::from((block[16 + at + l] >> shift) & 3) - min;
        }
    }
}

/// hmask[32]; qs[64]; 16 six-bit scales in 12 bytes; f16 d. ŵ = d·(sc − 32)·(q − 4), the third bit of q in hmask.
pub(super) fn decode_q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = half_at(block, 108);
    let packed = &block[96..108];
    for (sub, values) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let low = (packed[sub % 8] >> (4 * (sub / 8))) & 15;
        let high = (packed[8 + sub % 4] >> (2 * (sub / 4))) & 3;
        let scale = d * (f32::from(low | (high << 4)) - 32.0);
        let (at, shift) = plane(sub);
        for (l, value) in values.iter_mut().enumerate() {
            let q = (block[32 + at + l] >> shift) & 3 | ((block[16 * (sub % 2) + l] >> (sub / 2)) & 1) << 2;
            *value = scale * (f32::from(q) - 4.0);
        }
    }
}

/// f16 d; f16 dmin; 8 six-bit (scale, minimum) pairs in 12 bytes; qs[128]. ŵ = d·sc·q − dmin·m.
pub(super) fn decode_q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    for (sub, values) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (sc, m) = scale_and_min(&block[4..16], sub);
        let (scale, min) = (d * f32::from(sc), dmin * f32::from(m));
        let (at, shift) = (16 + 32 * (sub / 2), 4 * (sub % 2));
        for (l, value) in values.iter_mut().enumerate() {
            *value = scale * f32::from((block[at + l] >> shift) & 15) - min;
        }
    }
}

/// As Q4_K with the fifth bits in qh[32] between scales and qs: bit `sub` of byte l.
pub(super) fn decode_q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    for (sub, values) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (sc, m) = scale_and_min(&block[4..16], sub);
        let (scale, min) = (d * f32::from(sc), dmin * f32::from(m));
        let (at, shift) = (48 + 32 * (sub / 2), 4 * (sub % 2));
        for (l, value) in values.iter_mut().enumerate() {
            let q = (block[at + l] >> shift) & 15 | ((block[16 + l] >> sub) & 1) << 4;
            *value = scale * f32::from(q) - min;
        }
    }
}

/// The six-bit scale and minimum of sub-block `sub` out of Q4_K's 12 bytes.
pub(super) fn scale_and_min(packed: &[u8], sub: usize) -> (u8, u8) {
    if sub < 4 {
        (packed[sub] & 63, packed[sub + 4] & 63)
    } else {
        let low = packed[sub + 4];
        (low & 15 | packed[sub - 4] >> 6 << 4, low >> 4 | packed[sub] >> 6 << 4)
    }
}

/// ql[128]; qh[64]; i8 scales[16]; f16 d. ŵ = d·sc·(q − 32).
///
/// In each 128 values, sub-block pair p (of 32) has its low nibbles in ql[32·(p mod 2)..] at shift 4·(p / 2), its high bits in qh at shift 2p.
pub(super) fn decode_q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = half_at(block, 208);
    for (sub, values) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(block[192 + sub] as i8);
        let (low, low_shift, high, high_shift) = six_bit_places(sub);
        for (l, value) in values.iter_mut().enumerate() {
            let q = (block[low + l] >> low_shift) & 15 | ((block[high + l] >> high_shift) & 3) << 4;
            *value = scale * (f32::from(q) - 32.0);
        }
    }
}
