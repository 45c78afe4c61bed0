//! Rotary positions.

use super::super::Gpu;
use super::super::pool::Memory;
use super::super::tiles::folded;
use super::{Cost, Rows};
use crate::error::{Error, Result};
use bytemuck::cast_slice;
use halftone_shaders::Kernel;
use halftone_shaders::twin::rope::Params;

/// The angles of some tokens.
pub struct Turns {
    angles: Memory,
    positions: Memory,
    tokens: usize,
    pairs: usize,
    interleaved: bool,
}

impl Turns {
    /// `angles` has a row of `pairs` cosines and sines for each number in `positions`.
    ///
    /// # Errors
    /// `Device`; `Mismatch` for a position without angles.
    pub fn upload(gpu: &Gpu, angles: &[[f32; 2]], pairs: usize, positions: &[u32], interleaved: bool) -> Result<Self> {
        if let Some(position) = positions.iter().find(|p| (**p as usize + 1) * pairs > angles.len()) {
            return Err(Error::Mismatch { operation: "rotary positions", expected: format!("{} angles", angles.len()), got: format!("position {position}") });
        }
        let (angles, places) = (gpu.engine.upload(cast_slice(angles))?, gpu.engine.upload(cast_slice(positions))?);
        Ok(Self { angles, positions: places, tokens: positions.len(), pairs, interleaved })
    }
}

impl Rows {
    /// Turns the heads of every token, each `dim` wide.
    ///
    /// # Errors
    /// `Device`; `Mismatch` for another number of tokens, or heads narrower than what turns.
    pub fn turn(&mut self, turns: &Turns, dim: usize) -> Result<()> {
        let fits = self.rows == turns.tokens && dim > 0 && self.columns.is_multiple_of(dim) && 2 * turns.pairs <= dim;
        self.fits("rotary positions", fits, format!("{} tokens, {} pairs of {dim} channels", turns.tokens, turns.pairs))?;
        let heads = self.columns / dim;
        let params = Params {
            tokens: self.rows as u32,
            heads: heads as u32,
            dim: dim as u32,
            pairs: turns.pairs as u32,
            interleaved: turns.interleaved.into(),
            ..Params::default()
        };
        let threads = self.rows * heads * turns.pairs;
        let memories = [&turns.angles, &turns.positions, &self.memory];
        self.gpu.record(Kernel::Rope, &params, &memories, folded(threads.div_ceil(256)), &Cost::of_values(2 * threads, 2))
    }
}
