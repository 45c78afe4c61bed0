//! Rounds the columns of a panel one after the other, each to the level nearest to what the errors of the others leave to be wished for:
//! w_j − c_j − Σ_k A_kj·Δ_k, k over the panel, c_j what the columns outside the panel ask (`feedback_product`). With the unit upper
//! triangular factor of H as A that is GPTQ / LDLQ, with H·diag(H)⁻¹ without its diagonal a step of coordinate descent.
//!
//! A row's columns depend on each other, rows do not. Devices may contract and sum in another order, so that a code on the edge between
//! two levels may fall to either side, and everything behind it in its row may differ; where all arithmetic is exact, indices are equal.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `feedback_columns.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// Rows of the weights.
    pub rows: u32,
    /// Columns of the whole matrix.
    pub columns: u32,
    /// The panel's first column in the matrix.
    pub first: u32,
    /// The panel's first line in the slab.
    pub line: u32,
    /// Columns of the panel: a multiple of 4, at most 256.
    pub width: u32,
    /// Levels of a code.
    pub levels: u32,
    /// The first level, 0 or less, where levels are the integers from there on; 1 where they are listed.
    pub low: f32,
    /// Nothing.
    pub padding: u32,
}
layout!(Params { rows, columns, first, line, width, levels, low, padding });

/// A panel of a slab; every array has the column index outermost.
#[derive(Debug)]
pub struct Panel<'a> {
    /// Lines of `columns`.
    pub matrix: &'a [f32],
    /// `width` lines of `rows`: what the columns outside the panel ask.
    pub corrections: &'a [f32],
    /// Lines of `rows`.
    pub weights: &'a [f32],
    /// Lines of `rows`: ŵ = scale·level + offset.
    pub scales: &'a [f32],
    /// Lines of `rows`.
    pub offsets: &'a [f32],
    /// The levels, rising, where they are listed.
    pub levels: &'a [f32],
    /// In and out: Ŵ − W, lines of `rows`.
    pub delta: &'a mut [f32],
    /// Out: the number of the level.
    pub indices: &'a mut [u32],
}

/// Rounds the panel.
pub fn feedback_columns(params: &Params, panel: Panel<'_>) {
    let (rows, columns, line) = (params.rows as usize, params.columns as usize, params.line as usize);
    for row in 0..rows {
        for j in 0..params.width as usize {
            let at = (line + j) * rows + row;
            let mut correction = panel.corrections[j * rows + row];
            for k in 0..params.width as usize {
                correction += panel.matrix[(line + k) * columns + params.first as usize + j] * panel.delta[(line + k) * rows + row];
            }
            let scale = panel.scales[at];
            let position = if scale == 0.0 { 0.0 } else { (panel.weights[at] - correction - panel.offsets[at]) / scale };
            let (index, level) = if params.low < 0.5 {
                let level = position.clamp(params.low, params.low + (params.levels - 1) as f32).round_ties_even();
                ((level - params.low) as u32, level)
            } else {
                let index = panel.levels.windows(2).take_while(|pair| position > 0.5 * (pair[0] + pair[1])).count();
                (index as u32, panel.levels[index])
            };
            panel.delta[at] = scale * level + panel.offsets[at] - panel.weights[at];
            panel.indices[at] = index;
        }
    }
}
