//! The loop that rounds column by column and lets what is rounded later make up for what was rounded before.
//!
//! With Δ = Ŵ − W and a matrix A, column j is rounded to the level nearest to w_j − Σ_{k≠j} Δ_k·A_kj. Two matrices, two methods:
//! - A = the unit upper triangular factor of H ([`super::Hessian::factor`]): GPTQ / LDLQ. Columns behind j do not count; the scales of a block
//!   are chosen by the format's own weighted search when the loop enters it, on what the weights have become by then, and stay.
//! - A = (H + λI)·diag(H + λI)⁻¹ without its diagonal: cyclic coordinate descent on tr(Δ(H + λI)Δᵀ) (QuantEase), each step to the minimum of
//!   its column.
//!
//! Rows do not depend on each other. A task takes [`ROWS`] of them, column-major, so that the vector lanes are rows; a panel of columns first
//! gets the sum over all columns outside it as one matrix product, then updates itself column by column.

use super::Factor;
use crate::codec::{Codebook, Format, Heads};
use crate::error::{Error, Result};
use crate::job::CancelToken;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use pulp::NullaryFnOnce;
use rayon::prelude::*;

/// Rows of a task.
pub(super) const ROWS: usize = 32;
/// Columns of a panel, at least.
const PANEL: usize = 128;

type Lane = [f32; ROWS];

/// What the rows of a tensor are rounded with.
pub(super) struct Sweeper<'a> {
    pub format: Format,
    pub codebook: Codebook,
    pub columns: usize,
    pub factor: &'a Factor,
    /// H, for descent.
    pub hessian: &'a [f32],
    /// Sweeps of coordinate descent after the feedback.
    pub descents: usize,
    /// What is left of a correction a panel later.
    pub persistence: f32,
    pub cancel: Option<&'a CancelToken>,
}

/// [`ROWS`] rows, each array column by column.
struct Task {
    weights: Vec<Lane>,
    delta: Vec<Lane>,
    scales: Vec<Lane>,
    offsets: Vec<Lane>,
    indices: Vec<[u8; ROWS]>,
    /// The levels of each block, where they are its own.
    levels: Vec<Lane>,
    /// The block of each column.
    blocks: Vec<usize>,
}

impl Sweeper<'_> {
    /// Rounds all rows; the bytes do not depend on the number of threads.
    ///
    /// # Errors
    /// `Cancelled`, between tasks.
    pub(super) fn run(&self, weights: &[f32]) -> Result<Vec<u8>> {
        let layout = self.format.layout();
        let row_bytes = layout.row_bytes(self.columns);
        let mut bytes = vec![0u8; self.format.tensor_bytes(weights.len() / self.columns, self.columns) as usize];
        let descent = if self.descents > 0 { self.descent_matrix() } else { Vec::new() };
        let (head, rows) = bytes.split_at_mut(layout.tensor_head);
        // What whole rows or the tensor share is chosen on the weights as they come.
        let costs = Some(&self.factor.conditional[..]);
        self.format.encode_tensor_head(weights, self.columns, costs, head);
        let head = &*head;
        weights.par_chunks(ROWS * self.columns).zip(rows.par_chunks_mut(ROWS * row_bytes)).try_for_each(|(weights, bytes)| {
            if self.cancel.is_some_and(CancelToken::is_cancelled) {
                return Err(Error::Cancelled);
            }
            for (row, bytes) in weights.chunks_exact(self.columns).zip(bytes.chunks_exact_mut(row_bytes)) {
                self.format.encode_row_head(head, row, costs, bytes);
            }
            let mut task = Task::new(weights, self.columns, self.codebook, layout.block_columns);
            self.sweep(&mut task, &self.factor.upper, Some((head, bytes)));
            for _ in 0..self.descents {
                self.sweep(&mut task, &descent, None);
            }
            self.write(&task, bytes);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// As [`Self::run`] with the columns in another order, that of the factor and of H: column `order[p]` comes at place p. The scales are those of
    /// `bytes`, which get the codes.
    ///
    /// # Errors
    /// `Cancelled`, between tasks.
    pub(super) fn run_frozen(&self, weights: &[f32], order: &[usize], bytes: &mut [u8]) -> Result<()> {
        let layout = self.format.layout();
        let row_bytes = layout.row_bytes(self.columns);
        let descent = if self.descents > 0 { self.descent_matrix() } else { Vec::new() };
        let (head, rows) = bytes.split_at_mut(layout.tensor_head);
        let head = &*head;
        weights.par_chunks(ROWS * self.columns).zip(rows.par_chunks_mut(ROWS * row_bytes)).try_for_each(|(weights, bytes)| {
            if self.cancel.is_some_and(CancelToken::is_cancelled) {
                return Err(Error::Cancelled);
            }
            let mut task = Task::new(weights, self.columns, self.codebook, layout.block_columns);
            self.read_scales(&mut task, head, bytes);
            task.permute(order);
            self.sweep(&mut task, &self.factor.upper, None);
            for _ in 0..self.descents {
                self.sweep(&mut task, &descent, None);
            }
            let mut indices = vec![[0; ROWS]; self.columns];
            order.iter().zip(&task.indices).for_each(|(&j, own)| indices[j] = *own);
            task.indices = indices;
            self.write(&task, bytes);
            Ok(())
        })
    }

    /// The scales of encoded rows.
    fn read_scales(&self, task: &mut Task, tensor_head: &[u8], bytes: &[u8]) {
        let layout = self.format.layout();
        for (row, bytes) in bytes.chunks_exact(layout.row_bytes(self.columns)).enumerate() {
            let (row_head, blocks) = bytes.split_at(layout.row_head);
            let heads = Heads { tensor: tensor_head, row: row_head };
            for (block, bytes) in blocks.chunks_exact(layout.block_bytes).enumerate() {
                task.read_block(self.format, heads, block, bytes, row);
            }
        }
    }

    /// A_kj = H_kj / (H_jj + λ), 0 on the diagonal: descent on tr(Δ(H + λI)Δᵀ) with the factor's λ, because H itself may have columns of
    /// next to nothing, or of less than nothing where it is a difference.
    pub(super) fn descent_matrix(&self) -> Vec<f32> {
        let n = self.columns;
        let inverse: Vec<f32> = (0..n).map(|j| self.hessian[j * n + j]).map(|h| 1.0 / (h.max(0.0) + self.factor.ridge)).collect();
        let mut matrix: Vec<f32> = self.hessian.par_chunks(n).flat_map_iter(|row| row.iter().zip(&inverse).map(|(h, i)| h * i)).collect();
        for j in 0..n {
            matrix[j * n + j] = 0.0;
        }
        matrix
    }

    /// One pass over the columns. With `blocks`, the first: Δ is zero from the current panel on, and each block's scales are chosen.
    fn sweep(&self, task: &mut Task, a: &[f32], mut blocks: Option<(&[u8], &mut [u8])>) {
        let (n, block) = (self.columns, self.format.block_columns());
        let panel = block * PANEL.div_ceil(block);
        let mut corrections = vec![[0.0f32; ROWS]; panel];
        // What earlier panels still count for; of use only where that falls.
        let mut faded = if blocks.is_some() && self.persistence < 1.0 { vec![[0.0f32; ROWS]; n] } else { Vec::new() };
        for start in (0..n).step_by(panel) {
            let width = panel.min(n - start);
            let known = if blocks.is_some() { start } else { n };
            let delta = if faded.is_empty() { &task.delta } else { &faded };
            let corrections = &mut corrections[..width];
            matmul(
                MatMut::from_row_major_slice_mut(corrections.as_flattened_mut(), width, ROWS),
                Accum::Replace,
                MatRef::from_row_major_slice_with_stride(&a[start..], known.max(1), width, n).subrows(0, known).transpose(),
                MatRef::from_row_major_slice(delta[..known].as_flattened(), known, ROWS),
                1.0,
                Par::Seq,
            );
            for from in (start..start + width).step_by(block) {
                if let Some((head, bytes)) = &mut blocks {
                    self.choose_scales(task, from, &corrections[from - start..][..block], head, bytes);
                }
                let call =
                    Columns { codebook: self.codebook, task: &mut *task, a, columns: n, panel: (start, start + width), from, to: from + block, corrections };
                pulp::Arch::new().dispatch(call);
            }
            if !faded.is_empty() {
                faded[start..start + width].copy_from_slice(&task.delta[start..start + width]);
                faded[..start + width].iter_mut().flatten().for_each(|d| *d *= self.persistence);
            }
        }
    }

    /// Encodes one block of every row as it has become, and reads its scales back. What an error in a column costs, once the columns behind
    /// it have made up for it, is D_jj: the weights of the search. (On SmolLM2's linears 2 to 6 % below H_jj as weights, in tr(ΔHΔᵀ).)
    fn choose_scales(&self, task: &mut Task, from: usize, corrections: &[Lane], tensor_head: &[u8], bytes: &mut [u8]) {
        let layout = self.format.layout();
        let (width, block) = (layout.block_columns, from / layout.block_columns);
        let mut values = vec![0.0f32; width];
        for (row, bytes) in bytes.chunks_exact_mut(layout.row_bytes(self.columns)).enumerate() {
            for (j, value) in values.iter_mut().enumerate() {
                *value = task.weights[from + j][row] - corrections[j][row];
            }
            let (row_head, blocks) = bytes.split_at_mut(layout.row_head);
            let heads = Heads { tensor: tensor_head, row: row_head };
            let bytes = &mut blocks[block * layout.block_bytes..][..layout.block_bytes];
            self.format.encode_blocks(heads, &values, Some(&self.factor.conditional[from..from + width]), bytes);
            task.read_block(self.format, heads, block, bytes, row);
        }
    }

    fn write(&self, task: &Task, bytes: &mut [u8]) {
        let layout = self.format.layout();
        let mut indices = vec![0u8; layout.block_columns];
        for (row, bytes) in bytes.chunks_exact_mut(layout.row_bytes(self.columns)).enumerate() {
            let blocks = bytes[layout.row_head..].chunks_exact_mut(layout.block_bytes);
            for (bytes, from) in blocks.zip((0..).step_by(layout.block_columns)) {
                indices.iter_mut().enumerate().for_each(|(j, index)| *index = task.indices[from + j][row]);
                self.format.put_indices(bytes, &indices);
            }
        }
    }
}

impl Task {
    fn new(rows: &[f32], columns: usize, codebook: Codebook, block: usize) -> Self {
        let zeros = || vec![[0.0; ROWS]; columns];
        let levels = if let Codebook::Block(count) = codebook { columns / block * count } else { 0 };
        Self {
            weights: lanes(rows, columns),
            delta: zeros(),
            scales: zeros(),
            offsets: zeros(),
            indices: vec![[0; ROWS]; columns],
            levels: vec![[0.0; ROWS]; levels],
            blocks: (0..columns).map(|j| j / block).collect(),
        }
    }
}

impl Task {
    /// Takes scales, offsets, and levels that are its own, from an encoded block of a row.
    fn read_block(&mut self, format: Format, heads: Heads<'_>, block: usize, bytes: &[u8], row: usize) {
        let width = format.block_columns();
        let (mut scales, mut offsets) = (vec![0.0f32; width], vec![0.0f32; width]);
        format.law(heads, bytes, &mut scales, &mut offsets);
        for (j, (scale, offset)) in (block * width..).zip(scales.into_iter().zip(offsets)) {
            (self.scales[j][row], self.offsets[j][row]) = (scale, offset);
        }
        if let Some(Codebook::Block(count)) = format.codebook() {
            let mut levels = vec![0.0f32; count];
            format.levels(heads, bytes, &mut levels);
            (block * count..).zip(levels).for_each(|(k, level)| self.levels[k][row] = level);
        }
    }

    /// Puts column `order[p]` at place p.
    fn permute(&mut self, order: &[usize]) {
        for lanes in [&mut self.weights, &mut self.scales, &mut self.offsets] {
            *lanes = order.iter().map(|&j| lanes[j]).collect();
        }
        self.blocks = order.iter().map(|&j| self.blocks[j]).collect();
    }
}

/// At most [`ROWS`] rows, column by column. Rows that are missing are zeros, and so is what is not finite.
pub(super) fn lanes(rows: &[f32], columns: usize) -> Vec<Lane> {
    let mut lanes = vec![[0.0; ROWS]; columns];
    for (r, row) in rows.chunks_exact(columns).enumerate() {
        for (lane, &w) in lanes.iter_mut().zip(row) {
            lane[r] = if w.is_finite() { w } else { 0.0 };
        }
    }
    lanes
}

/// The columns `from..to` of a panel, one after the other; what each changes goes into the corrections of the columns behind it in the panel.
/// A named type because closures are not reliably inlined into the functions that pulp compiles for wide vectors.
struct Columns<'a> {
    codebook: Codebook,
    task: &'a mut Task,
    a: &'a [f32],
    columns: usize,
    panel: (usize, usize),
    from: usize,
    to: usize,
    corrections: &'a mut [Lane],
}

impl NullaryFnOnce for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (start, end) = self.panel;
        for j in self.from..self.to {
            let (scale, offset) = (&self.task.scales[j], &self.task.offsets[j]);
            let weight = &self.task.weights[j];
            let correction = &self.corrections[j - start];
            let (mut level, mut index) = ([0.0f32; ROWS], [0u8; ROWS]);
            let mut position = [0.0f32; ROWS];
            for r in 0..ROWS {
                let inverse = if scale[r] == 0.0 { 0.0 } else { 1.0 / scale[r] };
                position[r] = (weight[r] - correction[r] - offset[r]) * inverse;
            }
            match self.codebook {
                Codebook::Octets => unreachable!("rounded eight columns at a time"),
                Codebook::Integers(low, high) => {
                    let (low, high) = (f32::from(low), f32::from(high));
                    for r in 0..ROWS {
                        const SHIFT: f32 = 12_582_912.0; // 1.5·2²³: adding it rounds to the nearest integer
                        level[r] = (position[r].clamp(low, high) + SHIFT) - SHIFT;
                        index[r] = (level[r] - low) as u8;
                    }
                }
                Codebook::Table(table) => {
                    let mut count = [0.0f32; ROWS];
                    level = [table[0]; ROWS];
                    for pair in table.windows(2) {
                        let (below, above) = (pair[0], pair[1]);
                        for r in 0..ROWS {
                            let over = position[r] > 0.5 * (below + above);
                            level[r] = if over { above } else { level[r] };
                            count[r] += if over { 1.0 } else { 0.0 };
                        }
                    }
                    for r in 0..ROWS {
                        index[r] = count[r] as u8;
                    }
                }
                Codebook::Float(element) => {
                    let rounding = element.rounding();
                    let mut places = [0u32; ROWS];
                    for r in 0..ROWS {
                        (level[r], places[r]) = rounding.nearest(position[r]);
                    }
                    for r in 0..ROWS {
                        index[r] = places[r] as u8;
                    }
                }
                Codebook::Block(many) => {
                    let levels = &self.task.levels[self.task.blocks[j] * many..][..many];
                    let mut count = [0.0f32; ROWS];
                    level = levels[0];
                    for pair in levels.windows(2) {
                        for r in 0..ROWS {
                            let over = position[r] > 0.5 * (pair[0][r] + pair[1][r]);
                            level[r] = if over { pair[1][r] } else { level[r] };
                            count[r] += if over { 1.0 } else { 0.0 };
                        }
                    }
                    for r in 0..ROWS {
                        index[r] = count[r] as u8;
                    }
                }
            }
            let mut change = [0.0f32; ROWS];
            for r in 0..ROWS {
                let delta = scale[r] * level[r] + offset[r] - weight[r];
                change[r] = delta - self.task.delta[j][r];
                self.task.delta[j][r] = delta;
            }
            self.task.indices[j] = index;
            let row = &self.a[j * self.columns..];
            for k in j + 1..end {
                let factor = row[k];
                let correction = &mut self.corrections[k - start];
                for r in 0..ROWS {
                    correction[r] += change[r] * factor;
                }
            }
        }
    }
}
