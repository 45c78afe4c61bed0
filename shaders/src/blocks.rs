//! Encoders of block types: what one may rely on, the loop over the blocks of a row, where codes stand, and what their kernels share.

use crate::lanes::{array, clean, normalise};
use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of every kernel that encodes blocks (`wgsl/common/blocks.wgsl`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// The type's number in ggml; [`MX`] for small floats under a power of two.
    pub format: u32,
    /// Blocks of this dispatch.
    pub blocks: u32,
    /// Blocks of a row.
    pub blocks_per_row: u32,
    /// Place, in its row, of this dispatch's first block.
    pub first_block: u32,
    /// 1: `importance` has one entry a column, made by [`normalised`]; 0: all weights count the same.
    pub weighted: u32,
    /// Bits of a factor on the weights: 1, but for a type whose tensor has a scale.
    pub factor: u32,
    /// 0, which the compiler of a kernel cannot know.
    pub zero: u32,
    /// Columns of a block.
    pub columns: u32,
    /// Bytes of a block.
    pub block_bytes: u32,
    /// Bits of a code.
    pub bits: u32,
    /// Integers. 1: the zero point is fixed in the middle.
    pub symmetric: u32,
    /// Integers: the smallest share of the range that is worth keeping.
    pub least_share: f32,
    /// Integers: between the neighbours of a scale, relative.
    pub step: f32,
    /// Floats: bits of the mantissa.
    pub mantissa_bits: u32,
    /// Floats: biased f32 exponent of the smallest normal number.
    pub least_exponent: u32,
    /// Floats: the exponent of the largest value.
    pub top_exponent: u32,
    /// Floats: the largest value.
    pub top: f32,
    /// Nothing.
    pub padding_0: u32,
    /// Nothing.
    pub padding_1: u32,
    /// Nothing.
    pub padding_2: u32,
}
layout!(Params {
    format,
    blocks,
    blocks_per_row,
    first_block,
    weighted,
    factor,
    zero,
    columns,
    block_bytes,
    bits,
    symmetric,
    least_share,
    step,
    mantissa_bits,
    least_exponent,
    top_exponent,
    top,
    padding_0,
    padding_1,
    padding_2,
});

/// [`Params::format`] of small floats under a power of two: no type of ggml.
pub const MX: u32 = 1000;

/// The encoder of one block type: `N` values to `B` bytes.
///
/// It may rely on this: weights are finite, 0 or from 2⁻⁶⁰ to 10⁹ in magnitude (not-a-number and infinities count as 0); importances are 0 or
/// from 2⁻⁴⁰ to 1, and the largest in the block is 1 (all-zero or absent importances are ones). Implementations are `#[inline(always)]`, or
/// they are not compiled for wide vectors.
pub trait BlockEncoder<const N: usize, const B: usize> {
    /// Encodes weights `x` with importances `w`.
    fn encode(x: &[f32; N], w: &[f32; N], block: &mut [u8; B]);
}

/// Encodes every block of a row; `importance`, when given, has the row's length.
#[inline(always)]
pub fn encode_row<E: BlockEncoder<N, B>, const N: usize, const B: usize>(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    for (i, (values, block)) in row.as_chunks::<N>().0.iter().zip(out.as_chunks_mut::<B>().0).enumerate() {
        let x = array(|i| clean(values[i]));
        let mut w = [1.0; N];
        if let Some(importance) = importance.and_then(|all| all.as_chunks::<N>().0.get(i)) {
            w = *importance;
            normalise(&mut w);
        }
        E::encode(&x, &w, block);
    }
}

/// The importances of a row's columns, normalised within each block of `columns`: what the kernels are given.
pub fn normalised(importance: &[f32], columns: usize) -> Vec<f32> {
    let mut all = importance.to_vec();
    all.chunks_mut(columns).for_each(normalise);
    all
}

/// Writes a half-precision number at byte `at`; `value` is one already.
#[inline(always)]
pub fn put_half(block: &mut [u8], at: usize, value: f32) {
    block[at..at + 2].copy_from_slice(&half::f16::from_f32(value).to_le_bytes());
}

/// Element j in the low half of byte j, element j + 16 in the high half.
#[inline(always)]
pub fn put_nibbles(bytes: &mut [u8], codes: &[u8; 32]) {
    for j in 0..16 {
        bytes[j] = codes[j] & 15 | codes[j + 16] << 4;
    }
}

/// 32 fifth bits, then the nibbles.
#[inline(always)]
pub fn put_five_bits(bytes: &mut [u8], codes: &[u8; 32]) {
    let mut high = 0u32;
    for j in 0..32 {
        high |= u32::from(codes[j] >> 4) << j;
    }
    bytes[..4].copy_from_slice(&high.to_le_bytes());
    put_nibbles(&mut bytes[4..], codes);
}

/// Where the 2-bit codes of 16-value sub-block `sub` stand in the codes of Q2_K and Q3_K (32 bytes with four planes for each 128 values):
/// first byte and shift.
#[inline(always)]
pub fn plane(sub: usize) -> (usize, usize) {
    (32 * (sub / 8) + 16 * (sub % 2), 2 * (sub % 8 / 2))
}

/// Where the codes of Q6_K's 16-value sub-block `sub` stand: byte and shift of the low nibbles, byte and shift of the high pairs.
#[inline(always)]
pub fn six_bit_places(sub: usize) -> (usize, usize, usize, usize) {
    let (half, pair, odd) = (sub / 8, sub % 8 / 2, sub % 2);
    (64 * half + 32 * (pair % 2) + 16 * odd, 4 * (pair / 2), 128 + 32 * half + 16 * odd, 2 * pair)
}
