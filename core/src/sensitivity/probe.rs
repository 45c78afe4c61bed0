//! Predicted KL: what the error of each tensor does to the model's output, measured once a tensor and then scaled.
//!
//! Each tensor alone is replaced by one reference candidate, and the mean KL at the logits is measured on held-out sequences. For small
//! errors KL is quadratic in Δ, and so is the activation-weighted error; their ratio, the tensor's *gain*, turns the error of every
//! other candidate into a predicted KL. Sums over tensors leave out how errors in different tensors interact; comparing the finished
//! model with the original shows by how much.
//!
//! All variants travel through the model together, each from the block its tensor is in, so that every block is loaded once for a batch
//! of variants (see [`BATCH_BYTES`]) and a variant costs the part of a forward pass behind its tensor.

use super::meter::Meter;
use super::{Cell, Row, Table};
use crate::codec::Format;
use crate::error::{Error, Result};
use crate::job::{JobContext, Stage};
use crate::model::{Head, Transformer, Weights, logits_of, with_values};
use crate::numeric::metric::kl_divergence;
use crate::report::NoticeKind;
use crate::source::ModelConfig;
use candle_core::Tensor;
use rayon::prelude::*;

/// Residual streams that are in memory together.
const BATCH_BYTES: usize = 1 << 30;
/// Error of the reference candidate: large enough to be seen above rounding, small enough to be in the quadratic range.
const REFERENCE_ERROR: f64 = 1e-2;
/// KL below this is rounding of the forward pass: nats per token.
const NOISE: f64 = 1e-8;
/// Positions whose logits are in memory together.
const SCORED: usize = 64;

/// Fills [`Cell::predicted_kl`] of every row whose tensor the model uses. A model that cannot run is a notice.
pub(super) fn predict_kl(meter: &Meter<'_>, sequences: &[Vec<u32>], table: &mut Table) -> Result<()> {
    let weights: &dyn Weights = meter.source;
    if let Err(Error::Unsupported { what, why }) = weights.config().predicts_tokens().and_then(|()| Transformer::new(weights).map(|_| ())) {
        meter.cx.reporter.notice(None, NoticeKind::Other { text: format!("no predicted KL, because {what} is not supported: {why}") });
        return Ok(());
    }
    let names: Vec<String> = table.rows.iter().map(|r| r.tensor.clone()).collect();
    let references: Vec<Option<(Format, f64)>> = table.rows.iter().map(reference).collect();
    let replacement = |row: usize| match (references[row], meter.source.find(&names[row])) {
        (Some((stored_as, _)), Some(index)) => meter.quantized(index, stored_as),
        _ => Err(Error::MissingTensor { name: names[row].clone() }),
    };
    let measured = measured_kl(weights, &names, &replacement, sequences, meter.cx)?;
    for (row, (kl, reference)) in table.rows.iter_mut().zip(measured.into_iter().zip(&references)) {
        let Some((kl, (_, error))) = kl.zip(*reference) else {
            let text = "its effect on the output was not measured, because the forward pass does not use it".to_owned();
            meter.cx.reporter.notice(Some(&row.tensor), NoticeKind::Other { text });
            continue;
        };
        let gain = kl.max(NOISE) / error.max(f64::MIN_POSITIVE);
        let errors: Vec<f64> = row.cells.iter().map(|c| error_of(&row.cells, c)).collect();
        for (cell, error) in row.cells.iter_mut().zip(errors) {
            cell.predicted_kl = Some((gain * error).min(f64::MAX));
        }
    }
    Ok(())
}

/// The candidate nearest to the reference error, and its error.
fn reference(row: &Row) -> Option<(Format, f64)> {
    let distance = |cell: &Cell| (error_of(&row.cells, cell).max(f64::MIN_POSITIVE) / REFERENCE_ERROR).ln().abs();
    let cell = row.cells.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    Some((cell.stored_as, error_of(&row.cells, cell)))
}

/// The best error that all cells of a row have.
fn error_of(cells: &[Cell], cell: &Cell) -> f64 {
    let common = |error: fn(&Cell) -> Option<f64>| cells.iter().all(|c| error(c).is_some()).then(|| error(cell)).flatten();
    common(|c| c.activation_error).or_else(|| common(|c| c.imatrix_error)).unwrap_or(cell.weight_error)
}

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
}

/// The residual streams of the model with one tensor replaced, and its head where that is another.
struct Variant {
    tensor: usize,
    hidden: Vec<Tensor>,
    head: Option<Head>,
}

/// Mean KL(original ‖ replaced) over all positions of the sequences, for each of the named tensors replaced alone by
/// `replacement(its index)`; `None` for tensors that the model does not use.
fn measured_kl(
    weights: &dyn Weights,
    names: &[String],
    replacement: &dyn Fn(usize) -> Result<Vec<f32>>,
    sequences: &[Vec<u32>],
    cx: &JobContext,
) -> Result<Vec<Option<f64>>> {
    let model = Transformer::new(weights)?;
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
    let model = Transformer::new(replaced)?;
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

/// Mean KL of each variant's next-token distributions; a few positions' logits at a time.
fn score(head: &Head, clean: &[Tensor], variants: &[Variant], head_units: usize, advance: &mut dyn FnMut(usize) -> Result<()>) -> Result<Vec<f64>> {
    let positions: usize = clean.iter().map(|h| h.dims()[0]).sum();
    let mut sums = vec![0.0f64; variants.len()];
    let (units, mut scored, mut told) = (variants.len() * head_units, 0, 0);
    for (sequence, clean) in clean.iter().enumerate() {
        for from in (0..clean.dims()[0]).step_by(SCORED) {
            let count = SCORED.min(clean.dims()[0] - from);
            let before = logits_of(&clean.narrow(0, from, count)?, head)?;
            for (variant, sum) in variants.iter().zip(&mut sums) {
                advance(0)?;
                let after = logits_of(&variant.hidden[sequence].narrow(0, from, count)?, variant.head.as_ref().unwrap_or(head))?;
                *sum += kl_of_rows(&before, &after)?;
            }
            scored += count;
            advance(units * scored / positions - told)?;
            told = units * scored / positions;
        }
    }
    Ok(sums.into_iter().map(|sum| sum / positions.max(1) as f64).collect())
}

/// Σ KL over the rows of two matrices of logits.
fn kl_of_rows(before: &Tensor, after: &Tensor) -> Result<f64> {
    let vocab = before.dims()[1];
    with_values(before, |before| {
        with_values(after, |after| {
            let rows: Vec<f64> = before.par_chunks(vocab).zip(after.par_chunks(vocab)).map(|(p, q)| kl_divergence(p, q)).collect();
            Ok(rows.iter().sum())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::GgmlType;
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
                let (got, want) = (kl.unwrap(), whole_pass(&model, name, &sequences));
                assert!(want > 1e-6 && (got / want - 1.0).abs() < 1e-3, "{name}, tied {tied}: {got} instead of {want}");
            }
        }
    }

    #[test]
    fn the_reference_is_the_candidate_nearest_to_one_percent() {
        let cell = |t: GgmlType, error: f64| Cell {
            format: Format::Ggml(t),
            stored_as: Format::Ggml(t),
            bytes: 1,
            weight_error: 1.0,
            imatrix_error: None,
            activation_error: Some(error),
            predicted_kl: None,
        };
        let mut row = Row {
            tensor: "x".into(),
            role: crate::source::Role::Query,
            block: Some(0),
            fused: None,
            shape: vec![2, 32],
            source_bytes: 1,
            cells: vec![cell(GgmlType::Q4_0, 0.1), cell(GgmlType::Q4_1, 0.008), cell(GgmlType::Q8_0, 1e-5)],
        };
        assert_eq!(reference(&row), Some((Format::Ggml(GgmlType::Q4_1), 0.008)));
        row.cells[2].activation_error = None;
        assert_eq!(reference(&row).unwrap().1, 1.0, "an error that not all cells have is not used");
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
}
