//! Rotary positions (Su et al. 2021): channel pairs of every head turned by the angle of the token's position; neighbours are a pair, or the
//! channels half the rotated width apart.
//!
//! Devices must come within [`TOLERANCE`] of |a| + |b| of the pair.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `rope.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Params {
    /// Tokens in this dispatch.
    pub tokens: u32,
    /// Heads of a token.
    pub heads: u32,
    /// Channels of a head.
    pub dim: u32,
    /// Pairs of a head that turn.
    pub pairs: u32,
    /// 1: neighbours are pairs.
    pub interleaved: u32,
    /// Not used.
    pub pad0: u32,
    /// Not used.
    pub pad1: u32,
    /// Not used.
    pub pad2: u32,
}
layout!(Params { tokens, heads, dim, pairs, interleaved, pad0, pad1, pad2 });

/// Largest difference between devices, relative to the magnitudes of the pair.
pub const TOLERANCE: f64 = 5e-7;

/// Turns the heads of tokens (rows of `heads · dim`) by row `positions[token]` of `angles` (cosine and sine of each pair).
pub fn rope(x: &mut [f32], heads: usize, dim: usize, angles: &[[f32; 2]], pairs: usize, positions: &[u32], interleaved: bool) {
    for (token, &position) in x.chunks_exact_mut(heads * dim).zip(positions) {
        let angles = &angles[position as usize * pairs..][..pairs];
        for head in token.chunks_exact_mut(dim) {
            for (i, [cos, sin]) in angles.iter().enumerate() {
                let (first, second) = if interleaved { (2 * i, 2 * i + 1) } else { (i, i + pairs) };
                (head[first], head[second]) = (head[first] * cos - head[second] * sin, head[first] * sin + head[second] * cos);
            }
        }
    }
}
