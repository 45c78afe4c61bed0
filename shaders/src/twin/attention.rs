//! softmax(cap·tanh(scale·q·kᵀ / cap))·v with grouped heads (Ainslie et al. 2023), causal or not, with or without a sliding window.
//!
//! Tokens are cut into tiles of at most [`TILE`] queries of one sequence. Devices go through the keys with a running maximum and sum and must
//! come within [`TOLERANCE`]·(1 + the largest |score|) of the largest |v| that a query sees: a score is off by some part of itself, and
//! weights by some part of what their scores are off.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `attention.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// Query heads.
    pub query_heads: u32,
    /// Key and value heads; each serves `query_heads / key_heads` query heads.
    pub key_heads: u32,
    /// Channels of a head, at most [`WIDEST`].
    pub dim: u32,
    /// 1: queries see no later keys.
    pub causal: u32,
    /// Queries see only this many keys, the last their own; 0: all.
    pub window: u32,
    /// Factor of q·k.
    pub scale: f32,
    /// Scores go through cap·tanh(score / cap); 0: they do not.
    pub cap: f32,
    /// Not used.
    pub padding: u32,
}
layout!(Params { query_heads, key_heads, dim, causal, window, scale, cap, padding });

/// Queries of a tile.
pub const TILE: usize = 32;
/// Channels of the widest head.
pub const WIDEST: usize = 256;
/// Largest difference between devices; see the top.
pub const TOLERANCE: f64 = 4e-6;

/// Some queries of one sequence, and all of its keys; laid out as the kernel reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Tile {
    /// Row of the first query in q.
    pub query: u32,
    /// Queries.
    pub queries: u32,
    /// Row of the sequence's first key in k and v.
    pub key: u32,
    /// Keys of the sequence.
    pub keys: u32,
    /// The first query's own key, counted from the first of the sequence.
    pub own: u32,
    /// Not used.
    pub padding: [u32; 3],
}

/// The result has the rows of `q`; returned is the ceiling of the difference for each query row of a tile and head, in their order.
pub fn attention(params: &Params, q: &[f32], k: &[f32], v: &[f32], tiles: &[Tile], y: &mut [f32]) -> Vec<f64> {
    let [heads, key_heads, dim] = [params.query_heads, params.key_heads, params.dim].map(|n| n as usize);
    let mut ceilings = Vec::new();
    for tile in tiles {
        for head in 0..heads {
            for query in 0..tile.queries as usize {
                let own = tile.own as usize + query;
                let at = ((tile.query as usize + query) * heads + head) * dim;
                let key_at = |key: usize| ((tile.key as usize + key) * key_heads + head / (heads / key_heads)) * dim;
                let sees = |key: usize| (params.causal == 0 || key <= own) && (params.window == 0 || key + params.window as usize > own);
                let seen: Vec<usize> = (0..tile.keys as usize).filter(|&key| sees(key)).collect();
                let score = |key: usize| {
                    let product: f64 = q[at..at + dim].iter().zip(&k[key_at(key)..]).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                    let (score, cap) = (product * f64::from(params.scale), f64::from(params.cap));
                    if cap == 0.0 { score } else { cap * (score / cap).tanh() }
                };
                let scores: Vec<f64> = seen.iter().map(|&key| score(key)).collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                for c in 0..dim {
                    let mixed: f64 = seen.iter().zip(&scores).map(|(&key, s)| (s - top).exp() / sum * f64::from(v[key_at(key) + c])).sum();
                    y[at + c] = mixed as f32;
                }
                let value = seen.iter().flat_map(|&key| &v[key_at(key)..key_at(key) + dim]).fold(0.0f64, |m, &v| m.max(f64::from(v.abs())));
                let largest = seen.iter().map(|&key| products(&q[at..at + dim], &k[key_at(key)..])).fold(0.0, f64::max);
                ceilings.push(TOLERANCE * (1.0 + largest * f64::from(params.scale.abs())) * value);
            }
        }
    }
    ceilings
}

/// Σ |aᵢbᵢ|.
fn products(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a.abs()) * f64::from(b.abs())).sum()
}
