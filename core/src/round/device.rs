//! The sweeps on a GPU: the device does the products and the columns, the format's own search on the host chooses the scales of each block.

use super::sweep::Sweeper;
use crate::codec::{Codebook, Format, Heads};
use crate::compute::gpu::{Feedback, Gpu, Levels};
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
        let mut choose = |range: Range<usize>, first: usize, current: &[f32], scales: &mut [f32], offsets: &mut [f32]| {
            self.choose(head, &mut rows[range.start * row_bytes..range.end * row_bytes], first, current, scales, offsets);
            Ok(())
        };
        let mut indices = vec![0u8; weights.len()];
        let never = CancelToken::default();
        gpu.feedback(&call, weights, &mut choose, &mut indices, self.cancel.unwrap_or(&never))?;
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

    /// Encodes the block from column `first` on of some rows, and reads its scales back, column by column.
    fn choose(&self, tensor_head: &[u8], rows: &mut [u8], first: usize, current: &[f32], scales: &mut [f32], offsets: &mut [f32]) {
        let layout = self.format.layout();
        let (width, at) = (layout.block_columns, layout.row_head + first / layout.block_columns * layout.block_bytes);
        let costs = &self.factor.conditional[first..first + width];
        let laws: Vec<(Vec<f32>, Vec<f32>)> = rows
            .par_chunks_mut(layout.row_bytes(self.columns))
            .zip(current.par_chunks(width))
            .map(|(row, current)| {
                let (head, block) = row.split_at_mut(at);
                let heads = Heads { tensor: tensor_head, row: &head[..layout.row_head] };
                let block = &mut block[..layout.block_bytes];
                self.format.encode_blocks(heads, current, Some(costs), block);
                let (mut scales, mut offsets) = (vec![0.0; width], vec![0.0; width]);
                self.format.law(heads, block, &mut scales, &mut offsets);
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
