//! Two matrices of logits, row by row: KL(before ‖ after) of their softmax distributions, −log p of the token that followed, and the most
//! likely tokens of each, the first of equals first.
//!
//! The divergence is Σ p·(d + e⁻ᵈ − 1) with d = log p − log q, which is Σ p·d for distributions that add up to one; its terms are positive, so
//! that a small divergence keeps its digits in f32. Devices must come within [`TOLERANCE`]·KL + [`FLOOR`]·√KL + [`FLOOR`]² of it, of −log p
//! within [`TOLERANCE`]·(1 + largest |logit|); tokens are equal unless their logits are.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `logits_compare.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Params {
    /// Rows in this dispatch.
    pub rows: u32,
    /// The vocabulary.
    pub columns: u32,
    /// Where the targets of these rows begin.
    pub first_target: u32,
    /// How many of the most likely tokens, at most [`TOP`]; 0: none, and no −log p.
    pub top: u32,
}
layout!(Params { rows, columns, first_target, top });

/// Most tokens that are looked for.
pub const TOP: usize = 6;
/// Largest relative difference between devices.
pub const TOLERANCE: f64 = 1e-4;
/// What a logit may be off; see the top.
pub const FLOOR: f64 = 4e-6;

/// What is said of a row; laid out as the kernel writes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Row {
    /// KL(before ‖ after), nats.
    pub divergence: f32,
    /// −log p of the token that followed.
    pub nll_before: f32,
    /// The same after.
    pub nll_after: f32,
    /// Not used.
    pub padding: u32,
    /// The most likely tokens; a vocabulary of fewer repeats its last. Those not asked for are not defined.
    pub top_before: [u32; TOP],
    /// The same after.
    pub top_after: [u32; TOP],
}

/// One row for each of rows of `columns`; `targets` may be empty when `top` is 0.
pub fn logits_compare(before: &[f32], after: &[f32], columns: usize, targets: &[u32], top: usize) -> Vec<Row> {
    let log_sum = |row: &[f32]| {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        f64::from(largest) + row.iter().map(|&v| f64::from(v - largest).exp()).sum::<f64>().ln()
    };
    let most_likely = |row: &[f32]| {
        let mut order: Vec<u32> = (0..columns as u32).collect();
        order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
        std::array::from_fn(|i| if i < top { order[i.min(columns - 1)] } else { 0 })
    };
    let compare = |(i, (before, after)): (usize, (&[f32], &[f32]))| {
        let (zp, zq) = (log_sum(before), log_sum(after));
        let term = |(&a, &b): (&f32, &f32)| {
            let (log_p, log_q) = (f64::from(a) - zp, f64::from(b) - zq);
            log_p.exp() * (log_p - log_q) + log_q.exp() - log_p.exp()
        };
        let nll = |row: &[f32], z: f64| if top > 0 { (z - f64::from(row[targets[i] as usize])) as f32 } else { 0.0 };
        Row {
            divergence: before.iter().zip(after).map(term).sum::<f64>() as f32,
            nll_before: nll(before, zp),
            nll_after: nll(after, zq),
            padding: 0,
            top_before: most_likely(before),
            top_after: most_likely(after),
        }
    };
    before.chunks_exact(columns).zip(after.chunks_exact(columns)).enumerate().map(compare).collect()
}
