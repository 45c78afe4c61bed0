//! Queries, keys and values of a block: from three matrices or from one, normalised a head where the architecture says so.

use super::attention::Heads;
use super::linear::Linear;
use super::norm::Norm;
use super::taps::{Readers, Taps};
use super::values::Values;
use super::weights::Weights;
use crate::error::Result;
use crate::job::Accelerator;
use crate::source::Anatomy;
use std::sync::Arc;

/// What makes queries, keys and values.
pub(super) struct Projections {
    linears: Linears,
    readers: Readers,
    /// Of each head of queries, and of keys.
    norms: Option<[Norm; 2]>,
    widths: [usize; 3],
    hidden: usize,
}

enum Linears {
    Apart([Linear; 3]),
    /// Queries above keys above values.
    Fused(Linear),
}

impl Projections {
    /// Three matrices, or `attn_qkv` where there is one.
    pub(super) fn load(weights: &dyn Weights, anatomy: &Anatomy, block: usize, heads: Heads, device: Option<&Arc<Accelerator>>) -> Result<Self> {
        let hidden = weights.config().hidden_size;
        let stem = |part: &str| format!("blk.{block}.{part}");
        let kv = heads.key_value * heads.dim;
        let widths = [heads.query * heads.dim, kv, kv];
        let parts = ["attn_q", "attn_k", "attn_v"];
        let fused = stem("attn_qkv");
        let (linears, names) = if weights.has(&format!("{fused}.weight"))? {
            (Linears::Fused(Linear::load(weights, &fused, widths.iter().sum(), hidden, device)?), vec![format!("{fused}.weight")])
        } else {
            let linear = |i: usize| Linear::load(weights, &stem(parts[i]), widths[i], hidden, device);
            (Linears::Apart([linear(0)?, linear(1)?, linear(2)?]), parts.iter().map(|part| format!("{}.weight", stem(part))).collect())
        };
        let norm = |part: &str| Norm::load(weights, anatomy, &stem(part), heads.dim)?.on(device);
        let norms = if anatomy.query_key_norm { Some([norm("attn_q_norm")?, norm("attn_k_norm")?]) } else { None };
        Ok(Self { linears, readers: Readers::new(names, None), norms, widths, hidden })
    }

    /// The names of the matrices of keys and of values, when they are matrices of their own.
    pub(super) fn key_value(&self) -> Option<(&str, &str)> {
        let [_, key, value] = self.readers.names() else { return None };
        Some((key, value))
    }

    /// tokens × hidden → tokens × each of the widths.
    pub(super) fn run(&self, x: Values, taps: Option<&mut dyn Taps>) -> Result<[Values; 3]> {
        let [q, k, v] = self.readers.show(x, self.hidden, taps, |input| match &self.linears {
            Linears::Apart([q, k, v]) => Ok([q.run(input)?, k.run(input)?, v.run(input)?]),
            Linears::Fused(linear) => linear.run_parts(input, self.widths),
        })?;
        Ok(match &self.norms {
            Some([of_queries, of_keys]) => [of_queries.run(q.input())?, of_keys.run(k.input())?, v],
            None => [q, k, v],
        })
    }
}
