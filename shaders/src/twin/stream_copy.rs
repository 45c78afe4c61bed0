//! Copies words, four at a time.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `stream_copy.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Params {
    /// Fours of words.
    pub count: u32,
    /// Threads: each takes every so manieth four.
    pub stride: u32,
    /// Nothing.
    pub padding_a: u32,
    /// Nothing.
    pub padding_b: u32,
}
layout!(Params { count, stride, padding_a, padding_b });

/// Copies the first `count` fours.
pub fn stream_copy(params: &Params, values: &[[u32; 4]], copies: &mut [[u32; 4]]) {
    let count = params.count as usize;
    copies[..count].copy_from_slice(&values[..count]);
}
