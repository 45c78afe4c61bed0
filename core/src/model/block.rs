//! One transformer block: attention and feed-forward, each added to the residual stream, with norms where the architecture has them.

use super::Arithmetic;
use super::attention::{Heads, Scoring, Span, attended, attention};
use super::feed_forward::FeedForward;
use super::linear::Linear;
use super::norm::Norm;
use super::projections::Projections;
use super::relative::RelativeBias;
use super::rope::Rotary;
use super::taps::{Readers, Resumed, Taps, reborrow};
use super::values::{Input, Values, apart, tensor_from, with_values};
use super::vector::add_to;
use super::weights::Weights;
use crate::compute::gpu::forward::{Attention, Rows, Sequence, Turns};
use crate::error::{Error, Result};
use crate::job::Accelerator;
use crate::job::JobContext;
use crate::source::{Anatomy, NormPlacement};
use candle_core::Tensor;
use halftone_shaders::twin::attention::WIDEST;
use std::ops::Range;
use std::sync::Arc;

/// Tokens whose linears run as one matrix product: enough to reach the CPU's peak, few enough for the intermediates to stay small.
const BATCH_TOKENS: usize = 2048;

/// The weights of one block, as f32, and what is needed to run them.
pub struct Block {
    rotary: Option<Arc<Rotary>>,
    heads: Heads,
    scoring: Scoring,
    hidden_size: usize,
    around_attention: Surround,
    projections: Projections,
    output: Linear,
    output_readers: Readers,
    around_feed_forward: Surround,
    feed_forward: FeedForward,
    /// How keys and values are kept.
    cache: Arithmetic,
    device: Option<Arc<Accelerator>>,
}

/// What all blocks of a model share.
#[derive(Clone)]
pub(super) struct Shared {
    /// Of global blocks.
    pub(super) rotary: Option<Arc<Rotary>>,
    /// Of blocks with a window.
    pub(super) local_rotary: Option<Arc<Rotary>>,
    pub(super) bias: Option<Arc<RelativeBias>>,
}

/// The norms around one half of a block.
#[derive(Default)]
struct Surround {
    /// Of the half's input.
    before: Option<Norm>,
    /// Of its output, before it is added to the residual stream.
    output: Option<Norm>,
    /// Of the stream, after it was added.
    after: Option<Norm>,
}

impl Surround {
    fn load(weights: &dyn Weights, anatomy: &Anatomy, block: usize, [before, output, after]: [&str; 3], device: Option<&Arc<Accelerator>>) -> Result<Self> {
        let norm = |part: &str| Norm::load(weights, anatomy, &format!("blk.{block}.{part}"), weights.config().hidden_size)?.on(device).map(Some);
        Ok(match anatomy.placement {
            NormPlacement::Before => Self { before: norm(before)?, ..Self::default() },
            NormPlacement::Around => Self { before: norm(before)?, output: norm(output)?, after: None },
            NormPlacement::After => Self { after: norm(after)?, ..Self::default() },
        })
    }

    fn enter(&self, stream: Input<'_>) -> Result<Values> {
        match (&self.before, stream) {
            (Some(norm), _) => norm.run(stream),
            (None, Input::Host(stream)) => Ok(Values::Host(stream.to_vec())),
            (None, Input::Device(stream)) => Ok(Values::Device(stream.duplicate()?)),
        }
    }

    fn leave(&self, mut stream: Values, mut output: Values) -> Result<Values> {
        if let Some(norm) = &self.output {
            output = norm.run(output.input())?;
        }
        match (&mut stream, &output) {
            (Values::Device(stream), Values::Device(output)) => stream.add(output)?,
            (Values::Host(stream), Values::Host(output)) => add_to(stream, output),
            _ => return Err(apart("residual stream")),
        }
        match &self.after {
            Some(norm) => norm.run(stream.input()),
            None => Ok(stream),
        }
    }
}

/// Rotated keys, and values, of the tokens a block has seen.
#[derive(Clone, Debug, Default)]
pub struct KeyValueCache {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Block {
    pub(super) fn load(weights: &dyn Weights, anatomy: &Anatomy, index: usize, shared: &Shared, device: Option<&Arc<Accelerator>>) -> Result<Self> {
        let config = weights.config();
        let heads = Heads { query: config.head_count, key_value: config.kv_head_count, dim: config.head_dim };
        let window = anatomy.window_of(index);
        let rotary = shared.local_rotary.as_ref().filter(|_| window.is_some()).or(shared.rotary.as_ref());
        Ok(Self {
            rotary: rotary.cloned(),
            heads,
            scoring: Scoring {
                scale: anatomy.attention_scale.unwrap_or_else(|| 1.0 / (heads.dim as f32).sqrt()),
                soft_cap: anatomy.attention_soft_cap,
                causal: anatomy.causal,
                window,
                bias: shared.bias.clone(),
            },
            hidden_size: config.hidden_size,
            around_attention: Surround::load(weights, anatomy, index, ["attn_norm", "post_attention_norm", "attn_output_norm"], device)?,
            projections: Projections::load(weights, anatomy, index, heads, device)?,
            output: Linear::load(weights, &format!("blk.{index}.attn_output"), config.hidden_size, heads.query * heads.dim, device)?,
            output_readers: Readers::new(vec![format!("blk.{index}.attn_output.weight")], None),
            around_feed_forward: Surround::load(weights, anatomy, index, ["ffn_norm", "post_ffw_norm", "layer_output_norm"], device)?,
            feed_forward: FeedForward::load(weights, anatomy, index, device)?,
            cache: weights.cache_arithmetic(),
            device: device.cloned(),
        })
    }

    /// The device that it is on.
    pub fn device(&self) -> Option<&Arc<Accelerator>> {
        self.device.as_ref()
    }

    /// The residual stream after this block, for each sequence (tokens × hidden) before it. Taps see the sequences in order, whole, about
    /// 2,048 tokens at a time.
    ///
    /// # Errors
    /// `Mismatch` for activations of another width, `Cancelled`, whatever a tap says.
    pub fn forward(&self, hidden: &[Tensor], mut taps: Option<&mut dyn Taps>, cx: &JobContext) -> Result<Vec<Tensor>> {
        let mut after = Vec::with_capacity(hidden.len());
        for batch in batches(&lengths_of(hidden)) {
            cx.checkpoint()?;
            let batch = &hidden[batch];
            let (x, lengths) = self.concatenate(batch)?;
            let mut spans = Vec::with_capacity(batch.len());
            let mut at = 0;
            for &length in &lengths {
                spans.push(Span { queries: at..at + length, keys: at..at + length });
                at += length;
            }
            let y = self.run_somewhere(x, &spans, reborrow(&mut taps))?;
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
    /// `Mismatch` for activations of another width; `Unsupported` for an encoder, whose tokens see what comes after them.
    pub fn advance(&self, hidden: &Tensor, cache: &mut KeyValueCache) -> Result<Tensor> {
        if !self.scoring.causal {
            return Err(Error::unsupported("continuing a text with an encoder", "its tokens see what comes after them"));
        }
        let (x, lengths) = self.concatenate(std::slice::from_ref(hidden))?;
        let new = lengths[0];
        let past = cache.keys.len() / (self.heads.key_value * self.heads.dim);
        let y = self.run(Values::Host(x), &[Span { queries: 0..new, keys: 0..past + new }], Some(cache), None)?;
        tensor_from(y.into_host()?, new, self.hidden_size)
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

    /// On the device, if there is one; on the host if not, or when the device fails. Then the taps do not see again what they have seen.
    fn run_somewhere(&self, x: Vec<f32>, spans: &[Span], taps: Option<&mut dyn Taps>) -> Result<Vec<f32>> {
        let Some(device) = &self.device else { return self.run(Values::Host(x), spans, None, taps)?.into_host() };
        let widest = self.hidden_size.max(self.heads.query * self.heads.dim);
        if !device.holds(x.len() / self.hidden_size, widest) {
            return self.run(Values::Host(x), spans, None, taps)?.into_host();
        }
        let mut resumed = taps.map(Resumed::new);
        let on_device = device.attempt(|gpu| {
            let x = Values::Device(Rows::upload(gpu, &x, self.hidden_size)?);
            self.run(x, spans, None, resumed.as_mut().map(|taps| taps as &mut dyn Taps))?.into_host()
        })?;
        if let Some(y) = on_device {
            return Ok(y);
        }
        if let Some(resumed) = &mut resumed {
            resumed.begin_again();
        }
        self.run(Values::Host(x), spans, None, resumed.as_mut().map(|taps| taps as &mut dyn Taps))?.into_host()
    }

    fn run(&self, x: Values, spans: &[Span], cache: Option<&mut KeyValueCache>, mut taps: Option<&mut dyn Taps>) -> Result<Values> {
        let [mut q, mut k, mut v] = self.projections.run(self.around_attention.enter(x.input())?, reborrow(&mut taps))?;
        self.turn(&mut q, &mut k, spans)?;
        let width = self.heads.key_value * self.heads.dim;
        for cached in [&mut k, &mut v] {
            match (cached, self.cache.rounding()) {
                (Values::Device(rows), Some(rounding)) => *rows = rows.rounded(rounding)?,
                (Values::Host(values), _) => self.cache.round(values, width),
                (Values::Device(_), None) => {}
            }
        }
        if let (Some(taps), Some((key, value)), None) = (reborrow(&mut taps).filter(|t| t.wants_attended()), self.projections.key_value(), &cache) {
            let input = self.around_attention.enter(x.input())?.into_host()?;
            let how = attended(&q.input().on_host()?, &k.input().on_host()?, &input, self.hidden_size, self.heads, spans, &self.scoring);
            taps.attended_input(key, value, &input, &how.received, &how.mixed)?;
        }
        let attended = self.attend(q, k, v, spans, cache)?;
        let output = self.output_readers.show(attended, self.output.inputs(), reborrow(&mut taps), |input| self.output.run(input))?;
        let x = self.around_attention.leave(x, output)?;
        let output = self.feed_forward.run(self.around_feed_forward.enter(x.input())?, taps)?;
        self.around_feed_forward.leave(x, output)
    }

    fn attend(&self, q: Values, k: Values, v: Values, spans: &[Span], cache: Option<&mut KeyValueCache>) -> Result<Values> {
        let kernel = Attention {
            query_heads: self.heads.query,
            key_heads: self.heads.key_value,
            dim: self.heads.dim,
            scale: self.scoring.scale,
            cap: self.scoring.soft_cap,
            causal: self.scoring.causal,
            window: self.scoring.window,
        };
        match (&q, &k, &v) {
            (Values::Device(q), Values::Device(k), Values::Device(v)) if kernel.is_supported() && self.scoring.bias.is_none() => {
                let sequences: Vec<Sequence> = spans.iter().map(|s| Sequence { queries: s.queries.clone(), keys: s.keys.clone() }).collect();
                return Ok(Values::Device(kernel.run(q, k, v, &sequences)?));
            }
            (Values::Device(_), ..) => {
                if let Some(device) = &self.device {
                    device.tell_host(&format!("attention with learned biases, a window of nothing or heads wider than {WIDEST} channels has no kernel"));
                }
            }
            _ => {}
        }
        let (q_here, k, v) = (q.input(), k.into_host()?, v.into_host()?);
        let host = q_here.on_host()?;
        let out = match cache {
            None => attention(&host, &k, &v, self.heads, spans, &self.scoring),
            Some(cache) => {
                cache.keys.extend_from_slice(&k);
                cache.values.extend_from_slice(&v);
                attention(&host, &cache.keys, &cache.values, self.heads, spans, &self.scoring)
            }
        };
        q_here.beside(out, self.heads.query * self.heads.dim)
    }

    /// Rotates queries and keys by their positions.
    fn turn(&self, q: &mut Values, k: &mut Values, spans: &[Span]) -> Result<()> {
        let Some(rotary) = &self.rotary else { return Ok(()) };
        let (query_width, kv_width) = (self.heads.query * self.heads.dim, self.heads.key_value * self.heads.dim);
        let mut angles = Vec::new();
        let mut positions = vec![0; spans.iter().map(|span| span.queries.end).max().unwrap_or(0)];
        for is_long in [false, true] {
            let alike = || spans.iter().filter(|span| rotary.is_long(span.keys.len()) == is_long);
            // All spans of a forward start at position 0, a cached one after its past: one table serves all.
            let first = alike().map(|s| s.keys.len() - s.queries.len()).min().unwrap_or(0);
            let longest = alike().map(|s| s.queries.len()).max().unwrap_or(0);
            let table = rotary.angles(first, longest, is_long);
            match (&mut *q, &mut *k) {
                (Values::Host(q), Values::Host(k)) => {
                    for Span { queries, .. } in alike() {
                        rotary.turn(&table, &mut q[queries.start * query_width..queries.end * query_width], query_width, self.heads.dim);
                        rotary.turn(&table, &mut k[queries.start * kv_width..queries.end * kv_width], kv_width, self.heads.dim);
                    }
                }
                _ => {
                    let base = angles.len() / rotary.pairs().max(1);
                    for Span { queries, .. } in alike() {
                        queries.clone().zip(base..).for_each(|(token, row)| positions[token] = row as u32);
                    }
                    angles.extend(table.cosines_and_sines());
                }
            }
        }
        if let (Values::Device(q), Values::Device(k)) = (q, k) {
            let turns = Turns::upload(q.gpu(), &angles, rotary.pairs(), &positions, rotary.is_interleaved())?;
            q.turn(&turns, self.heads.dim)?;
            k.turn(&turns, self.heads.dim)?;
        }
        Ok(())
    }
}

/// Tokens of each sequence.
pub(super) fn lengths_of(sequences: &[Tensor]) -> Vec<usize> {
    sequences.iter().map(|sequence| sequence.dims().first().copied().unwrap_or(0)).collect()
}

/// Consecutive sequences, together about [`BATCH_TOKENS`] long, from the lengths of all.
pub(super) fn batches(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut from, mut tokens) = (0, 0);
    for (i, length) in lengths.iter().enumerate() {
        if i > from && tokens + length > BATCH_TOKENS {
            batches.push(from..i);
            (from, tokens) = (i, 0);
        }
        tokens += length;
    }
    if from < lengths.len() {
        batches.push(from..lengths.len());
    }
    batches
}
