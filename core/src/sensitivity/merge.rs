//! Two tables of one model and calibration made one.

use super::metrics::error_of;
use super::trust::calibrate;
use super::{Cell, Metric, Row, Table};
use crate::error::{Error, Result};

impl Table {
    /// Takes in what a newer table of the same model, calibration and rounding knows: its rows and cells beside ours, and where both have a
    /// cell or a metric, the newer one. Evidence goes with the newer table where it has any.
    ///
    /// # Errors
    /// `Mismatch` for a table of another model, calibration, rounding or program, whose errors are not comparable.
    pub fn merge(&mut self, newer: Self) -> Result<()> {
        self.accepts("merge tables", &newer.model, newer.calibration.as_deref(), &newer.rounding, &newer.tool)?;
        for row in newer.rows {
            match self.rows.iter_mut().find(|r| r.tensor == row.tensor) {
                Some(known) => merge_row(known, row),
                None => self.rows.push(row),
            }
        }
        (self.model_path, self.fixed_bytes) = (newer.model_path, newer.fixed_bytes);
        let evidence = newer.evidence;
        self.evidence.gradients = evidence.gradients.or(self.evidence.gradients.take());
        self.evidence.search = evidence.search.or(self.evidence.search.take());
        self.evidence.trust = evidence.trust.or(self.evidence.trust.take());
        self.evidence.descriptors.extend(evidence.descriptors);
        self.rows.iter_mut().for_each(predict);
        calibrate(self);
        Ok(())
    }

    /// Whether what is measured of this model, with this calibration, rounding and program, belongs into this table: asked before the work.
    ///
    /// # Errors
    /// `Mismatch`, naming what differs.
    pub fn accepts(&self, operation: &'static str, model: &str, calibration: Option<&str>, rounding: &str, tool: &str) -> Result<()> {
        let pairs = [
            ("model", self.model.as_str(), model),
            ("calibration", self.calibration.as_deref().unwrap_or("none"), calibration.unwrap_or("none")),
            ("rounding", &self.rounding, rounding),
            ("program", &self.tool, tool),
        ];
        match pairs.into_iter().find(|(_, ours, theirs)| ours != theirs) {
            None => Ok(()),
            Some((what, ours, theirs)) => Err(Error::Mismatch { operation, expected: format!("the table's {what}, {ours}"), got: theirs.to_owned() }),
        }
    }
}

/// What the probe of some cells says of the others: a tensor's predicted KL is its error times a gain of its own, for errors of a kind. A residual
/// tells no other candidate's KL, and none tells its: what was not measured of it stays unknown.
fn predict(row: &mut Row) {
    let errors: Vec<f64> = row.cells.iter().map(|cell| error_of(&row.cells, cell)).collect();
    let known = || row.cells.iter().zip(&errors).filter(|(cell, _)| cell.residual.is_none()).filter_map(|(cell, error)| Some((cell.predicted_kl?, error)));
    let gain = known().map(|(kl, _)| kl).sum::<f64>() / known().map(|(_, error)| error).sum::<f64>();
    if gain.is_finite() {
        for (cell, error) in row.cells.iter_mut().zip(errors).filter(|(cell, _)| cell.residual.is_none() && cell.predicted_kl.is_none()) {
            cell.predicted_kl = Some(gain * error);
        }
    }
}

fn merge_row(known: &mut Row, newer: Row) {
    for cell in newer.cells {
        match known.cells.iter_mut().find(|c| c.stored() == cell.stored()) {
            Some(old) => *old = merged(old, cell),
            None => known.cells.push(cell),
        }
    }
    known.cells.sort_by_key(|cell| cell.bytes);
}

/// The newer cell, with what only the older knows.
fn merged(older: &Cell, newer: Cell) -> Cell {
    let mut cell = newer;
    for metric in Metric::ALL.into_iter().filter(|m| *m != Metric::Weight) {
        if cell.metric(metric).is_none() {
            cell.set(metric, older.metric(metric));
            if metric == Metric::MeasuredKl {
                cell.more.measured_kl_error = older.more.measured_kl_error;
            }
        }
    }
    cell.more.zero_share = cell.more.zero_share.or(older.more.zero_share);
    cell
}
