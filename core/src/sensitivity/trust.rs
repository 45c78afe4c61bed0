//! How far a metric can be trusted on this model: a few cells are measured at the logits, and every metric is held against them.

use super::cells::{Encoded, joint_kl, measured_kl};
use super::curvature::references;
use super::fit::Fit;
use super::meter::Meter;
use super::probe::{NOISE, reference, runs};
use super::{Metric, Row, Table};
use crate::calibrate::Calibration;
use crate::codec::Format;
use crate::error::{Error, Result};
use crate::job::{JobContext, JobEvent};
use crate::numeric::metric::rank_correlation;
use crate::residual::{Candidate, Residual};
use crate::round::{TOOL, rounder};
use crate::source::{Role, Source};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// One cell that was measured at the logits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbedCell {
    /// Canonical name.
    pub tensor: String,
    /// What it was stored as.
    pub stored_as: Format,
    /// What was kept of its rounding error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<Residual>,
    /// Nats per token.
    pub kl: f64,
    /// Its standard error.
    pub error: f64,
}

impl ProbedCell {
    /// What it was stored as, with what was kept.
    pub fn stored(&self) -> Candidate {
        Candidate { format: self.stored_as, residual: self.residual }
    }
}

/// A metric held against what was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Correlation {
    /// Which.
    pub metric: Metric,
    /// Spearman's rank correlation.
    pub spearman: f64,
    /// Kendall's τ-b.
    pub kendall: f64,
    /// Geometric mean of metric / measured KL; 1 would be a metric that says the KL itself.
    pub ratio: f64,
    /// Standard deviation of the logarithm of that ratio: how far single cells are off.
    pub spread: f64,
    /// How many cells have the metric.
    pub cells: usize,
}

/// Tensors replaced together against the sum of each alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joint {
    /// How many tensors.
    pub tensors: usize,
    /// Σ of what each costs alone: measured, or by the fit.
    pub separately: f64,
    /// Measured with all of them replaced.
    pub together: f64,
    /// Standard error of that.
    pub error: f64,
}

impl Joint {
    /// Together / separately.
    pub fn ratio(&self) -> f64 {
        if self.separately > 0.0 { self.together / self.separately } else { 1.0 }
    }
}

/// The evidence for and against the metrics of a table, on the search text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trust {
    /// Tokens each cell was measured on.
    pub tokens: usize,
    /// The cells.
    pub cells: Vec<ProbedCell>,
    /// Every metric that at least three of them have, best first.
    pub correlations: Vec<Correlation>,
    /// The best metric by that which all cells of the table have.
    pub best: Metric,
    /// From the best metric to KL.
    pub fit: Fit,
    /// The probed tensors together, measured against measured: how much of a background separate measurements count again and again.
    pub probed_together: Joint,
    /// All tensors together at one candidate each, measured against the fit.
    pub all_together: Joint,
}

impl Trust {
    /// What the sum of separate KLs is to be multiplied with to be that of the whole plan.
    pub fn over_counting(&self) -> f64 {
        let ratio = self.all_together.ratio();
        if ratio.is_finite() && ratio > 0.0 { ratio } else { 1.0 }
    }

    /// What a metric's correlation is, where it was measured.
    pub fn of(&self, metric: Metric) -> Option<&Correlation> {
        self.correlations.iter().find(|c| c.metric == metric)
    }
}

/// As [`super::measure`] with trust, of a table that is there: `count` cells are measured at the logits of `sequences`, its metrics are held against
/// them, and [`Metric::CalibratedKl`] is filled.
///
/// # Errors
/// `Mismatch` for the table of another model, calibration or program; `Unsupported` for a model that cannot run, and where too few cells are left
/// to measure; `Cancelled`.
pub fn judge(source: &Source, calibration: Option<&Calibration>, table: &Table, sequences: &[Vec<u32>], count: usize, cx: &JobContext) -> Result<Table> {
    table.accepts("judge the metrics of a table", &source.fingerprint, calibration.map(Calibration::hash).as_deref(), &table.rounding, TOOL)?;
    source.config.predicts_tokens()?;
    let unknown = || Error::unsupported(format!("rounding {}", table.rounding), "it is not one of the rounders");
    let meter = Meter::new(source, calibration, rounder(&table.rounding).ok_or_else(unknown)?, cx);
    let mut judged = Table { evidence: super::Evidence { trust: None, ..table.evidence.clone() }, ..table.clone() };
    judged.evidence.search = Some(hash_of(sequences));
    establish(&meter, sequences, count, &mut judged)?;
    Ok(judged)
}

/// blake3 of the tokens that cells are measured on.
pub(super) fn hash_of(sequences: &[Vec<u32>]) -> String {
    let mut hasher = blake3::Hasher::new();
    sequences.iter().for_each(|sequence| {
        hasher.update(bytemuck::cast_slice(sequence)).update(b"|");
    });
    hasher.finalize().to_hex().to_string()
}

/// Measures `count` cells and holds the table's metrics against them; fills [`Metric::MeasuredKl`] of those and [`Metric::CalibratedKl`] of all.
///
/// # Errors
/// `Unsupported` for a model that cannot run, and where too few cells are left to measure, or above the noise; `Cancelled`.
pub(super) fn establish(meter: &Meter<'_>, sequences: &[Vec<u32>], count: usize, table: &mut Table) -> Result<()> {
    runs(meter)?;
    let too_few = || Error::unsupported("judging the metrics", "too few cells could be measured at the logits, or no metric is above their noise");
    let chosen = choose(&table.rows, count);
    measure_cells(meter, sequences, &chosen, table)?;
    let mut probed = Encoded::new();
    let mut cells = Vec::new();
    for (tensor, stored) in chosen {
        let measures = cell_of(table, &tensor, stored).map(|cell| cell.more);
        if let (Some(index), Some((kl, error))) = (meter.source.find(&tensor), measures.and_then(|m| m.measured_kl.zip(m.measured_kl_error))) {
            probed.insert(tensor.clone(), (stored, meter.encoded(index, stored)?));
            cells.push(ProbedCell { tensor, stored_as: stored.format, residual: stored.residual, kl, error });
        }
    }
    let correlations = correlations(table, &cells);
    let Some(best) = correlations.iter().find(|c| table.has(c.metric)).map(|c| c.metric) else { return Err(too_few()) };
    let pairs: Vec<(f64, f64)> =
        cells.iter().filter_map(|p| Some((cell_of(table, &p.tensor, p.stored())?.metric(best)?, p.kl))).filter(|(_, kl)| *kl > NOISE).collect();
    let Some(fit) = Fit::of(&pairs) else { return Err(too_few()) };
    let together = joint_kl(meter.source, &probed, sequences, meter.cx)?;
    let probed_together = Joint { tensors: cells.len(), separately: cells.iter().map(|c| c.kl).sum(), together: together.kl, error: together.error };
    let all = joint_kl(meter.source, &references(meter, table)?, sequences, meter.cx)?;
    let alone = |row: &Row| {
        let (stored_as, _) = reference(row)?;
        Some(fit.kl(row.cells.iter().find(|c| c.stored() == stored_as.into())?.metric(best)?))
    };
    let all_together = Joint { tensors: table.rows.len(), separately: table.rows.iter().filter_map(alone).sum(), together: all.kl, error: all.error };
    let tokens = sequences.iter().map(Vec::len).sum();
    table.evidence.trust = Some(Trust { tokens, cells, correlations, best, fit, probed_together, all_together });
    calibrate(table);
    Ok(())
}

/// Fills [`Metric::CalibratedKl`] by the table's evidence. What was measured of a tensor in some formats moves its others with it.
pub(super) fn calibrate(table: &mut Table) {
    let Some(trust) = &table.evidence.trust else { return };
    let share = trust.over_counting();
    for row in &mut table.rows {
        let fitted: Vec<Option<f64>> = row.cells.iter().map(|cell| Some(trust.fit.kl(cell.metric(trust.best)?))).collect();
        let residuals: Vec<f64> = row
            .cells
            .iter()
            .zip(&fitted)
            .filter(|(cell, _)| cell.residual.is_none())
            .filter_map(|(cell, fitted)| Some((cell.more.measured_kl.filter(|kl| *kl > NOISE)? / fitted.filter(|f| *f > 0.0)?).ln()))
            .collect();
        let residual = residuals.iter().sum::<f64>() / residuals.len().max(1) as f64;
        for (cell, fitted) in row.cells.iter_mut().zip(fitted) {
            cell.more.calibrated_kl =
                cell.more.measured_kl.filter(|kl| *kl > NOISE).or(fitted.map(|f| f * residual.exp())).map(|kl| (kl * share).min(f64::MAX));
        }
    }
}

/// Measures these cells at the logits and keeps it; a row that changed is an event.
pub(super) fn measure_cells(meter: &Meter<'_>, sequences: &[Vec<u32>], cells: &[(String, Candidate)], table: &mut Table) -> Result<()> {
    let names: Vec<String> = cells.iter().map(|(tensor, _)| tensor.clone()).collect();
    let replacement = |i: usize| {
        let index = meter.source.find(&names[i]).ok_or_else(|| Error::MissingTensor { name: names[i].clone() })?;
        meter.quantized(index, cells[i].1)
    };
    let measured = measured_kl(meter.source, &names, &replacement, sequences, meter.cx)?;
    for ((tensor, stored), measured) in cells.iter().zip(measured) {
        let (Some(row), Some(measured)) = (table.rows.iter_mut().find(|r| r.tensor == *tensor), measured) else { continue };
        for cell in row.cells.iter_mut().filter(|c| c.stored() == *stored) {
            (cell.more.measured_kl, cell.more.measured_kl_error) = (Some(measured.kl), Some(measured.error));
        }
        meter.cx.send(JobEvent::Row(Box::new(row.clone())));
    }
    Ok(())
}

fn cell_of<'a>(table: &'a Table, tensor: &str, stored: Candidate) -> Option<&'a super::Cell> {
    table.row(tensor)?.cells.iter().find(|c| c.stored() == stored)
}

/// Cells that differ in all that may matter: roles by turns, and in each of them blocks and candidates that fill their ranges evenly
/// (multiples of irrational numbers). A tensor comes once, so that all can be replaced together; what is measured already is left out.
pub(super) fn choose(rows: &[Row], count: usize) -> Vec<(String, Candidate)> {
    let mut roles: IndexMap<Role, Vec<&Row>> = IndexMap::new();
    for row in rows.iter().filter(|r| !r.cells.is_empty()) {
        roles.entry(row.role).or_default().push(row);
    }
    let mut chosen: IndexMap<String, Candidate> = IndexMap::new();
    for turn in 0.. {
        let before = chosen.len();
        for (at, rows) in roles.values().enumerate() {
            let step = (turn * roles.len() + at) as f64;
            let place = |irrational: f64, count: usize| (((0.5 + step * irrational).fract() * count as f64) as usize).min(count - 1);
            let from = place(0.618_033_988_75, rows.len());
            let free = (0..rows.len()).map(|i| rows[(from + i) % rows.len()]).find(|row| !chosen.contains_key(&row.tensor));
            let Some(row) = free.filter(|_| chosen.len() < count) else { continue };
            let fresh: Vec<Candidate> = row.cells.iter().filter(|c| c.more.measured_kl.is_none()).map(super::Cell::stored).collect();
            if !fresh.is_empty() {
                chosen.insert(row.tensor.clone(), fresh[place(0.754_877_666_25, fresh.len())]);
            }
        }
        if chosen.len() == before || chosen.len() >= count {
            break;
        }
    }
    chosen.into_iter().collect()
}

/// Each metric against the cells, best first. Of metrics that rank alike the one with the smaller spread is better.
fn correlations(table: &Table, cells: &[ProbedCell]) -> Vec<Correlation> {
    let of = |metric: Metric| {
        let pairs: Vec<(f64, f64)> = cells.iter().filter_map(|p| Some((cell_of(table, &p.tensor, p.stored())?.metric(metric)?, p.kl))).collect();
        if pairs.len() < 3 {
            return None;
        }
        let (values, kls): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let logs: Vec<f64> = pairs.iter().filter(|(m, kl)| *m > 0.0 && *kl > NOISE).map(|(m, kl)| (m / kl).ln()).collect();
        let mean = logs.iter().sum::<f64>() / logs.len().max(1) as f64;
        let spread = (logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / logs.len().max(1) as f64).sqrt();
        Some(Correlation { metric, spearman: rank_correlation(&values, &kls), kendall: kendall(&values, &kls), ratio: mean.exp(), spread, cells: pairs.len() })
    };
    let candidates = Metric::ALL.into_iter().filter(|m| !matches!(m, Metric::MeasuredKl | Metric::CalibratedKl));
    let mut correlations: Vec<Correlation> = candidates.filter_map(of).collect();
    correlations.sort_by(|a, b| b.spearman.total_cmp(&a.spearman).then(a.spread.total_cmp(&b.spread)));
    correlations
}

/// Kendall's τ-b: the surplus of pairs in the same order, over the pairs that are tied in neither.
fn kendall(a: &[f64], b: &[f64]) -> f64 {
    let sign = |x: f64| {
        if x > 0.0 {
            1.0
        } else if x < 0.0 {
            -1.0
        } else {
            0.0
        }
    };
    let (mut surplus, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for i in 0..a.len() {
        for j in 0..i {
            let (x, y): (f64, f64) = (sign(a[i] - a[j]), sign(b[i] - b[j]));
            surplus += x * y;
            of_a += x * x;
            of_b += y * y;
        }
    }
    if of_a == 0.0 || of_b == 0.0 { 0.0 } else { surplus / (of_a * of_b).sqrt() }
}

#[cfg(test)]
mod tests;
