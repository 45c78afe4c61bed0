//! Fast Walsh–Hadamard transform: x ← scale·x·(H ⊗ I) in place, where H = H₂ ⊗ … ⊗ H₂ acts on lines of `length` values, a power of two of them,
//! that lie `stride` apart.
//!
//! A row of n = 2ᵏ·b values is turned by H_{2ᵏ} ⊗ B as lines of 2ᵏ with stride b, then as 2ᵏ rows of b times B. A device may cut 2ᵏ into several
//! factors, H_{2ᵏ} = H_{2ᵃ} ⊗ H_{2ᵏ⁻ᵃ}, each of which is a pass, and computes in f32: a row must come within [`TOLERANCE`] of its own
//! length of what f64 gives, product with B included.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `hadamard.wgsl`: one pass.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// Values of this dispatch, whole rows.
    pub count: u32,
    /// Values of a row; there is a sign for each.
    pub size: u32,
    /// Values of a line, a power of two.
    pub length: u32,
    /// From one value of a line to the next; `length × stride` divides `size`.
    pub stride: u32,
    /// Lines of a workgroup: at most [`TILE`] values.
    pub lines: u32,
    /// 1: the values are multiplied by the signs first.
    pub signed: u32,
    /// What the results are multiplied by.
    pub scale: f32,
    /// Nothing.
    pub padding: u32,
}
layout!(Params { count, size, length, stride, lines, signed, scale, padding });

/// Values that a workgroup has room for.
pub const TILE: usize = 4096;
/// Largest length of the difference of a row between devices, relative to the length of the row.
pub const TOLERANCE: f64 = 2e-6;

/// One transform of all lines of `x`, which is whole runs of `length × stride` values.
#[inline(always)]
pub fn hadamard(x: &mut [f64], length: usize, stride: usize, scale: f64) {
    let mut half = stride;
    while half < length * stride {
        for pair in x.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            low.iter_mut().zip(high).for_each(|(l, h)| (*l, *h) = (*l + *h, *l - *h));
        }
        half *= 2;
    }
    x.iter_mut().for_each(|x| *x *= scale);
}

/// The passes that a device makes of one transform of rows of `length × stride` values. Lines of a tile are at least eight neighbours, or
/// whole runs, so that memory is read 32 bytes at a time.
pub fn passes(length: usize, stride: usize) -> Vec<Params> {
    let size = length * stride;
    let (mut passes, mut done) = (Vec::new(), 1);
    while done < length || passes.is_empty() {
        let stride = stride * done;
        let most = if size <= TILE || stride == 1 { TILE } else { TILE / 8 };
        let length = most.min(length / done);
        let lines = if stride * length <= TILE { TILE / (stride * length) * stride } else { TILE / length };
        let scale = 1.0 / (length as f32).sqrt();
        passes.push(Params { size: size as u32, length: length as u32, stride: stride as u32, lines: lines as u32, scale, ..Params::default() });
        done *= length;
    }
    passes
}
