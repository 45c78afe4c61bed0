//! One tensor against all candidates: encode, decode, and the metrics that weigh the difference.

use super::descriptors::{Descriptors, zero_share};
use super::metrics::{CellMetric, Subject, powers};
use super::{Cell, Row};
use crate::calibrate::Calibration;
use crate::codec::Format;
use crate::compute::{Backend, KernelCall};
use crate::error::Result;
use crate::job::{Encoder, JobContext, zero_non_finite};
use crate::report::NoticeKind;
use crate::residual::Candidate;
use crate::round::{Evidence, Rounder};
use crate::source::Source;
use rayon::prelude::*;

/// What all tensors are measured with.
pub(super) struct Meter<'a> {
    pub source: &'a Source,
    pub cx: &'a JobContext,
    /// Rounds as a job does.
    encoder: Encoder<'a>,
}

impl<'a> Meter<'a> {
    pub fn new(source: &'a Source, calibration: Option<&'a Calibration>, rounder: &'static dyn Rounder, cx: &'a JobContext) -> Self {
        Self { source, cx, encoder: Encoder::new(source, calibration, rounder, cx) }
    }

    /// The bytes of a tensor as [`Self::row`] measured them: codes, then the residual.
    pub fn encoded(&self, index: usize, stored: Candidate) -> Result<Vec<u8>> {
        let (header, bytes) = self.encoder.encode(index, stored.format, stored.residual)?;
        // What else there is to tell of it was told when it was measured.
        for notice in header.notices.into_iter().filter(|notice| matches!(notice.kind, NoticeKind::DeviceFallback { .. })) {
            self.cx.reporter.notice(None, notice.kind);
        }
        Ok(bytes)
    }

    /// The weights of a tensor after encoding and decoding.
    pub fn quantized(&self, index: usize, stored: Candidate) -> Result<Vec<f32>> {
        let entry = &self.source.tensors[index];
        let mut quantized = vec![0.0; entry.elements()];
        stored.decode(&self.encoded(index, stored)?, &mut quantized, entry.columns());
        Ok(quantized)
    }

    /// Measures one tensor by all of `metrics`.
    pub fn row(&self, index: usize, candidates: &[Candidate], metrics: &[&dyn CellMetric]) -> Result<(Row, Descriptors)> {
        self.cx.checkpoint()?;
        let entry = &self.source.tensors[index];
        let (rows, columns) = (entry.rows(), entry.columns());
        let mut weights = self.source.view(index).to_f32()?;
        if let Some(remark) = zero_non_finite(&mut weights) {
            self.cx.reporter.notice(Some(&entry.name), remark);
        }
        for wanted in candidates.iter().map(|c| c.format) {
            let used = wanted.for_columns(columns);
            if used != wanted {
                // Once for a row length: every model whose rows are short would else say it of each tensor.
                self.cx.reporter.notice(None, NoticeKind::RowFallback { wanted, used, columns });
            }
        }
        let importance = self.encoder.inputs.importance(&entry.name, columns);
        if importance.is_none() && self.encoder.inputs.is_calibrated() {
            self.cx.reporter.notice(Some(&entry.name), NoticeKind::NoStatistics);
        }
        let importance = importance.as_deref();
        let hessian = self.encoder.inputs.hessian(&entry.name, columns)?;
        let gram = hessian.as_ref().map(|h| h.values());
        let layer_power = |matrix: &[f32]| gram.map(|h| self.layer_power(matrix, columns, h)).transpose();
        let norm = powers(&weights, columns, importance);
        let output = layer_power(&weights)?;
        let descriptors = Descriptors::of(&weights);

        let mut cells = Vec::new();
        let mut remarks: Vec<NoticeKind> = Vec::new();
        // Candidates of one format are neighbours, and rounded once.
        let mut codes: Option<(Format, Vec<u8>)> = None;
        for (wanted, stored) in distinct(candidates, columns) {
            self.cx.checkpoint()?;
            let bytes = match codes.take().filter(|(format, _)| *format == stored.format) {
                Some((_, bytes)) => bytes,
                None => {
                    let evidence = Evidence { importance, hessian: hessian.as_deref(), cross: None, gpu: None, cancel: Some(&self.cx.cancel) };
                    self.encoder.codes(entry, &weights, stored.format, evidence, &mut remarks)?.bytes
                }
            };
            let mut difference = vec![0.0; weights.len()];
            stored.format.decode(&bytes, &mut difference);
            if let Some(residual) = stored.residual {
                let kept = residual.encode_for(&self.encoder.inputs, &entry.name, &weights, &difference, columns)?;
                residual.add(&kept, &mut difference, columns);
            }
            subtract(&mut difference, &weights, columns);
            codes = Some((stored.format, bytes));
            let error = powers(&difference, columns, importance);
            let subject = Subject { tensor: &entry.name, difference: &difference, norm: &norm, error: &error, output, output_error: layer_power(&difference)? };
            let mut cell = Cell::new(wanted, stored, stored.bytes(rows, columns), 0.0);
            cell.more.zero_share = Some(zero_share(&weights, &difference));
            for metric in metrics {
                cell.set(metric.metric(), metric.of_difference(&subject)?);
            }
            cells.push(cell);
        }
        if candidates.iter().any(|c| c.residual.is_some()) {
            cells.sort_by_key(|cell| cell.bytes);
        }
        // Most of them are of the tensor and not of the format.
        remarks.dedup();
        for remark in remarks {
            self.cx.reporter.notice(Some(&entry.name), remark);
        }
        let row = Row {
            tensor: entry.name.clone(),
            role: entry.role,
            block: entry.block,
            fused: entry.fused.clone(),
            shape: entry.shape.clone(),
            source_bytes: entry.size_bytes,
            cells,
        };
        Ok((row, descriptors))
    }

    /// tr(MHMᵀ) of a matrix of weights or of errors.
    fn layer_power(&self, matrix: &[f32], columns: usize, hessian: &[f32]) -> Result<f64> {
        let mut row_errors = vec![0.0f32; matrix.len() / columns];
        let mut notices = Vec::new();
        let measure = |device: &dyn Backend| {
            let call = KernelCall::LayerError { difference: matrix, columns, hessian, row_errors: &mut row_errors };
            device.run(call, &self.cx.cancel)
        };
        self.cx.compute(measure, &mut notices)?;
        notices.into_iter().for_each(|notice| self.cx.reporter.notice(None, notice));
        Ok(row_errors.iter().map(|&e| f64::from(e)).sum::<f64>().max(0.0))
    }
}

/// The candidates that are stored differently in rows of `columns`, with what they are stored as, by rising bits of the format. Of candidates
/// stored alike the one that needs no fallback stands for all.
fn distinct(candidates: &[Candidate], columns: usize) -> Vec<(Candidate, Candidate)> {
    let mut distinct: Vec<(Candidate, Candidate)> = Vec::new();
    for &candidate in candidates {
        let stored = candidate.for_columns(columns);
        match distinct.iter_mut().find(|(_, other)| *other == stored) {
            Some(known) if candidate == stored => known.0 = candidate,
            Some(_) => {}
            None => distinct.push((candidate, stored)),
        }
    }
    let first = |format: Format| candidates.iter().position(|c| c.for_columns(columns).format == format);
    distinct.sort_by(|(_, a), (_, b)| a.format.bits().total_cmp(&b.format.bits()).then(first(a.format).cmp(&first(b.format))));
    distinct
}

/// Rows of a chunk of about 64 Ki values: what one task works on, whatever the number of threads.
pub(super) fn chunk_rows(columns: usize) -> usize {
    (65_536 / columns.max(1)).max(1)
}

/// Ŵ becomes Δ = Ŵ − W.
fn subtract(quantized: &mut [f32], weights: &[f32], columns: usize) {
    let chunk = chunk_rows(columns) * columns;
    quantized.par_chunks_mut(chunk).zip(weights.par_chunks(chunk)).for_each(|(quantized, weights)| {
        for (q, w) in quantized.iter_mut().zip(weights) {
            *q -= w;
        }
    });
}
