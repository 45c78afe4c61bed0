//! Two tables of one model and calibration made one.

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
        let of = |table: &Self| (table.model.clone(), table.calibration.clone(), table.rounding.clone(), table.tool.clone());
        if of(self) != of(&newer) {
            return Err(Error::Mismatch { operation: "merge tables", expected: format!("{:?}", of(self)), got: format!("{:?}", of(&newer)) });
        }
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
        calibrate(self);
        Ok(())
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
