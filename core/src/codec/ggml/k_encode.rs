//! Encoders of Q2_K to Q6_K: the searches of `super_block.rs`, then the codes into their places.

use super::affine_search::Cuts;
use super::encode::{BlockEncoder, put_half};
use super::k_quants::{plane, six_bit_places};
use super::levels::{Integers, Levels};
use super::scale_search::Reach;
use super::super_block::{AffineScales, fit_affine_scales, fit_scales, floored};
use crate::codec::lanes::{array, reciprocal};

const REACH_3: Reach = Reach::new(0.60, 1.30);
const REACH_6: Reach = Reach::new(0.90, 1.06);

/// level − lowest level of each value of a sub-block.
#[inline(always)]
fn codes<L: Levels, const N: usize>(x: &[f32; N], scale: f32) -> [u8; N] {
    let inverse = reciprocal(scale);
    array(|i| (L::nearest(x[i] * inverse) - L::ENDS.0) as u8)
}

/// Codes of x ≈ scale·q − min.
#[inline(always)]
fn affine_codes<const HIGH: i32, const N: usize>(x: &[f32; N], scale: f32, min: f32) -> [u8; N] {
    let inverse = reciprocal(scale);
    array(|i| Integers::<0, HIGH>::nearest((x[i] + min) * inverse) as u8)
}

pub(super) struct Q2K;

impl BlockEncoder<256, 84> for Q2K {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 84]) {
        let fit: AffineScales<16> = fit_affine_scales::<3, 16, 16>(x, &floored(w), &Cuts::TWO_BITS, 15.0);
        block.fill(0);
        put_half(block, 80, fit.d);
        put_half(block, 82, fit.dmin);
        for (sub, x) in x.as_chunks::<16>().0.iter().enumerate() {
            block[sub] = fit.sc[sub] as u8 | (fit.m[sub] as u8) << 4;
            let (at, shift) = plane(sub);
            for (l, q) in affine_codes::<3, 16>(x, fit.d * fit.sc[sub], fit.dmin * fit.m[sub]).into_iter().enumerate() {
                block[16 + at + l] |= q << shift;
            }
        }
    }
}

pub(super) struct Q3K;

impl BlockEncoder<256, 110> for Q3K {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 110]) {
        let fit = fit_scales::<Integers<-4, 3>, 16, 16>(x, &floored(w), &REACH_3, (-32.0, 31.0));
        block.fill(0);
        put_half(block, 108, fit.d);
        for (sub, x) in x.as_chunks::<16>().0.iter().enumerate() {
            let sc = (fit.sc[sub] + 32.0) as u8;
            block[96 + sub % 8] |= (sc & 15) << (4 * (sub / 8));
            block[104 + sub % 4] |= (sc >> 4) << (2 * (sub / 4));
            let (at, shift) = plane(sub);
            for (l, q) in codes::<Integers<-4, 3>, 16>(x, fit.d * fit.sc[sub]).into_iter().enumerate() {
                block[32 + at + l] |= (q & 3) << shift;
                block[16 * (sub % 2) + l] |= (q >> 2) << (sub / 2);
            }
        }
    }
}

/// The 12 bytes of eight six-bit scales and minima.
#[inline(always)]
fn put_scales_and_mins(bytes: &mut [u8], fit: &AffineScales<8>) {
    for sub in 0..4 {
        let (sc, m) = (fit.sc[sub] as u8, fit.m[sub] as u8);
        let (sc4, m4) = (fit.sc[sub + 4] as u8, fit.m[sub + 4] as u8);
        bytes[sub] = sc | sc4 >> 4 << 6;
        bytes[sub + 4] = m | m4 >> 4 << 6;
        bytes[sub + 8] = sc4 & 15 | (m4 & 15) << 4;
    }
}

pub(super) struct Q4K;

impl BlockEncoder<256, 144> for Q4K {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 144]) {
        let fit = fit_affine_scales::<15, 32, 8>(x, &floored(w), &Cuts::FOUR_BITS, 63.0);
        block.fill(0);
        put_half(block, 0, fit.d);
        put_half(block, 2, fit.dmin);
        put_scales_and_mins(&mut block[4..16], &fit);
        for (sub, x) in x.as_chunks::<32>().0.iter().enumerate() {
            let (at, shift) = (16 + 32 * (sub / 2), 4 * (sub % 2));
            for (l, q) in affine_codes::<15, 32>(x, fit.d * fit.sc[sub], fit.dmin * fit.m[sub]).into_iter().enumerate() {
                block[at + l] |= q << shift;
            }
        }
    }
}

pub(super) struct Q5K;

impl BlockEncoder<256, 176> for Q5K {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 176]) {
        let fit = fit_affine_scales::<31, 32, 8>(x, &floored(w), &Cuts::FIVE_BITS, 63.0);
        block.fill(0);
        put_half(block, 0, fit.d);
        put_half(block, 2, fit.dmin);
        put_scales_and_mins(&mut block[4..16], &fit);
        for (sub, x) in x.as_chunks::<32>().0.iter().enumerate() {
            let (at, shift) = (48 + 32 * (sub / 2), 4 * (sub % 2));
            for (l, q) in affine_codes::<31, 32>(x, fit.d * fit.sc[sub], fit.dmin * fit.m[sub]).into_iter().enumerate() {
                block[at + l] |= (q & 15) << shift;
                block[16 + l] |= (q >> 4) << sub;
            }
        }
    }
}

pub(super) struct Q6K;

impl BlockEncoder<256, 210> for Q6K {
    #[inline(always)]
    fn encode(x: &[f32; 256], w: &[f32; 256], block: &mut [u8; 210]) {
        let fit = fit_scales::<Integers<-32, 31>, 16, 16>(x, &floored(w), &REACH_6, (-128.0, 127.0));
        block.fill(0);
        put_half(block, 208, fit.d);
        for (sub, x) in x.as_chunks::<16>().0.iter().enumerate() {
            block[192 + sub] = fit.sc[sub] as i8 as u8;
            let (low, low_shift, high, high_shift) = six_bit_places(sub);
            for (l, q) in codes::<Integers<-32, 31>, 16>(x, fit.d * fit.sc[sub]).into_iter().enumerate() {
                block[low + l] |= (q & 15) << low_shift;
                block[high + l] |= (q >> 4) << high_shift;
            }
        }
    }
}
