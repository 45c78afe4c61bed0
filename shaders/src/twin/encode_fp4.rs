//! Four-bit floats (E2M1) under a one-byte scale: MXFP4 (a power of two for 32 values) and NVFP4 (an E4M3 for 16).
//!
//! As in ggml the value table is doubled, so that it is integers, and the scale is halved. The encoders measure the errors of neighbouring
//! scales, from too small to too large, and keep the best.

use super::encode_blocks::{error, errors};
use crate::blocks::BlockEncoder;
pub use crate::blocks::Params;
use crate::lanes::{Lanes, TINY, array, fold, max, reciprocal, smallest};
use crate::levels::E2m1;

/// Element j in the low half of byte j, element j + N/2 in the high half.
#[inline(always)]
fn put_codes<const N: usize>(bytes: &mut [u8], x: &[f32; N], scale: f32) {
    let inverse = reciprocal(scale);
    for j in 0..N / 2 {
        bytes[j] = E2m1::code(x[j] * inverse) | E2m1::code(x[j + N / 2] * inverse) << 4;
    }
}

#[inline(always)]
fn magnitude(x: &[f32]) -> f32 {
    fold(x, 0.0, |a, v| max(a, v.abs()))
}

/// The biased exponent: ⌊log₂ v⌋ + 127.
#[inline(always)]
fn exponent(v: f32) -> i32 {
    (v.to_bits() >> 23) as i32
}

/// ½·2^(byte − 127); the two smallest are subnormal.
#[inline(always)]
pub fn half_of_e8m0(byte: u8) -> f32 {
    f32::from_bits(if byte < 2 { 0x0020_0000 << byte } else { u32::from(byte - 1) << 23 })
}

/// ½ of an E4M3 without its sign; ggml reads the code 0x7F (NaN) as 0.
#[inline(always)]
pub fn half_of_unsigned_e4m3(byte: u8) -> f32 {
    match byte {
        0x7F => 0.0,
        0..8 => f32::from(byte) * (0.5 / 512.0),
        // The fields are those of an f32 with bias 7; ½ is one exponent less.
        _ => f32::from_bits((u32::from(byte & 0x7F) + (119 << 3)) << 20),
    }
}

/// MXFP4.
#[derive(Debug)]
pub struct Mxfp4;

impl BlockEncoder<32, 17> for Mxfp4 {
    #[inline(always)]
    fn encode(x: &[f32; 32], w: &[f32; 32], block: &mut [u8; 17]) {
        let largest = magnitude(x);
        let (mut least, mut byte) = (f32::INFINITY, 0);
        if largest >= TINY {
            // At ⌊log₂⌋ − 2 the largest magnitude lies between 4 and 8 of at most 6.
            let middle = exponent(largest) - 2;
            for tried in [middle - 1, middle, middle + 1] {
                let tried = tried.clamp(0, 254) as u8;
                let error = error::<E2m1, 32>(x, w, half_of_e8m0(tried));
                (least, byte) = if error < least { (error, tried) } else { (least, byte) };
            }
        }
        let scale = if largest < TINY { 0.0 } else { half_of_e8m0(byte) };
        block[0] = byte;
        put_codes(&mut block[1..], x, scale);
    }
}

/// NVFP4.
#[derive(Debug)]
pub struct Nvfp4;

impl BlockEncoder<64, 36> for Nvfp4 {
    #[inline(always)]
    fn encode(x: &[f32; 64], w: &[f32; 64], block: &mut [u8; 36]) {
        for sub in 0..4 {
            let (x, w) = (&x.as_chunks::<16>().0[sub], &w.as_chunks::<16>().0[sub]);
            let largest = magnitude(x);
            let full = largest / 6.0;
            // The E4M3 at or below amax/6, where the largest magnitude is the largest level.
            let at = if full < 0.015_625 { (full * 512.0) as i32 } else { (full.min(1e9).to_bits() >> 20) as i32 - (120 << 3) };
            let bytes: [u8; 16] = array(|c| (at.min(0x7E) - 10 + c as i32).clamp(0, 0x7E) as u8);
            let scales: Lanes = array(|c| half_of_unsigned_e4m3(bytes[c]));
            let c = smallest(&errors::<E2m1, 16>(x, w, &scales));
            let (byte, scale) = if largest < TINY { (0, 0.0) } else { (bytes[c], scales[c]) };
            block[sub] = byte;
            put_codes(&mut block[4 + 8 * sub..], x, scale);
        }
    }
}
