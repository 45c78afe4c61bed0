//! The sweeps on a GPU: the device does the products and the columns, and where the format has a kernel also its search, which chooses the
//! scales of each block; else the host does that.

use super::sweep::Sweeper;
use crate::codec::{Codebook, Format, Heads};
use crate::compute::gpu::{Feedback, Gpu, Levels};
use crate::compute::{Backend as _, KernelCall, encoder};
use crate::error::{Error, Result};
use crate::job::CancelToken;
use rayon::prelude::*;
use std::ops::Range;

/// Whether a device can do it: codes from one list of levels, blocks of four columns or more that divide 256, no correction that fades.
pub(super) fn suits_a_device(format: Format, persistence: f32) -> bool {
    let block = format.layout().block_columns;
    let listed = format.codebook().is_some_and(|codebook| !matches!(codebook, Codebook::Octets | Codebook::Block(_)));
    listed && block.is_multiple_of(4) && 256usize.is_multiple_of(block) && persistence == 1.0
}

impl Sweeper<'_> {
    /// As [`Sweeper::run`], on a device. Sums are in another order there, so that codes on an edge may differ.
    ///
    /// # Errors
    /// `Device`, `Cancelled`.
    pub(super) fn run_on(&self, gpu: &Gpu, weights: &[f32]) -> Result<Vec<u8>> {
        let (layout, columns) = (self.format.layout(), self.columns);
        let row_bytes = layout.row_bytes(columns);
        let mut bytes = vec![0u8; self.format.tensor_bytes(weights.len() / columns, columns) as usize];
        let (head, rows) = bytes.split_at_mut(layout.tensor_head);
        let costs = Some(&self.factor.conditional[..]);
        self.format.encode_tensor_head(weights, columns, costs, head);
        let head = &*head;
        weights.par_chunks(columns).zip(rows.par_chunks_mut(row_bytes)).for_each(|(row, bytes)| {
            self.format.encode_row_head(head, row, costs, bytes);
        });

        let descent = if self.descents > 0 { self.descent_matrix() } else { Vec::new() };
        let call = Feedback { columns, block: layout.block_columns, upper: &self.factor.upper, descent: (&descent, self.descents), levels: self.levels()? };
        let never = CancelToken::default();
        let cancel = self.cancel.unwrap_or(&never);
        // What a block is encoded with must be in the block, and in what is left of the weights.
        let searches = encoder(self.format).is_some() && layout.tensor_head + layout.row_head == 0;
        let mut choose = |range: Range<usize>, first: usize, current: &[f32], scales: &mut [f32], offsets: &mut [f32]| {
            let rows = &mut rows[range.start * row_bytes..range.end * row_bytes];
            let at = layout.row_head + first / layout.block_columns * layout.block_bytes;
            let costs = &self.factor.conditional[first..first + layout.block_columns];
            if searches {
                let mut blocks = vec![0; range.len() * layout.block_bytes];
                let call = KernelCall::Encode { format: self.format, weights: current, columns: layout.block_columns, importance: costs, bytes: &mut blocks };
                gpu.run(call, cancel)?;
                for (row, block) in rows.chunks_exact_mut(row_bytes).zip(blocks.chunks_exact(layout.block_bytes)) {
                    row[at..at + layout.block_bytes].copy_from_slice(block);
                }
            } else {
                rows.par_chunks_mut(row_bytes).zip(current.par_chunks(layout.block_columns)).for_each(|(row, current)| {
                    let (row_head, blocks) = row.split_at_mut(layout.row_head);
                    let block = &mut blocks[at - layout.row_head..][..layout.block_bytes];
                    self.format.encode_blocks(Heads { tensor: head, row: row_head }, current, Some(costs), block);
                });
            }
            self.scales_by_column(head, rows, at, scales, offsets);
            Ok(())
        };
        let mut indices = vec![0u8; weights.len()];
        gpu.feedback(&call, weights, &mut choose, &mut indices, cancel)?;
        rows.par_chunks_mut(row_bytes).zip(indices.par_chunks(columns)).for_each(|(bytes, indices)| {
            let blocks = bytes[layout.row_head..].chunks_exact_mut(layout.block_bytes);
            blocks.zip(indices.chunks_exact(layout.block_columns)).for_each(|(block, indices)| self.format.put_indices(block, indices));
        });
        Ok(bytes)
    }

    fn levels(&self) -> Result<Levels> {
        Ok(match self.codebook {
            Codebook::Integers(low, high) => Levels::Integers(low, high),
            Codebook::Table(table) => Levels::Listed(table.to_vec()),
            Codebook::Float(element) => Levels::Listed((0..=2 * element.top_code()).map(|place| element.value(element.code_at(place))).collect()),
            Codebook::Octets | Codebook::Block(_) => {
                return Err(Error::unsupported("error feedback on the GPU", format!("{} has no one list of levels", self.format)));
            }
        })
    }

    /// The scales and offsets of the block at this byte of some rows, column by column.
    fn scales_by_column(&self, tensor_head: &[u8], rows: &[u8], at: usize, scales: &mut [f32], offsets: &mut [f32]) {
        let layout = self.format.layout();
        let width = layout.block_columns;
        let laws: Vec<(Vec<f32>, Vec<f32>)> = rows
            .par_chunks(layout.row_bytes(self.columns))
            .map(|row| {
                let heads = Heads { tensor: tensor_head, row: &row[..layout.row_head] };
                let (mut scales, mut offsets) = (vec![0.0; width], vec![0.0; width]);
                self.format.law(heads, &row[at..at + layout.block_bytes], &mut scales, &mut offsets);
                (scales, offsets)
            })
            .collect();
        let count = laws.len();
        for (row, (scale, offset)) in laws.iter().enumerate() {
            for j in 0..width {
                (scales[j * count + row], offsets[j * count + row]) = (scale[j], offset[j]);
            }
        }
    }
}
