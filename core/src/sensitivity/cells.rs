//! KL measured at the logits, of models that differ from the original in one tensor, or in several.
//!
//! All variants travel through the model together, each from the block its tensor is in, so that every block is loaded once for a batch
//! of variants (see [`BATCH_BYTES`]) and a variant costs the part of a forward pass behind its tensor.

use crate::error::Result;
use crate::job::{JobContext, Stage};
use crate::model::{Head, StoredWeight, Transformer, Weights, logits_of, with_values};
use crate::numeric::metric::{kl_divergence, mean_and_standard_error};
use crate::residual::Candidate;
use crate::source::ModelConfig;
use candle_core::Tensor;
use indexmap::IndexMap;
use rayon::prelude::*;

/// Residual streams that are in memory together.
const BATCH_BYTES: usize = 1 << 30;
/// Positions whose logits are in memory together.
const SCORED: usize = 64;
/// Consecutive tokens that count as one observation for a standard error.
const RUN: usize = 32;

/// A model with one tensor replaced.
struct Replaced<'a> {
    weights: &'a dyn Weights,
    name: &'a str,
    values: Vec<f32>,
}

impl Weights for Replaced<'_> {
    fn config(&self) -> &ModelConfig {
        self.weights.config()
    }

    fn load(&self, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
        let found = self.weights.load(name)?;
        Ok(if name == self.name { found.map(|(_, shape)| (self.values.clone(), shape)) } else { found })
    }

    fn stored(&self, name: &str) -> Result<Option<StoredWeight<'_>>> {
        if name == self.name { Ok(None) } else { self.weights.stored(name) }
    }
}

/// The residual streams of the model with one tensor replaced, and its head where that is another.
struct Variant {
    tensor: usize,
    hidden: Vec<Tensor>,
    head: Option<Head>,
}

/// KL(original ‖ replaced) over all positions of the sequences, nats per token: its mean and the standard error of that, for each of the named
/// tensors replaced alone by `replacement(its index)`; `None` for tensors that the model does not use. A name may come several times.
pub(super) fn measured_kl(
    weights: &dyn Weights,
    names: &[String],
    replacement: &dyn Fn(usize) -> Result<Vec<f32>>,
    sequences: &[Vec<u32>],
    cx: &JobContext,
) -> Result<Vec<Option<Measurement>>> {
    let model = Transformer::on(weights, cx)?;
    let blocks = model.blocks();
    let mut order: Vec<(usize, usize)> = (0..names.len()).filter_map(|t| Some((model.first_block(&names[t])?, t))).collect();
    order.sort_unstable();
    let stream_bytes = sequences.iter().map(Vec::len).sum::<usize>() * weights.config().hidden_size * size_of::<f32>();
    let batches: Vec<&[(usize, usize)]> = order.chunks((BATCH_BYTES / stream_bytes.max(1)).max(1)).collect();
    // One unit: one variant through one block. The head counts as the blocks that have as many weights.
    let head_units = head_units(weights.config());
    let total = order.iter().map(|(first, _)| (blocks - first + head_units) as u64).sum();
    let mut done = 0;
    let mut advance = |count: usize| {
        done += count as u64;
        cx.progress(Stage::Probe, done, total);
        cx.checkpoint()
    };
    advance(0)?;

    let mut measured = vec![None; names.len()];
    let mut start = model.embed(sequences)?;
    for (n, batch) in batches.iter().enumerate() {
        let next_start = batches.get(n + 1).map_or(usize::MAX, |next| next[0].0);
        let mut clean = start.clone();
        let mut variants: Vec<Variant> = Vec::with_capacity(batch.len());
        for block in batch[0].0..=blocks {
            if block == next_start {
                start.clone_from(&clean);
            }
            let original = if block < blocks { Some(model.block(block)?) } else { None };
            if let Some(original) = &original {
                for variant in &mut variants {
                    variant.hidden = original.forward(&variant.hidden, None, cx)?;
                }
                advance(variants.len())?;
            }
            for &(_, tensor) in batch.iter().filter(|(first, _)| *first == block) {
                let replaced = Replaced { weights, name: &names[tensor], values: replacement(tensor)? };
                variants.push(enter(&replaced, tensor, block, &clean, sequences, cx)?);
                advance(usize::from(block < blocks))?;
            }
            if let Some(original) = &original {
                clean = original.forward(&clean, None, cx)?;
            }
        }
        for variant in &mut variants {
            variant.hidden = model.final_norm(&variant.hidden)?;
        }
        let scores = score(&model.head()?, &model.final_norm(&clean)?, &variants, head_units, &mut advance)?;
        for (variant, kl) in variants.iter().zip(scores) {
            measured[variant.tensor] = Some(kl);
        }
    }
    Ok(measured)
}

/// The variant after its first block (or before the head), from the original's streams before it.
fn enter(replaced: &Replaced<'_>, tensor: usize, block: usize, clean: &[Tensor], sequences: &[Vec<u32>], cx: &JobContext) -> Result<Variant> {
    let model = Transformer::on(replaced, cx)?;
    let head = if Some(replaced.name) == model.head_name() { Some(model.head()?) } else { None };
    let embedded = if replaced.name == "token_embd.weight" { Some(model.embed(sequences)?) } else { None };
    let before = embedded.as_deref().unwrap_or(clean);
    let hidden = if block < model.blocks() { model.block(block)?.forward(before, None, cx)? } else { before.to_vec() };
    Ok(Variant { tensor, hidden, head })
}

/// How many blocks have as many weights as the head, at least one.
fn head_units(config: &ModelConfig) -> usize {
    let attention = config.hidden_size * config.head_dim * 2 * (config.head_count + config.kv_head_count);
    let block = attention + 3 * config.hidden_size * config.intermediate_size;
    (config.vocab_size * config.hidden_size / block.max(1)).max(1)
}

/// KL of each variant's next-token distributions; a few positions' logits at a time.
fn score(head: &Head, clean: &[Tensor], variants: &[Variant], head_units: usize, advance: &mut dyn FnMut(usize) -> Result<()>) -> Result<Vec<Measurement>> {
    let positions: usize = clean.iter().map(|h| h.dims()[0]).sum();
    let mut values: Vec<Vec<f64>> = vec![Vec::with_capacity(positions); variants.len()];
    let (units, mut scored, mut told) = (variants.len() * head_units, 0, 0);
    for (sequence, clean) in clean.iter().enumerate() {
        for from in (0..clean.dims()[0]).step_by(SCORED) {
            let count = SCORED.min(clean.dims()[0] - from);
            let clean = clean.narrow(0, from, count)?;
            let on_device = head.resident_logits(&clean)?;
            let mut on_host = None;
            for (variant, values) in variants.iter().zip(&mut values) {
                advance(0)?;
                let (hidden, its_head) = (variant.hidden[sequence].narrow(0, from, count)?, variant.head.as_ref().unwrap_or(head));
                if let Some(there) = &on_device
                    && let Some(rows) = there.compare(&hidden, its_head, &[], 0)?
                {
                    values.extend(rows.iter().map(|row| f64::from(row.divergence)));
                    continue;
                }
                let before = match on_host.take() {
                    Some(before) => before,
                    None => logits_of(&clean, head)?,
                };
                values.extend(kl_of_rows(&before, &logits_of(&hidden, its_head)?)?);
                on_host = Some(before);
            }
            scored += count;
            advance(units * scored / positions - told)?;
            told = units * scored / positions;
        }
    }
    Ok(values.iter().map(|values| Measurement::of(values)).collect())
}

/// KL of each row of two matrices of logits.
fn kl_of_rows(before: &Tensor, after: &Tensor) -> Result<Vec<f64>> {
    let vocab = before.dims()[1];
    with_values(before, |before| {
        with_values(after, |after| Ok(before.par_chunks(vocab).zip(after.par_chunks(vocab)).map(|(p, q)| kl_divergence(p, q)).collect()))
    })
}

/// A mean KL in nats per token, and its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measurement {
    pub kl: f64,
    pub error: f64,
}

impl Measurement {
    /// Of the KL of consecutive tokens; the error is that over runs of [`RUN`], because neighbours are alike.
    fn of(values: &[f64]) -> Self {
        let runs: Vec<f64> = values.chunks(RUN).map(|run| run.iter().sum::<f64>() / run.len() as f64).collect();
        let (_, error) = mean_and_standard_error(&runs);
        Self { kl: values.iter().sum::<f64>() / values.len().max(1) as f64, error }
    }
}

/// Some tensors of a model as bytes of their formats, by name.
pub(super) type Encoded = IndexMap<String, (Candidate, Vec<u8>)>;

/// A model with some tensors replaced.
pub(super) struct Requantized<'a> {
    pub weights: &'a dyn Weights,
    pub encoded: &'a Encoded,
}

impl Weights for Requantized<'_> {
    fn config(&self) -> &ModelConfig {
        self.weights.config()
    }

    fn load(&self, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
        let found = self.weights.load(name)?;
        Ok(match self.encoded.get(name) {
            Some((stored, bytes)) => found.map(|(mut values, shape)| {
                stored.decode(bytes, &mut values, shape.last().copied().unwrap_or(1));
                (values, shape)
            }),
            None => found,
        })
    }

    fn stored(&self, name: &str) -> Result<Option<StoredWeight<'_>>> {
        if self.encoded.contains_key(name) { Ok(None) } else { self.weights.stored(name) }
    }
}

/// KL(original ‖ replaced) as [`measured_kl`], with all of these tensors replaced together.
pub(super) fn joint_kl(weights: &dyn Weights, encoded: &Encoded, sequences: &[Vec<u32>], cx: &JobContext) -> Result<Measurement> {
    let replaced = Requantized { weights, encoded };
    let (before, after) = (Transformer::on(weights, cx)?, Transformer::on(&replaced, cx)?);
    let (clean, hidden) = (before.hidden(sequences, None, cx)?, after.hidden(sequences, None, cx)?);
    let variants = [Variant { tensor: 0, hidden, head: Some(after.head()?) }];
    let scores = score(&before.head()?, &clean, &variants, 1, &mut |_| cx.checkpoint())?;
    Ok(scores[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Format;
    use crate::error::Error;
    use crate::model::random::RandomLlama;
    use crate::source::RopeLayout;

    /// Weights with a little of their sign added, so that each tensor differs from itself by a few percent.
    fn disturbed(model: &RandomLlama, name: &str) -> Vec<f32> {
        model.tensors[name].0.iter().enumerate().map(|(i, w)| w * if i % 3 == 0 { 1.1 } else { 0.97 }).collect()
    }

    /// KL by whole forward passes of both models.
    fn whole_pass(model: &RandomLlama, name: &str, sequences: &[Vec<u32>]) -> f64 {
        let mut other = model.clone();
        other.tensors[name].0 = disturbed(model, name);
        let logits = |weights: &RandomLlama| -> Vec<Vec<f32>> {
            let transformer = Transformer::new(weights).unwrap();
            let head = transformer.head().unwrap();
            let hidden = transformer.hidden(sequences, None, &JobContext::silent()).unwrap();
            hidden.iter().flat_map(|h| logits_of(h, &head).unwrap().to_vec2::<f32>().unwrap()).collect()
        };
        let (before, after) = (logits(model), logits(&other));
        before.iter().zip(&after).map(|(p, q)| kl_divergence(p, q)).sum::<f64>() / before.len() as f64
    }

    #[test]
    fn variants_that_travel_together_measure_what_whole_passes_measure() {
        for tied in [true, false] {
            let model = RandomLlama::new(7, RopeLayout::Interleaved, tied);
            let sequences = model.sequences(&[5, 70, 1]);
            let names: Vec<String> = model.tensors.keys().filter(|n| !n.contains("norm")).cloned().chain(["blk.9.attn_q.weight".to_owned()]).collect();
            let measured = measured_kl(&model, &names, &|t| Ok(disturbed(&model, &names[t])), &sequences, &JobContext::silent()).unwrap();
            for (name, kl) in names.iter().zip(measured) {
                if name.starts_with("blk.9") {
                    assert_eq!(kl, None, "a tensor that the model does not use");
                    continue;
                }
                let (got, want) = (kl.unwrap().kl, whole_pass(&model, name, &sequences));
                assert!(want > 1e-6 && (got / want - 1.0).abs() < 1e-3, "{name}, tied {tied}: {got} instead of {want}");
            }
        }
    }

    #[test]
    fn a_probe_can_be_cancelled() {
        let model = RandomLlama::new(7, RopeLayout::Half, true);
        let cx = JobContext::silent();
        cx.cancel.cancel();
        let names = ["blk.0.attn_q.weight".to_owned()];
        let result = measured_kl(&model, &names, &|t| Ok(disturbed(&model, &names[t])), &model.sequences(&[4]), &cx);
        assert!(matches!(result, Err(Error::Cancelled)));
    }

    #[test]
    fn tensors_replaced_together_measure_what_a_whole_pass_measures_and_one_alone_what_it_measures_alone() {
        let model = RandomLlama::new(7, RopeLayout::Interleaved, true);
        let sequences = model.sequences(&[40, 33]);
        let encode = |name: &str| {
            let (values, shape) = &model.tensors[name];
            let format = Format::Bf16;
            (name.to_owned(), (format.into(), format.encode(values, shape[1], None).unwrap()))
        };
        let names = ["blk.0.attn_q.weight", "token_embd.weight", "blk.1.ffn_up.weight"];
        let mut other = model.clone();
        for name in names {
            let (_, bytes) = encode(name).1;
            Format::Bf16.decode(&bytes, &mut other.tensors[name].0);
        }
        let cx = JobContext::silent();
        let logits = |weights: &RandomLlama| -> Vec<Vec<f32>> {
            let transformer = Transformer::new(weights).unwrap();
            let head = transformer.head().unwrap();
            transformer.hidden(&sequences, None, &cx).unwrap().iter().flat_map(|h| logits_of(h, &head).unwrap().to_vec2::<f32>().unwrap()).collect()
        };
        let want = logits(&model).iter().zip(&logits(&other)).map(|(p, q)| kl_divergence(p, q)).sum::<f64>() / 73.0;
        let all: Encoded = names.into_iter().map(encode).collect();
        let got = joint_kl(&model, &all, &sequences, &cx).unwrap();
        assert!(want > 1e-7 && (got.kl / want - 1.0).abs() < 1e-3 && got.error > 0.0, "{got:?} instead of {want}");
        let one: Encoded = [encode(names[0])].into_iter().collect();
        let values = |_| Ok(other.tensors[names[0]].0.clone());
        let alone = measured_kl(&model, &[names[0].to_owned()], &values, &sequences, &cx).unwrap()[0].unwrap();
        let together = joint_kl(&model, &one, &sequences, &cx).unwrap();
        assert!((alone.kl / together.kl - 1.0).abs() < 0.02 && alone.kl < got.kl, "{alone:?}, {together:?}");
    }
}
