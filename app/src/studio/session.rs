//! The opened model and everything that was made of it on the way: statistics, calibration, table, allocation, artifact, comparison, file.
//! What stands further right is dropped when something left of it is made anew.

use super::allocation::Allocation;
use super::background::{Reading, Verdict};
use super::grid::Grid;
use super::map_metric::MapMetric;
use halftone_core::calibrate::{Calibration, TextSplit};
use halftone_core::eval::Comparison;
use halftone_core::export::{ExportFormat, Exported};
use halftone_core::job::Artifact;
use halftone_core::sensitivity::{Metric, Row, Table};
use halftone_core::source::Source;
use halftone_core::tensor::Statistics;
use std::path::PathBuf;
use std::sync::Arc;

/// A plan that was carried out and compared: a diamond on the frontier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Exact bytes of the plan's file.
    pub bytes: u64,
    /// Mean KL, nats per token.
    pub kl: f64,
    /// Its standard error.
    pub error: f64,
}

/// One model on its way.
#[derive(Default)]
pub struct Session {
    /// Path being opened.
    pub opening: Option<PathBuf>,
    /// The model.
    pub source: Option<Arc<Source>>,
    /// Where its tensors stand on the map.
    pub grid: Grid,
    /// Statistics by catalog position, as they come in.
    pub statistics: Vec<Option<Arc<Statistics>>>,
    /// The calibration text, kept for the probe of the measurement.
    pub text: Option<Arc<TextSplit>>,
    /// What the text did to the activations.
    pub calibration: Option<Arc<Calibration>>,
    /// The table.
    pub table: Option<Arc<Table>>,
    table_rows: Vec<Option<usize>>,
    /// The recipe under edit.
    pub allocation: Allocation,
    /// What the map shows.
    pub map_metric: Option<MapMetric>,
    /// Its value by catalog position.
    pub map_values: Vec<Option<f64>>,
    /// What was quantized.
    pub artifact: Option<Arc<Artifact>>,
    /// File bytes of the plan that was carried out.
    pub quantized_bytes: u64,
    /// Before against after.
    pub comparison: Option<Arc<Comparison>>,
    /// The comparison made readable.
    pub reading: Option<Arc<Reading>>,
    /// Plans that were carried out and compared.
    pub measured: Vec<Measured>,
    /// What each writer says of the recipe.
    pub verdicts: Vec<Verdict>,
    /// What to write.
    pub export_format: Option<ExportFormat>,
    /// What was written.
    pub exported: Option<Arc<Exported>>,
}

impl Session {
    /// A freshly opened model.
    pub fn open(source: Arc<Source>) -> Self {
        Self {
            grid: Grid::new(&source.tensors),
            statistics: vec![None; source.tensors.len()],
            table_rows: vec![None; source.tensors.len()],
            source: Some(source),
            ..Self::default()
        }
    }

    /// Whether the architecture has a forward pass.
    pub fn can_run(&self) -> bool {
        self.source.as_ref().is_some_and(|s| s.config.forward_supported().is_ok())
    }

    /// The table's row of a tensor, by catalog position.
    pub fn row(&self, tensor: usize) -> Option<&Row> {
        self.table.as_ref()?.rows.get(self.table_rows.get(tensor).copied().flatten()?)
    }

    /// A table came in: allocate on it.
    pub fn set_table(&mut self, table: Arc<Table>, now: f64) {
        let Some(source) = self.source.clone() else { return };
        self.table_rows = vec![None; source.tensors.len()];
        for (at, row) in table.rows.iter().enumerate() {
            if let Some(tensor) = source.find(&row.tensor) {
                self.table_rows[tensor] = Some(at);
            }
        }
        self.allocation = Allocation::new(&table, &source, now);
        self.map_metric = Some(MapMetric::Cost(table.best_metric()));
        self.table = Some(table);
        self.drop_derived();
        self.refresh_map();
    }

    /// What was derived from an older recipe is no longer true of this one.
    pub fn drop_derived(&mut self) {
        self.artifact = None;
        self.comparison = None;
        self.reading = None;
        self.exported = None;
    }

    /// Whether the recipe was edited since it was carried out.
    pub fn stale(&self) -> bool {
        self.artifact.as_ref().is_some_and(|a| a.recipe.tensors != self.allocation.recipe().tensors)
    }

    /// The metric of the map: the chosen one, else the best there is.
    pub fn metric_shown(&self) -> MapMetric {
        let fallback = || MapMetric::ALL.into_iter().find(|m| m.available(self) && *m != MapMetric::Bits).unwrap_or(MapMetric::Bits);
        self.map_metric.filter(|m| m.available(self)).unwrap_or_else(fallback)
    }

    /// Looks up the map's values again.
    pub fn refresh_map(&mut self) {
        let metric = self.metric_shown();
        let count = self.source.as_ref().map_or(0, |s| s.tensors.len());
        self.map_values = (0..count).map(|tensor| metric.value(self, tensor)).collect();
    }

    /// The metric of costs: the solver's, else the best of the table.
    pub fn cost_metric(&self) -> Metric {
        self.allocation.metric.or_else(|| self.table.as_ref().map(|t| t.best_metric())).unwrap_or(Metric::Weight)
    }

    /// A file name for the export or recipe.
    pub fn suggested_name(&self, extension: &str) -> String {
        let stem = self.source.as_ref().and_then(|s| s.path.file_stem()).map_or("model".to_owned(), |s| s.to_string_lossy().into_owned());
        let bits = self.allocation.plan.as_ref().map_or(String::new(), |p| format!("-{:.2}bpw", p.bits_per_weight));
        format!("{stem}{bits}.{extension}")
    }
}
