//! One transformer block of the llama family: RMSNorm, attention, RMSNorm, SwiGLU, each added to the residual stream.

use super::Arithmetic;
use super::attention::{Heads, Span, causal_attention};
use super::forward::Taps;
use super::linear::{Linear, load_shaped};
use super::rope::Rotary;
use super::values::{tensor_from, with_values};
use super::vector::{add_to, rms_norm, silu_gate};
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::job::JobContext;
use candle_core::Tensor;
use std::sync::Arc;

/// Tokens whose linears run as one matrix product: enough to reach the CPU's peak, few enough for the intermediates to stay small.
const BATCH_TOKENS: usize = 2048;

/// The weights of one block, as f32, and what is needed to run them.
pub struct Block {
    rotary: Arc<Rotary>,
    heads: Heads,
    eps: f32,
    hidden_size: usize,
    attention_norm: Vec<f32>,
    feed_forward_norm: Vec<f32>,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    gate: Linear,
    up: Linear,
    down: Linear,
    names: InputNames,
    /// How keys and values are kept.
    cache: Arithmetic,
}

/// The linears that share an input, for the taps.
struct InputNames {
    query_key_value: [String; 3],
    output: [String; 1],
    gate_up: [String; 2],
    down: [String; 1],
}

/// Rotated keys, and values, of the tokens a block has seen.
#[derive(Clone, Debug, Default)]
pub struct KeyValueCache {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Block {
    pub(super) fn load(weights: &dyn Weights, index: usize, rotary: Arc<Rotary>) -> Result<Self> {
        let config = weights.config();
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let heads = Heads { query: config.head_count, key_value: config.kv_head_count, dim: config.head_dim };
        let (query_width, kv_width) = (heads.query * heads.dim, heads.key_value * heads.dim);
        let stem = |part: &str| format!("blk.{index}.{part}");
        let linear = |part: &str, outputs, inputs| Linear::load(weights, &stem(part), outputs, inputs);
        let weight = |part: &str| format!("blk.{index}.{part}.weight");
        Ok(Self {
            rotary,
            heads,
            eps: config.norm_eps,
            cache: weights.cache_arithmetic(),
            hidden_size: hidden,
            attention_norm: load_shaped(weights, &weight("attn_norm"), &[hidden])?,
            feed_forward_norm: load_shaped(weights, &weight("ffn_norm"), &[hidden])?,
            query: linear("attn_q", query_width, hidden)?,
            key: linear("attn_k", kv_width, hidden)?,
            value: linear("attn_v", kv_width, hidden)?,
            output: linear("attn_output", hidden, query_width)?,
            gate: linear("ffn_gate", inner, hidden)?,
            up: linear("ffn_up", inner, hidden)?,
            down: linear("ffn_down", hidden, inner)?,
            names: InputNames {
                query_key_value: ["attn_q", "attn_k", "attn_v"].map(weight),
                output: [weight("attn_output")],
                gate_up: ["ffn_gate", "ffn_up"].map(weight),
                down: [weight("ffn_down")],
            },
        })
    }

    /// The residual stream after this block, for each sequence (tokens × hidden) before it. Taps see the sequences in order, whole, about
    /// 2,048 tokens at a time.
    ///
    /// # Errors
    /// `Mismatch` for activations of another width, `Cancelled`, whatever a tap says.
    pub fn forward(&self, hidden: &[Tensor], mut taps: Option<&mut dyn Taps>, cx: &JobContext) -> Result<Vec<Tensor>> {
        let mut after = Vec::with_capacity(hidden.len());
        for batch in batches(hidden) {
            cx.checkpoint()?;
            let (x, lengths) = self.concatenate(batch)?;
            let mut spans = Vec::with_capacity(batch.len());
            let mut at = 0;
            for &length in &lengths {
                spans.push(Span { queries: at..at + length, keys: at..at + length });
                at += length;
            }
            let y = self.run(x, &spans, None, reborrow(&mut taps))?;
            for span in spans {
                let rows = &y[span.queries.start * self.hidden_size..span.queries.end * self.hidden_size];
                after.push(tensor_from(rows.to_vec(), span.queries.len(), self.hidden_size)?);
            }
        }
        Ok(after)
    }

    /// As [`Self::forward`] for the next tokens of one sequence, whose earlier ones are in `cache`; they are added to it.
    ///
    /// # Errors
    /// `Mismatch` for activations of another width.
    pub fn advance(&self, hidden: &Tensor, cache: &mut KeyValueCache) -> Result<Tensor> {
        let (x, lengths) = self.concatenate(std::slice::from_ref(hidden))?;
        let new = lengths[0];
        let past = cache.keys.len() / (self.heads.key_value * self.heads.dim);
        let y = self.run(x, &[Span { queries: 0..new, keys: 0..past + new }], Some(cache), None)?;
        tensor_from(y, new, self.hidden_size)
    }

    fn concatenate(&self, hidden: &[Tensor]) -> Result<(Vec<f32>, Vec<usize>)> {
        let mut x = Vec::with_capacity(hidden.iter().map(Tensor::elem_count).sum());
        let mut lengths = Vec::with_capacity(hidden.len());
        for tensor in hidden {
            let (tokens, width) = tensor.dims2()?;
            if width != self.hidden_size {
                return Err(Error::Mismatch { operation: "run block", expected: format!("{} channels", self.hidden_size), got: width.to_string() });
            }
            with_values(tensor, |values| {
                x.extend_from_slice(values);
                Ok(())
            })?;
            lengths.push(tokens);
        }
        Ok((x, lengths))
    }

    fn run(&self, mut x: Vec<f32>, spans: &[Span], cache: Option<&mut KeyValueCache>, mut taps: Option<&mut dyn Taps>) -> Result<Vec<f32>> {
        let normed = rms_norm(&x, &self.attention_norm, self.eps);
        let (mut q, mut k, mut v) = shown(normed, self.hidden_size, &self.names.query_key_value, reborrow(&mut taps), |input| {
            (self.query.apply(input), self.key.apply(input), self.value.apply(input))
        })?;
        self.turn(&mut q, &mut k, spans);
        self.cache.round(&mut k, self.heads.key_value * self.heads.dim);
        self.cache.round(&mut v, self.heads.key_value * self.heads.dim);
        let attended = match cache {
            None => causal_attention(&q, &k, &v, self.heads, spans),
            Some(cache) => {
                cache.keys.extend_from_slice(&k);
                cache.values.extend_from_slice(&v);
                causal_attention(&q, &cache.keys, &cache.values, self.heads, spans)
            }
        };
        drop((q, k, v));
        let width = self.heads.query * self.heads.dim;
        add_to(&mut x, &shown(attended, width, &self.names.output, reborrow(&mut taps), |input| self.output.apply(input))?);

        let normed = rms_norm(&x, &self.feed_forward_norm, self.eps);
        let (mut gate, up) = shown(normed, self.hidden_size, &self.names.gate_up, reborrow(&mut taps), |input| (self.gate.apply(input), self.up.apply(input)))?;
        silu_gate(&mut gate, &up);
        drop(up);
        let inner = self.down.inputs();
        add_to(&mut x, &shown(gate, inner, &self.names.down, taps, |input| self.down.apply(input))?);
        Ok(x)
    }

    /// Rotates queries and keys by their positions.
    fn turn(&self, q: &mut [f32], k: &mut [f32], spans: &[Span]) {
        let (query_width, kv_width) = (self.heads.query * self.heads.dim, self.heads.key_value * self.heads.dim);
        // All spans of a forward start at position 0, a cached one after its past: one table serves all.
        let first = spans.iter().map(|s| s.keys.len() - s.queries.len()).min().unwrap_or(0);
        let longest = spans.iter().map(|s| s.queries.len()).max().unwrap_or(0);
        let angles = self.rotary.angles(first, longest);
        for span in spans {
            let Span { queries, .. } = span;
            self.rotary.turn(&angles, &mut q[queries.start * query_width..queries.end * query_width], query_width, self.heads.dim);
            self.rotary.turn(&angles, &mut k[queries.start * kv_width..queries.end * kv_width], kv_width, self.heads.dim);
        }
    }
}

/// Shows the input of some linears to the taps, if any, and runs them on it.
fn shown<R>(input: Vec<f32>, width: usize, names: &[String], taps: Option<&mut dyn Taps>, linears: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let Some(taps) = taps else { return Ok(linears(&input)) };
    let rows = input.len() / width;
    let input = tensor_from(input, rows, width)?;
    taps.linear_input(names, &input)?;
    with_values(&input, |values| Ok(linears(values)))
}

/// Consecutive sequences, together about [`BATCH_TOKENS`] long.
pub(super) fn batches(sequences: &[Tensor]) -> Vec<&[Tensor]> {
    let mut batches = Vec::new();
    let (mut from, mut tokens) = (0, 0);
    for (i, sequence) in sequences.iter().enumerate() {
        let length = sequence.dims().first().copied().unwrap_or(0);
        if i > from && tokens + length > BATCH_TOKENS {
            batches.push(&sequences[from..i]);
            (from, tokens) = (i, 0);
        }
        tokens += length;
    }
    if from < sequences.len() {
        batches.push(&sequences[from..]);
    }
    batches
}

/// The same taps again, for a shorter time.
pub(super) fn reborrow<'a>(taps: &'a mut Option<&mut dyn Taps>) -> Option<&'a mut dyn Taps> {
    match taps {
        Some(taps) => Some(&mut **taps),
        None => None,
    }
}
