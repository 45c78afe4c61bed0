//! Tensors in formats that have a kernel: blocks are independent, tiles are runs of workgroups. Weights go up once, and only bytes come back.

use super::engine::{Dispatch, Engine, Memory};
use super::tiles::{folded, tiled};
use crate::codec::Format;
use crate::compute::encoder;
use crate::error::{Error, Result};
use crate::job::CancelToken;
use bytemuck::{bytes_of, cast_slice};
use halftone_shaders::Kernel;
use halftone_shaders::blocks::{Params, normalised};
use halftone_shaders::twin::encode_grid_rows;

/// As the twin; see [`crate::compute::KernelCall::Encode`].
pub(super) fn run(engine: &Engine, format: Format, weights: &[f32], columns: usize, importance: &[f32], bytes: &mut [u8], cancel: &CancelToken) -> Result<()> {
    let Some(encoder) = encoder(format) else { return Err(Error::unsupported(format!("encoding {format} on a GPU"), "there is no kernel for it")) };
    let layout = format.layout();
    let (head, bytes) = bytes.split_at_mut(layout.tensor_head);
    format.encode_tensor_head(weights, columns, (!importance.is_empty()).then_some(importance), head);
    let factor = head.first_chunk().map_or(1.0, |scale| 1.0 / f32::from_le_bytes(*scale));
    let importances = engine.upload(cast_slice(&normalised(importance, layout.block_columns)))?;
    let grid = (encoder.kernel == Kernel::EncodeGridRows).then(|| engine.upload(cast_slice(&encode_grid_rows::table(encoder.params.format)))).transpose()?;

    let (values, length) = (encoder.blocks * layout.block_columns, encoder.blocks * layout.block_bytes);
    let record = |tile: std::ops::Range<usize>| {
        let tile_weights = &weights[tile.start * values..(tile.end * values).min(weights.len())];
        let blocks_per_row = columns / layout.block_columns;
        let params = Params {
            blocks: (tile_weights.len() / layout.block_columns) as u32,
            blocks_per_row: blocks_per_row as u32,
            // Only the place within a row matters, so the number of blocks may exceed 32 bits.
            first_block: (tile.start * encoder.blocks % blocks_per_row) as u32,
            weighted: (!importance.is_empty()).into(),
            factor: factor.to_bits(),
            ..encoder.params
        };
        let input = engine.upload(cast_slice(tile_weights))?;
        let output = engine.zeroed((tile.len() * length) as u64)?;
        let memories: Vec<&Memory> = [&input, &importances, &output].into_iter().chain(&grid).collect();
        engine.dispatch(Dispatch {
            kernel: encoder.kernel,
            params: bytes_of(&params),
            memories: &memories,
            workgroups: folded(tile.len()),
            work: tile_weights.len() as u64 * encoder.operations,
            bytes: input.bytes() + output.bytes(),
            operations: tile_weights.len() as u64 * encoder.operations,
        })?;
        engine.read(&[&output])
    };
    let work = values * encoder.operations as usize;
    let most = engine.max_binding_bytes() as usize / 4 / values;
    tiled(engine, encoder.kernel, weights.len().div_ceil(values), work, most, cancel, record, |tile, outputs| {
        let range = tile.start * length..(tile.end * length).min(bytes.len());
        bytes[range.clone()].copy_from_slice(&outputs[0][..range.len()]);
    })
}
