//! One tensor: read, rounded and encoded as its format, decoded again to know the error.

use super::{JobContext, RecordHeader, StoredResidual};
use crate::calibrate::Calibration;
use crate::codec::Format;
use crate::compute::{Backend, DeviceChoice, KernelCall, encoder};
use crate::error::Result;
use crate::numeric::metric;
use crate::report::{Notice, NoticeKind};
use crate::residual::Residual;
use crate::round::{Evidence, Inputs, Rounder, without_matrix};
use crate::source::{Source, TensorEntry};

/// What all tensors of a job are encoded with.
pub(crate) struct Encoder<'a> {
    source: &'a Source,
    /// What is known of the tensors' inputs.
    pub(crate) inputs: Inputs<'a>,
    rounder: &'static dyn Rounder,
    cx: &'a JobContext,
}

/// The codes of a tensor.
#[derive(Default)]
pub(crate) struct Codes {
    pub(crate) bytes: Vec<u8>,
    /// As [`RecordHeader::device`].
    pub(crate) device: Option<String>,
}

impl<'a> Encoder<'a> {
    /// An encoder; the context's device is opened by the first tensor that has a kernel.
    pub(crate) fn new(source: &'a Source, calibration: Option<&'a Calibration>, rounder: &'static dyn Rounder, cx: &'a JobContext) -> Self {
        Self { source, inputs: Inputs::new(calibration), rounder, cx }
    }

    /// The same encoder with another calibration.
    pub(super) fn with<'b>(&'b self, calibration: &'b Calibration) -> Encoder<'b> {
        Encoder { inputs: Inputs::new(Some(calibration)), ..*self }
    }

    /// Encodes the tensor at `index` of the catalog.
    ///
    /// # Errors
    /// What reading and rounding say; `Cancelled`.
    pub(crate) fn encode(&self, index: usize, wanted: Format, residual: Option<Residual>) -> Result<(RecordHeader, Vec<u8>)> {
        let entry = &self.source.tensors[index];
        let columns = entry.columns();
        let mut notices = Vec::new();
        let mut weights = self.source.view(index).to_f32()?;
        notices.extend(zero_non_finite(&mut weights));
        let format = wanted.for_columns(columns);
        if format != wanted {
            notices.push(NoticeKind::RowFallback { wanted, used: format, columns });
        }
        let importance = self.inputs.importance(&entry.name, columns);
        if self.inputs.is_calibrated() && importance.is_none() {
            notices.push(NoticeKind::NoStatistics);
        }
        let hessian = if self.rounder.uses_hessian() { self.inputs.hessian(&entry.name, columns)? } else { None };
        let cross = if self.rounder.uses_original_inputs() { self.inputs.cross(&entry.name, columns) } else { None };
        let (importance, hessian) = (importance.as_deref(), hessian.as_deref());
        let evidence = Evidence { importance, hessian, cross: cross.as_deref(), gpu: None, cancel: Some(&self.cx.cancel) };
        let Codes { mut bytes, device } = self.codes(entry, &weights, format, evidence, &mut notices)?;
        let mut decoded = vec![0.0; weights.len()];
        format.decode(&bytes, &mut decoded);
        let residual = match residual {
            None => None,
            Some(kind) => {
                if kind.shift && self.inputs.mean(&entry.name, columns).is_none() {
                    notices.push(NoticeKind::Other { text: "the mean of its inputs is not known, so nothing is shifted".to_owned() });
                }
                let stored = kind.encode_for(&self.inputs, &entry.name, &weights, &decoded, columns)?;
                kind.add(&stored, &mut decoded, columns);
                bytes.extend_from_slice(&stored);
                Some(StoredResidual { kind, bytes: stored.len() as u64 })
            }
        };
        // A record's JSON has no infinity.
        let weight_error = metric::relative_error(&weights, &decoded).min(f64::MAX);
        let notices = notices.into_iter().map(|kind| Notice { tensor: Some(entry.name.clone()), kind }).collect();
        let hash = blake3::hash(&bytes).to_hex().to_string();
        Ok((RecordHeader { tensor: entry.name.clone(), stored_as: format, columns, residual, weight_error, hash, device, notices }, bytes))
    }

    /// The codes of a tensor's weights, and what there is to tell of them.
    pub(crate) fn codes(&self, entry: &TensorEntry, weights: &[f32], format: Format, evidence: Evidence<'_>, notices: &mut Vec<NoticeKind>) -> Result<Codes> {
        let columns = entry.columns();
        let experts = match entry.shape[..] {
            [count, _, _] => self.inputs.expert_importance(&entry.name, count, columns),
            _ => None,
        };
        let Some(experts) = experts else { return self.round(weights, columns, format, evidence, notices) };
        if format.layout().tensor_head > 0 {
            let text = format!("its experts are weighted alike, because {format} has something that the whole stack shares");
            notices.push(NoticeKind::Other { text });
            return self.round(weights, columns, format, evidence, notices);
        }
        // Each expert by what it saw; rows are encoded on their own, so that the stack is its experts one after the other.
        let (mut all, rows) = (Codes::default(), weights.len() / experts.len().max(1));
        for (weights, importance) in weights.chunks(rows.max(1)).zip(&experts) {
            let evidence = Evidence { importance: Some(importance), ..evidence };
            let codes = self.round(weights, columns, format, evidence, notices)?;
            all.bytes.extend(codes.bytes);
            all.device = all.device.or(codes.device);
        }
        notices.dedup();
        Ok(all)
    }

    fn round(&self, weights: &[f32], columns: usize, format: Format, evidence: Evidence<'_>, notices: &mut Vec<NoticeKind>) -> Result<Codes> {
        let by_feedback = self.rounder.uses_hessian() && evidence.hessian.is_some();
        let has_kernel = if by_feedback { self.rounder.runs_on_a_device(format) } else { encoder(format).is_some() };
        // Floats are only narrowed.
        if !has_kernel && !matches!(format, Format::F32 | Format::F16 | Format::Bf16) && matches!(self.cx.device, DeviceChoice::Gpu | DeviceChoice::Named(_)) {
            let how = if by_feedback { self.rounder.name() } else { "rounding to nearest" };
            // Of the job: the same sentence is told once.
            self.cx.reporter.notice(None, NoticeKind::DeviceFallback { reason: format!("{how} has no kernel for {format}") });
        }
        if has_kernel && !by_feedback {
            if self.rounder.uses_hessian() {
                notices.push(NoticeKind::Other { text: without_matrix(self.rounder.name()) });
            }
            let mut bytes = vec![0; format.tensor_bytes(weights.len() / columns, columns) as usize];
            let importance = evidence.importance.unwrap_or_default();
            let encode = |device: &dyn Backend| device.run(KernelCall::Encode { format, weights, columns, importance, bytes: &mut bytes }, &self.cx.cancel);
            self.cx.compute(encode, notices)?;
            return Ok(Codes { bytes, device: None });
        }
        let round = |device: &dyn Backend| {
            // It is mostly products of this shape.
            let gpu = device.gpu().filter(|_| by_feedback && has_kernel && device.suits_products(weights.len() / columns, columns));
            self.rounder.round(weights, columns, format, Evidence { gpu, ..evidence })
        };
        let rounded = self.cx.compute(round, notices)?;
        notices.extend(rounded.remark.map(|text| NoticeKind::Other { text }));
        Ok(Codes { bytes: rounded.bytes, device: rounded.device })
    }
}

/// Sets NaN and infinities to zero and says how many there were.
pub(crate) fn zero_non_finite(weights: &mut [f32]) -> Option<NoticeKind> {
    let first = weights.iter().position(|w| !w.is_finite())?;
    let mut count = 0;
    for weight in weights.iter_mut().filter(|w| !w.is_finite()) {
        *weight = 0.0;
        count += 1;
    }
    Some(NoticeKind::NonFinite { count, first })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_becomes_zero_and_is_counted() {
        let mut weights = [1.0, f32::NAN, 2.0, f32::INFINITY];
        assert_eq!(zero_non_finite(&mut weights), Some(NoticeKind::NonFinite { count: 2, first: 1 }));
        assert_eq!(weights, [1.0, 0.0, 2.0, 0.0]);
        assert_eq!(zero_non_finite(&mut weights), None);
    }
}
