//! What the background worker makes for panes to draw: bins, decoded tokens, verdicts. Binning only; every figure with a name comes from core.

use super::background::TextUse;
use super::settings::TextChoice;
use halftone_core::calibrate::{Calibration, HoldOutText, TextSplit, read_texts};
use halftone_core::codec::Format;
use halftone_core::error::{Error, Result};
use halftone_core::eval::{Comparison, histogram_pair};
use halftone_core::export::{ExportFormat, writer};
use halftone_core::numeric::metric::{quantile, relative_error};
use halftone_core::recipe::Recipe;
use halftone_core::source::Source;
use std::sync::Arc;

/// Bins of the inspector's histograms.
pub const BINS: usize = 128;
/// Weights of a tensor that the inspector looks at, at most; rows are taken evenly.
const SAMPLE: usize = 1 << 20;
/// Cells of the difference map, each way.
pub const DIFFERENCE_CELLS: (usize, usize) = (32, 96);

/// What a writer says: bytes of the file, or why it cannot be written.
pub type Verdict = (ExportFormat, std::result::Result<u64, halftone_core::UserMessage>);

/// A tensor looked at closely.
#[derive(Clone, Debug)]
pub struct TensorReport {
    /// Fingerprint of its model.
    pub model: String,
    /// Catalog position.
    pub tensor: usize,
    /// The format of `after`.
    pub format: Option<Format>,
    /// Weights looked at.
    pub sampled: usize,
    /// Bins lie over `[−absmax, absmax]`.
    pub absmax: f32,
    /// Counts of the original.
    pub before: Vec<u64>,
    /// Counts after quantization.
    pub after: Vec<u64>,
    /// Values that the row of median range can take.
    pub levels: Vec<f32>,
    /// ‖Δ‖² / ‖W‖² of what was looked at.
    pub relative_error: Option<f64>,
    /// Share of weights that become zero.
    pub zeros: Option<f64>,
    /// Root mean square of each input channel.
    pub activations: Vec<f32>,
    /// Mean |Δ| of patches, row-major, `DIFFERENCE_CELLS`.
    pub difference: Vec<f32>,
}

/// Looks at a tensor: its weights, and what a format makes of them.
///
/// # Errors
/// What reading and encoding say.
pub fn inspect(source: &Source, tensor: usize, format: Option<Format>, calibration: Option<&Calibration>) -> Result<TensorReport> {
    let entry = source.tensors.get(tensor).ok_or_else(|| Error::MissingTensor { name: format!("number {tensor}") })?;
    let columns = entry.columns().max(1);
    let every = (entry.elements() / SAMPLE).max(1);
    let view = source.view(tensor);
    let rows: Vec<usize> = (0..entry.rows()).step_by(every).collect();
    let mut weights = vec![0.0; rows.len() * columns];
    for (row, out) in rows.iter().zip(weights.chunks_mut(columns)) {
        view.rows_into(*row, out)?;
    }
    let (absmax, alone) = histogram_pair(&weights, &[], BINS);
    let importance = calibration.and_then(|c| c.importance(&entry.name)).filter(|i| i.len() == columns);
    let activations = importance.as_deref().unwrap_or_default().iter().map(|mean_square| mean_square.sqrt()).collect();
    let mut report = TensorReport {
        model: source.fingerprint.clone(),
        tensor,
        format,
        sampled: weights.len(),
        absmax,
        before: alone.before,
        after: Vec::new(),
        levels: Vec::new(),
        relative_error: None,
        zeros: None,
        activations,
        difference: Vec::new(),
    };
    let Some(stored) = format.map(|f| f.for_columns(columns)).filter(|f| f.can_encode() && entry.quantizable()) else { return Ok(report) };
    if weights.iter().any(|v| !v.is_finite()) {
        return Ok(report);
    }
    let encoded = stored.encode(&weights, columns, importance.as_deref())?;
    let mut after = vec![0.0; weights.len()];
    stored.decode(&encoded, &mut after);
    let (absmax, pair) = histogram_pair(&weights, &after, BINS);
    report.absmax = absmax;
    report.before = pair.before;
    report.after = pair.after;
    report.relative_error = Some(relative_error(&weights, &after));
    report.zeros = Some(after.iter().filter(|v| **v == 0.0).count() as f64 / after.len().max(1) as f64);
    report.levels = levels(&after, stored.block_columns());
    report.difference = patches(&weights, &after, columns);
    Ok(report)
}

/// The distinct values of the block whose range is the median one, rising.
fn levels(after: &[f32], block: usize) -> Vec<f32> {
    if block < 2 {
        return Vec::new();
    }
    let range = |b: &[f32]| b.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let mut blocks: Vec<&[f32]> = after.chunks_exact(block).take(4096).collect();
    blocks.sort_by(|a, b| range(a).total_cmp(&range(b)));
    let mut levels = blocks.get(blocks.len() / 2).map_or(Vec::new(), |b| b.to_vec());
    levels.sort_by(f32::total_cmp);
    levels.dedup();
    levels
}

fn patches(before: &[f32], after: &[f32], columns: usize) -> Vec<f32> {
    let (high, wide) = DIFFERENCE_CELLS;
    let rows = before.len() / columns;
    let (mut sums, mut counts) = (vec![0.0f32; high * wide], vec![0u32; high * wide]);
    for (i, (w, q)) in before.iter().zip(after).enumerate() {
        let (row, column) = (i / columns, i % columns);
        let patch = (row * high / rows.max(1)).min(high - 1) * wide + (column * wide / columns).min(wide - 1);
        sums[patch] += (q - w).abs();
        counts[patch] += 1;
    }
    sums.iter().zip(counts).map(|(s, n)| s / n.max(1) as f32).collect()
}

/// A comparison with its tokens as text.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The comparison it is of.
    pub comparison: Arc<Comparison>,
    /// Text of each scored token.
    pub texts: Vec<String>,
    /// Text of the most likely token before and after, where they differ.
    pub flips: Vec<Option<(String, String)>>,
    /// Positions by falling KL.
    pub worst: Vec<usize>,
    /// (log₁₀ KL at the left edge, count) of bins a fifth of a decade wide.
    pub histogram: Vec<(f64, u64)>,
    /// The KL below which 99 % of the tokens stay: full colour.
    pub warm: f64,
}

/// Decodes the tokens and bins the KL.
pub fn read(source: &Source, comparison: Arc<Comparison>) -> Reading {
    let tokenizer = source.tokenizer().ok();
    let text = |token: u32| tokenizer.as_ref().map_or_else(|| format!("#{token}"), |t| printable(&t.piece(token)));
    let texts = comparison.tokens.iter().map(|t| text(t.token)).collect();
    let flips = comparison.tokens.iter().map(|t| (t.top_before != t.top_after).then(|| (text(t.top_before), text(t.top_after)))).collect();
    let mut worst: Vec<usize> = (0..comparison.tokens.len()).collect();
    worst.sort_by(|a, b| comparison.tokens[*b].kl.total_cmp(&comparison.tokens[*a].kl));
    let mut sorted: Vec<f64> = comparison.tokens.iter().map(|t| t.kl).collect();
    sorted.sort_by(f64::total_cmp);
    const FIRST: f64 = -8.0;
    const WIDTH: f64 = 0.2;
    let mut counts = vec![0u64; 55];
    for kl in &sorted {
        let at = ((kl.max(1e-8).log10() - FIRST) / WIDTH) as usize;
        counts[at.min(54)] += 1;
    }
    let occupied = counts.iter().position(|n| *n > 0).unwrap_or(0)..=counts.iter().rposition(|n| *n > 0).unwrap_or(0);
    let histogram = occupied.map(|i| (FIRST + i as f64 * WIDTH, counts[i])).collect();
    Reading { warm: quantile(&sorted, 0.99).max(1e-6), comparison, texts, flips, worst, histogram }
}

/// A token as it can be drawn: line breaks as ↵, broken UTF-8 as a dot.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c == '\u{fffd}' || (c.is_control() && c != '\n') { '·' } else { c }).collect()
}

/// Asks every writer whether it can hold a recipe, and how large its file will be.
pub fn verdicts(source: &Source, recipe: &Recipe) -> Vec<Verdict> {
    let ask = |format| {
        let writer = writer(format);
        let verdict = writer.supports(source, recipe).and_then(|()| writer.predict_bytes(source, recipe));
        (format, verdict.map_err(|e| e.user_message()))
    };
    ExportFormat::ALL.into_iter().map(ask).collect()
}

/// Reads the chosen text and parts it by purpose. Files chosen for comparison are held out whole.
///
/// # Errors
/// `Io`, `Input`.
pub fn read_text(purpose: TextUse, choice: &TextChoice) -> Result<Arc<TextSplit>> {
    let split = match (purpose, choice) {
        (TextUse::Calibrate, TextChoice::Files(paths)) => TextSplit::new(&read_texts(paths)?),
        (TextUse::Compare, TextChoice::Files(paths)) => TextSplit { hold_out: HoldOutText::new(read_texts(paths)?), ..TextSplit::new("") },
        _ => crate::demo::text(),
    };
    Ok(Arc::new(split))
}
