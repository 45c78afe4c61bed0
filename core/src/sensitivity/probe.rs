//! Predicted KL: what the error of each tensor does to the model's output, measured once a tensor and then scaled.
//!
//! Each tensor alone is replaced by one reference candidate, and the mean KL at the logits is measured on held-out sequences. For small
//! errors KL is quadratic in Δ, and so is the activation-weighted error; their ratio, the tensor's *gain*, turns the error of every
//! other candidate into a predicted KL. That holds for errors of a kind; a residual takes a part out of the error, and it need not be the part
//! that the output minds (of a head, what all rows have in common moves no distribution), so candidates with one are measured themselves. Sums over tensors leave out how errors in different tensors interact; comparing the finished
//! model with the original shows by how much.

use super::meter::Meter;
use super::metrics::{CellMetric, Gain, error_of};
use super::trust::measure_cells;
use super::{Cell, Metric, Row, Table};
use crate::codec::Format;
use crate::error::{Error, Result};
use crate::model::{Transformer, Weights};
use crate::report::NoticeKind;
use crate::residual::Candidate;

/// Error of the reference candidate: large enough to be seen above rounding, small enough to be in the quadratic range.
const REFERENCE_ERROR: f64 = 1e-2;
/// KL below this is rounding of the forward pass: nats per token.
pub(super) const NOISE: f64 = 1e-8;

/// Whether KL can be measured on this model.
///
/// # Errors
/// `Unsupported` for one that cannot run.
pub(super) fn runs(meter: &Meter<'_>) -> Result<()> {
    let weights: &dyn Weights = meter.source;
    weights.config().predicts_tokens()?;
    Transformer::new(weights).map(|_| ())
}

/// Whether KL can be measured on this model; if not, a notice says that there is no `what`, and why.
///
/// # Errors
/// Everything but that the model cannot run.
pub(super) fn can_measure(meter: &Meter<'_>, what: &str) -> Result<bool> {
    match runs(meter) {
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
    let kept = |row: &Row| row.cells.iter().filter(|c| c.residual.is_some()).map(Cell::stored).collect::<Vec<_>>();
    let probed = |row: &Row| reference(row).map(|(format, _)| format.into()).into_iter().chain(kept(row)).map(|stored| (row.tensor.clone(), stored)).collect();
    let cells: Vec<(String, Candidate)> = table.rows.iter().flat_map(|row| -> Vec<_> { probed(row) }).collect();
    measure_cells(meter, sequences, &cells, table)?;
    let mut gain = Gain { metric: Metric::PredictedKl, gains: Default::default() };
    for row in &table.rows {
        let measured = reference(row).and_then(|(format, error)| Some((row.cells.iter().find(|c| c.stored() == format.into())?.more.measured_kl?, error)));
        let Some((kl, error)) = measured else {
            let text = "its effect on the output was not measured, because the forward pass does not use it".to_owned();
            meter.cx.reporter.notice(Some(&row.tensor), NoticeKind::Other { text });
            continue;
        };
        gain.gains.insert(row.tensor.clone(), kl.max(NOISE) / error.max(f64::MIN_POSITIVE));
    }
    fill(table, &gain);
    for cell in table.rows.iter_mut().flat_map(|row| &mut row.cells).filter(|c| c.residual.is_some()) {
        cell.predicted_kl = cell.more.measured_kl.map(|kl| kl.max(NOISE)).or(cell.predicted_kl);
    }
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

/// The format nearest to the reference error, and its error. A candidate with a residual is no measure for others.
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
