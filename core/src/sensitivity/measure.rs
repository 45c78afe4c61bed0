//! Filling the table: every quantizable tensor is encoded as every candidate, decoded, and compared with what it was.
//!
//! One tensor is in memory at a time: its weights and one candidate's error. The sums are in a fixed order, so the table is the same
//! whatever the number of threads. Values that are not finite count as zero, as they are when the model is quantized.

use super::{Cell, Row, Table, probe};
use crate::calibrate::{Calibration, InputStatistics};
use crate::codec::Format;
use crate::compute::{Backend, DeviceChoice, KernelCall, backend};
use crate::error::{Error, Result};
use crate::job::{JobContext, Stage};
use crate::numeric::metric::ratio;
use crate::report::NoticeKind;
use crate::round::{Evidence, Rounder, rounder};
use crate::source::{Source, TensorEntry};
use rayon::prelude::*;
use std::sync::Arc;

/// What to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasureOptions {
    /// The candidates.
    pub formats: Vec<Format>,
    /// Rounder whose errors are measured.
    pub rounding: String,
    /// Held-out sequences for the gains of [`super::Metric::PredictedKl`]; none: that metric is left out.
    pub probe: Vec<Vec<u32>>,
}

impl Default for MeasureOptions {
    fn default() -> Self {
        use crate::codec::GgmlType as T;
        let ggml = [T::Q4_0, T::IQ4_NL, T::Q4_1, T::Q4_K, T::Q5_0, T::Q5_1, T::Q5_K, T::Q6_K, T::Q8_0];
        Self { formats: ggml.map(Format::Ggml).to_vec(), rounding: "nearest".to_owned(), probe: Vec::new() }
    }
}

/// Encodes every quantizable tensor as every candidate and measures the errors. Weight-only without a calibration.
///
/// # Errors
/// `Mismatch` for a calibration of another model; `Unsupported` for a rounder or candidate that does not exist, before any work;
/// `Cancelled`.
pub fn measure(source: &Source, calibration: Option<&Calibration>, options: &MeasureOptions, cx: &JobContext) -> Result<Table> {
    let tensors: Vec<usize> = (0..source.tensors.len()).filter(|&i| source.tensors[i].quantizable()).collect();
    let rounder = check(source, &tensors, calibration, options)?;
    let meter = Meter { source, calibration, rounder, device: device(calibration, cx)?, cx };
    cx.progress(Stage::Measure, 0, tensors.len() as u64);
    let mut rows = Vec::with_capacity(tensors.len());
    for &index in &tensors {
        rows.push(meter.row(index, &options.formats)?);
        cx.progress(Stage::Measure, rows.len() as u64, tensors.len() as u64);
    }
    let mut table = Table {
        model: source.fingerprint.clone(),
        model_path: std::path::absolute(&source.path).unwrap_or_else(|_| source.path.clone()),
        calibration: calibration.map(Calibration::hash),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        rounding: options.rounding.clone(),
        fixed_bytes: crate::export::gguf::fixed_bytes(source),
        rows,
    };
    if calibration.is_some() && !options.probe.is_empty() {
        probe::predict_kl(source, calibration, rounder, &options.probe, &mut table, cx)?;
    }
    Ok(table)
}

/// What must fit before any work; gives the rounder.
fn check(source: &Source, tensors: &[usize], calibration: Option<&Calibration>, options: &MeasureOptions) -> Result<&'static dyn Rounder> {
    if let Some(other) = calibration.map(|c| &c.model).filter(|model| **model != source.fingerprint) {
        let expected = format!("a calibration of the model {} ({})", source.path.display(), source.fingerprint);
        return Err(Error::Mismatch { operation: "measure", expected, got: format!("one of the model {other}") });
    }
    if options.formats.is_empty() {
        return Err(Error::Input("there are no candidate formats to measure".to_owned()));
    }
    for entry in tensors.iter().map(|&i| &source.tensors[i]) {
        let fallen = options.formats.iter().map(|f| f.for_columns(entry.columns()));
        if let Some(unknown) = fallen.into_iter().find(|f| !f.can_encode()) {
            return Err(Error::unsupported(format!("encoding {unknown}"), format!("{} would be {unknown}, which can only be read", entry.name)));
        }
    }
    rounder(&options.rounding).ok_or_else(|| Error::unsupported(format!("rounding {}", options.rounding), "known is nearest"))
}

/// The device for layer errors; the CPU where there are none to compute, or where the one asked for is not there.
fn device(calibration: Option<&Calibration>, cx: &JobContext) -> Result<Arc<dyn Backend>> {
    let has_gram = calibration.is_some_and(|c| c.inputs.values().any(|i| i.gram.is_some()));
    backend(if has_gram { &cx.device } else { &DeviceChoice::Cpu }).or_else(|error| {
        cx.reporter.notice(None, NoticeKind::DeviceFallback { reason: error.to_string() });
        backend(&DeviceChoice::Cpu)
    })
}

/// The candidates that are stored differently in rows of `columns`, with what they are stored as, by rising bits. Of candidates stored
/// alike the one that needs no fallback stands for all.
pub(super) fn distinct(formats: &[Format], columns: usize) -> Vec<(Format, Format)> {
    let mut distinct: Vec<(Format, Format)> = Vec::new();
    for &format in formats {
        let stored = format.for_columns(columns);
        match distinct.iter_mut().find(|(_, other)| *other == stored) {
            Some(known) if format == stored => known.0 = format,
            Some(_) => {}
            None => distinct.push((format, stored)),
        }
    }
    distinct.sort_by(|a, b| a.1.bits().total_cmp(&b.1.bits()));
    distinct
}

/// What all tensors are measured with.
struct Meter<'a> {
    source: &'a Source,
    calibration: Option<&'a Calibration>,
    rounder: &'static dyn Rounder,
    device: Arc<dyn Backend>,
    cx: &'a JobContext,
}

impl Meter<'_> {
    fn row(&self, index: usize, formats: &[Format]) -> Result<Row> {
        self.cx.checkpoint()?;
        let entry = &self.source.tensors[index];
        let (rows, columns) = (entry.rows(), entry.columns());
        let mut weights = self.source.view(index).to_f32()?;
        self.zero_non_finite(entry, &mut weights);
        for &wanted in formats {
            let used = wanted.for_columns(columns);
            if used != wanted {
                // Once for a row length: every model whose rows are short would else say it of each tensor.
                self.cx.reporter.notice(None, NoticeKind::RowFallback { wanted, used, columns });
            }
        }
        let statistics = self.statistics(entry);
        let importance = statistics.map(|s| s.sum_squares.iter().map(|x| x / s.tokens as f32).collect::<Vec<f32>>());
        let importance = importance.as_deref();
        let gram = statistics.and_then(|s| s.gram.as_deref()).filter(|g| g.len() == columns * columns);
        let norm = powers(&weights, columns, importance);
        let output = gram.map(|h| self.layer_power(&weights, columns, h)).transpose()?;

        let mut cells = Vec::new();
        for (format, stored_as) in distinct(formats, columns) {
            self.cx.checkpoint()?;
            let bytes = self.rounder.round(&weights, columns, stored_as, Evidence { importance, hessian: None })?;
            let difference = difference(&weights, columns, stored_as, &bytes);
            let error = powers(&difference, columns, importance);
            let layer_error = gram.map(|h| self.layer_power(&difference, columns, h)).transpose()?;
            cells.push(Cell {
                format,
                stored_as,
                bytes: stored_as.tensor_bytes(rows, columns),
                // JSON has no infinity.
                weight_error: ratio(error.plain, norm.plain).min(f64::MAX),
                imatrix_error: importance.map(|_| ratio(error.weighted, norm.weighted)).filter(|e| e.is_finite()),
                activation_error: layer_error.zip(output).map(|(error, output)| ratio(error, output)).filter(|e| e.is_finite()),
                predicted_kl: None,
            });
        }
        Ok(Row {
            tensor: entry.name.clone(),
            role: entry.role,
            block: entry.block,
            fused: entry.fused.clone(),
            shape: entry.shape.clone(),
            source_bytes: entry.size_bytes,
            cells,
        })
    }

    fn zero_non_finite(&self, entry: &TensorEntry, weights: &mut [f32]) {
        let Some(first) = weights.iter().position(|w| !w.is_finite()) else { return };
        let bad = weights.iter_mut().filter(|w| !w.is_finite());
        let count = bad.map(|w| *w = 0.0).count() as u64;
        self.cx.reporter.notice(Some(&entry.name), NoticeKind::NonFinite { count, first });
    }

    /// The statistics of what enters a tensor, when they fit it; says so where a calibration has none.
    fn statistics(&self, entry: &TensorEntry) -> Option<&InputStatistics> {
        let calibration = self.calibration?;
        let found = calibration.of(&entry.name).filter(|s| s.tokens > 0 && s.sum_squares.len() == entry.columns());
        if found.is_none() {
            self.cx.reporter.notice(Some(&entry.name), NoticeKind::NoStatistics);
        }
        found
    }

    /// tr(MHMᵀ) of a matrix of weights or of errors, on the device; on the CPU where that fails.
    fn layer_power(&self, matrix: &[f32], columns: usize, hessian: &[f32]) -> Result<f64> {
        let mut row_errors = vec![0.0f32; matrix.len() / columns];
        let mut run = |device: &dyn Backend| {
            device.run(KernelCall::LayerError { difference: matrix, columns, hessian, row_errors: &mut row_errors }, &self.cx.cancel)
        };
        match run(&*self.device) {
            Err(Error::Device { device, detail }) => {
                self.cx.reporter.notice(None, NoticeKind::DeviceFallback { reason: format!("{device}: {detail}") });
                run(&*backend(&DeviceChoice::Cpu)?)?;
            }
            other => other?,
        }
        Ok(row_errors.iter().map(|&e| f64::from(e)).sum::<f64>().max(0.0))
    }
}

/// Rows of a chunk of about 64 Ki values: what one task works on, whatever the number of threads.
fn chunk_rows(columns: usize) -> usize {
    (65_536 / columns.max(1)).max(1)
}

/// Δ = Ŵ − W.
pub(super) fn difference(weights: &[f32], columns: usize, stored_as: Format, bytes: &[u8]) -> Vec<f32> {
    let rows = chunk_rows(columns);
    let row_bytes = stored_as.tensor_bytes(1, columns) as usize;
    let mut difference = vec![0.0f32; weights.len()];
    difference.par_chunks_mut(rows * columns).zip(bytes.par_chunks(rows * row_bytes)).zip(weights.par_chunks(rows * columns)).for_each(
        |((difference, bytes), weights)| {
            stored_as.decode(bytes, difference);
            for (d, w) in difference.iter_mut().zip(weights) {
                *d -= w;
            }
        },
    );
    difference
}

/// Σ m² and Σ m²·h of a matrix; the second is 0 without importances.
struct Powers {
    plain: f64,
    weighted: f64,
}

fn powers(matrix: &[f32], columns: usize, importance: Option<&[f32]>) -> Powers {
    let chunks: Vec<Powers> = matrix
        .par_chunks(chunk_rows(columns) * columns)
        .map(|chunk| {
            let mut total = Powers { plain: 0.0, weighted: 0.0 };
            for row in chunk.chunks(columns) {
                total.plain += row.iter().map(|&m| f64::from(m) * f64::from(m)).sum::<f64>();
                if let Some(importance) = importance {
                    total.weighted += row.iter().zip(importance).map(|(&m, &h)| f64::from(m) * f64::from(m) * f64::from(h)).sum::<f64>();
                }
            }
            total
        })
        .collect();
    chunks.iter().fold(Powers { plain: 0.0, weighted: 0.0 }, |sum, c| Powers { plain: sum.plain + c.plain, weighted: sum.weighted + c.weighted })
}
