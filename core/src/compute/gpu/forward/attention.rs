//! Attention of several sequences at once.

use super::{Cost, Rows};
use crate::error::Result;
use bytemuck::cast_slice;
use halftone_shaders::Kernel;
use halftone_shaders::twin::attention::{Params, TILE, Tile, WIDEST};
use std::ops::Range;

/// Heads, and how scores are made of products.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Query heads.
    pub query_heads: usize,
    /// Key and value heads.
    pub key_heads: usize,
    /// Channels of a head.
    pub dim: usize,
    /// Factor of q·k.
    pub scale: f32,
    /// Scores go through cap·tanh(score / cap).
    pub cap: Option<f32>,
    /// Queries see no later keys.
    pub causal: bool,
    /// Queries see only this many keys, the last being their own.
    pub window: Option<usize>,
}

/// Rows of the queries and of the keys of one sequence; the queries are the last tokens of the keys.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Rows of q.
    pub queries: Range<usize>,
    /// Rows of k and v.
    pub keys: Range<usize>,
}

impl Attention {
    /// Whether the kernel can do it.
    pub fn is_supported(&self) -> bool {
        self.dim <= WIDEST && self.window != Some(0)
    }

    /// softmax(f(q·kᵀ))·v, in rows like those of q.
    ///
    /// # Errors
    /// `Device`; `Mismatch` for widths or sequences that do not fit.
    pub fn run(&self, q: &Rows, k: &Rows, v: &Rows, sequences: &[Sequence]) -> Result<Rows> {
        let widths = q.columns == self.query_heads * self.dim && k.columns == self.key_heads * self.dim && v.columns == k.columns;
        let inside = |s: &Sequence| s.queries.end <= q.rows && s.keys.end <= k.rows.min(v.rows) && s.queries.len() <= s.keys.len();
        q.fits("attention", widths && self.is_supported() && sequences.iter().all(inside), format!("{self:?} of {k:?}"))?;
        let mut tiles = Vec::new();
        let mut products = 0;
        for sequence in sequences {
            let past = sequence.keys.len() - sequence.queries.len();
            for at in sequence.queries.clone().step_by(TILE) {
                let queries = TILE.min(sequence.queries.end - at);
                let own = past + at - sequence.queries.start;
                let end = if self.causal { own + queries } else { sequence.keys.len() };
                products += 2 * queries * self.dim * end.min(self.window.map_or(end, |window| window + queries));
                tiles.push(Tile {
                    query: at as u32,
                    queries: queries as u32,
                    key: sequence.keys.start as u32,
                    keys: sequence.keys.len() as u32,
                    own: own as u32,
                    padding: [0; 3],
                });
            }
        }
        let y = Rows::reserve(&q.gpu, q.rows, q.columns)?;
        let params = Params {
            query_heads: self.query_heads as u32,
            key_heads: self.key_heads as u32,
            dim: self.dim as u32,
            causal: self.causal.into(),
            window: self.window.unwrap_or(0) as u32,
            scale: self.scale,
            cap: self.cap.unwrap_or(0.0),
            padding: 0,
        };
        let each = (products / tiles.len().max(1)).max(1) * self.query_heads;
        for tiles in tiles.chunks(q.gpu.pieces(Kernel::Attention, each, 1)) {
            let list = q.gpu.engine.upload(cast_slice(tiles))?;
            let cost = Cost::of_products(each * tiles.len(), 4 * tiles.len() * TILE * 2 * (q.columns + k.columns));
            let workgroups = [tiles.len() as u32, self.query_heads as u32, 1];
            q.gpu.record(Kernel::Attention, &params, &[&q.memory, &k.memory, &v.memory, &list, &y.memory], workgroups, &cost)?;
        }
        Ok(y)
    }
}
