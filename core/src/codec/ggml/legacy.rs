//! Blocks of 32 with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0; and the two types that only exist during a matmul, Q8_1 and Q8_K.
//!
//! Nibbles: element j is the low half of byte j, element j + 16 the high half.

use super::affine_search::{Cuts, fit_affine};
use super::encode::{BlockEncoder, put_half};
use super::half_at;
use super::levels::{Integers, Levels};
use super::scale_search::{Reach, extreme, fit_scale};
use crate::codec::lanes::{TINY, array, reciprocal, to_half};

const REACH_4: Reach = Reach::new(0.80, 1.16);
const REACH_5: Reach = Reach::new(0.86, 1.08);
/// Codes (level − lowest level) of ŵ = d·level.
#[inline(always)]
fn codes<L: Levels>(x: &[f32; 32], d: f32) -> [u8; 32] {
    let inverse = reciprocal(d);
    array(|j| (L::nearest(x[j] * inverse) - L::ENDS.0) as u8)
}

#[inline(always)]
pub(super) fn put_nibbles(bytes: &mut [u8], codes: &[u8; 32]) {
    for j in 0..16 {
        bytes[j] = codes[j] & 15 | codes[j + 16] << 4;
    }
}

#[inline(always)]
pub(super) fn put_five_bits(bytes: &mut [u8], codes: &[u8; 32]) {
    let mut high = 0u32;
    for j in 0..32 {
        high |= u32::from(codes[j] >> 4) << j;
    }
    bytes[..4].copy_from_slice(&high.to_le_bytes());
    put_nibbles(&mut bytes[4..], codes);
}

pub(super) struct Q4_0;

impl BlockEncoder<32, 18> for Q4_0 {
    #[inline(always)]
    fn encode(x: &[f32; 32], w: &[f32; 32], block: &mut [u8; 18]) {
        let d = fit_scale::<Integers<-8, 7>, 32>(x, w, &REACH_4);
        put_half(block, 0, d);
        put_nibbles(&mut block[2..], &codes::<Integers<-8, 7>>(x, d));
    }
}

pub(super) struct Q5_0;

impl BlockEncoder<32, 22> for Q5_0 {
    #[inline(always)]
    fn encode(x: &[f32; 32], w: &[f32; 32], block: &mut [u8; 22]) {
        let d = fit_scale::<Integers<-16, 15>, 32>(x, w, &REACH_5);
        put_half(block, 0, d);
        put_five_bits(&mut block[2..], &codes::<Integers<-16, 15>>(x, d));
    }
}

pub(super) struct Q8_0;

impl BlockEncoder<32, 34> for Q8_0 {
    #[inline(always)]
    fn encode(x: &[f32; 32], _: &[f32; 32], block: &mut [u8; 34]) {
        // No search: at eight bits it would win a seventh of an error that nobody sees, for three times ggml's time. But the codes are
        // those of the scale as it is stored.
        let largest = extreme(x).abs();
        let d = if largest < TINY { 0.0 } else { to_half(largest / 127.0) };
        put_half(block, 0, d);
        let codes = codes::<Integers<-127, 127>>(x, d);
        for j in 0..32 {
            block[2 + j] = codes[j].wrapping_sub(127);
        }
    }
}

/// Codes of ŵ = d·q + m, q in 0 ..= `HIGH`.
#[inline(always)]
fn affine_codes<const HIGH: i32>(x: &[f32; 32], d: f32, m: f32) -> [u8; 32] {
    let inverse = reciprocal(d);
    array(|j| Integers::<0, HIGH>::nearest((x[j] - m) * inverse) as u8)
}

pub(super) struct Q4_1;

impl BlockEncoder<32, 20> for Q4_1 {
    #[inline(always)]
    fn encode(x: &[f32; 32], w: &[f32; 32], block: &mut [u8; 20]) {
        let (d, m) = fit_affine::<15, 32>(x, w, &Cuts::FOUR_BITS);
        put_half(block, 0, d);
        put_half(block, 2, m);
        put_nibbles(&mut block[4..], &affine_codes::<15>(x, d, m));
    }
}

pub(super) struct Q5_1;

impl BlockEncoder<32, 24> for Q5_1 {
    #[inline(always)]
    fn encode(x: &[f32; 32], w: &[f32; 32], block: &mut [u8; 24]) {
        let (d, m) = fit_affine::<31, 32>(x, w, &Cuts::FIVE_BITS);
        put_half(block, 0, d);
        put_half(block, 2, m);
        put_five_bits(&mut block[4..], &affine_codes::<31>(x, d, m));
    }
}

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
