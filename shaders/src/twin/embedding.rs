//! Rows of a table by their numbers, times a factor: tokens to vectors, or the tokens of one expert out of all. Exact.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `embedding.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// Numbers.
    pub count: u32,
    /// Columns of a row.
    pub columns: u32,
    /// The table's row with which the buffer begins.
    pub first_row: u32,
    /// Rows in the buffer; numbers of others leave their place as it is.
    pub rows: u32,
    /// Factor of every value.
    pub scale: f32,
    /// Not used.
    pub pad0: u32,
    /// Not used.
    pub pad1: u32,
    /// Not used.
    pub pad2: u32,
}
layout!(Params { count, columns, first_row, rows, scale, pad0, pad1, pad2 });

/// One row of `y` for each number.
pub fn embedding(table: &[f32], columns: usize, numbers: &[u32], scale: f32, y: &mut [f32]) {
    for (&number, y) in numbers.iter().zip(y.chunks_exact_mut(columns)) {
        for (y, value) in y.iter_mut().zip(&table[number as usize * columns..]) {
            *y = value * scale;
        }
    }
}
