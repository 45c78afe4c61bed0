//! Predicted KL: what the error of each tensor does to the model's output, measured once a tensor and then scaled.
//!
//! Each tensor alone is replaced by one reference candidate, and the mean KL at the logits is measured on held-out sequences. For small
//! errors KL is quadratic in Δ, and so is the activation-weighted error; their ratio, the tensor's *gain*, turns the error of every
//! other candidate into a predicted KL. Sums over tensors leave out how errors in different tensors interact; comparing the finished
//! model with the original shows by how much.

use super::cells::measured_kl;
use super::meter::Meter;
use super::metrics::{CellMetric, Gain, error_of};
use super::{Cell, Metric, Row, Table};
use crate::codec::Format;
use crate::error::{Error, Result};
use crate::model::{Transformer, Weights};
use crate::report::NoticeKind;

/// Error of the reference candidate: large enough to be seen above rounding, small enough to be in the quadratic range.
const REFERENCE_ERROR: f64 = 1e-2;
/// KL below this is rounding of the forward pass: nats per token.
pub(super) const NOISE: f64 = 1e-8;

/// Whether KL can be measured on this model; if not, a notice says that there is no `what`, and why.
///
/// # Errors
/// Everything but that the model cannot run.
pub(super) fn can_measure(meter: &Meter<'_>, what: &str) -> Result<bool> {
    let weights: &dyn Weights = meter.source;
    match weights.config().predicts_tokens().and_then(|()| Transformer::new(weights).map(|_| ())) {
        Err(Error::Unsupported { what: refused, why }) => {
            meter.cx.reporter.notice(None, NoticeKind::Other { text: format!("no {what}, because {refused} is not supported: {why}") });
            Ok(false)
        }
        other => other.map(|()| true),
    }
}

/// Fills [`Cell::predicted_kl`] of every row whose tensor the model uses, and the measured KL of each reference. A model that cannot run is a
/// notice.
pub(super) fn predict_kl(meter: &Meter<'_>, sequences: &[Vec<u32>], table: &mut Table) -> Result<()> {
    if !can_measure(meter, "predicted KL")? {
        return Ok(());
    }
    let names: Vec<String> = table.rows.iter().map(|r| r.tensor.clone()).collect();
    let references: Vec<Option<(Format, f64)>> = table.rows.iter().map(reference).collect();
    let replacement = |row: usize| match (references[row], meter.source.find(&names[row])) {
        (Some((stored_as, _)), Some(index)) => meter.quantized(index, stored_as.into()),
        _ => Err(Error::MissingTensor { name: names[row].clone() }),
    };
    let measured = measured_kl(meter.source, &names, &replacement, sequences, meter.cx)?;
    let mut gain = Gain { metric: Metric::PredictedKl, gains: Default::default() };
    for (row, (measured, reference)) in table.rows.iter_mut().zip(measured.into_iter().zip(&references)) {
        let Some((measured, (stored_as, error))) = measured.zip(*reference) else {
            let text = "its effect on the output was not measured, because the forward pass does not use it".to_owned();
            meter.cx.reporter.notice(Some(&row.tensor), NoticeKind::Other { text });
            continue;
        };
        gain.gains.insert(row.tensor.clone(), measured.kl.max(NOISE) / error.max(f64::MIN_POSITIVE));
        for cell in row.cells.iter_mut().filter(|c| c.stored() == stored_as.into()) {
            (cell.more.measured_kl, cell.more.measured_kl_error) = (Some(measured.kl), Some(measured.error));
        }
    }
    fill(table, &gain);
    Ok(())
}

/// Gives every cell the metric that it has by the errors of its row.
pub(super) fn fill(table: &mut Table, metric: &dyn CellMetric) {
    for row in &mut table.rows {
        let values: Vec<Option<f64>> = row.cells.iter().map(|cell| metric.of_cell(&row.tensor, &row.cells, cell)).collect();
        for (cell, value) in row.cells.iter_mut().zip(values).filter(|(_, value)| value.is_some()) {
            cell.set(metric.metric(), value);
        }
    }
}

/// The format nearest to the reference error, and its error. Candidates with a residual are scaled from it like all others.
pub(super) fn reference(row: &Row) -> Option<(Format, f64)> {
    let distance = |cell: &Cell| (error_of(&row.cells, cell).max(f64::MIN_POSITIVE) / REFERENCE_ERROR).ln().abs();
    let cell = row.cells.iter().filter(|c| c.residual.is_none()).min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    Some((cell.stored_as, error_of(&row.cells, cell)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::GgmlType;

    #[test]
    fn the_reference_is_the_candidate_nearest_to_one_percent() {
        let cell = |t: GgmlType, error: f64| Cell { activation_error: Some(error), ..crate::allocate::testing::cell(t, 2, 32, 1.0) };
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
}
