//! The opened model and everything that was made of it on the way: statistics, calibration, table, allocation, artifact, comparison, file.
//! What stands further right is dropped when something left of it is made anew.

use super::allocation::Allocation;
use super::background::{Reading, Verdict};
use super::grid::Grid;
use super::map_metric::MapMetric;
use halftone_core::calibrate::{Calibration, CalibrationOptions, TextSplit};
use halftone_core::eval::{Comparison, Continuations};
use halftone_core::export::{ExportFormat, Exported};
use halftone_core::job::Artifact;
use halftone_core::recipe::Recipe;
use halftone_core::refine::Refined;
use halftone_core::sensitivity::{Metric, ProbedCell, Row, Table, calibration_work, probe_work};
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

/// A cell of the table whose KL was measured: a point of the correlation plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Probed {
    /// Tensor and format.
    pub name: String,
    /// What the metric says.
    pub predicted: f64,
    /// Measured KL, nats per token.
    pub measured: f64,
    /// Its standard error.
    pub error: f64,
}

/// The cells of a table that were measured at the logits, as the metric that was found best predicts them.
fn probed(table: &Table) -> Vec<Probed> {
    let Some(trust) = &table.evidence.trust else { return Vec::new() };
    let point = |cell: &ProbedCell| {
        let row = table.rows.iter().find(|row| row.tensor == cell.tensor)?;
        let predicted = row.cells.iter().find(|c| c.stored() == cell.stored())?.metric(trust.best)?;
        Some(Probed { name: format!("{} {}", cell.tensor, cell.stored()), predicted, measured: cell.kl, error: cell.error })
    };
    trust.cells.iter().filter_map(point).collect()
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
    /// Rows of the table that is being measured, by catalog position.
    filling: Vec<Option<Box<Row>>>,
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
    /// Cells that were probed.
    pub correlation: Vec<Probed>,
    /// What the last search found.
    pub searched: Option<Arc<Refined>>,
    /// The recipe that it began with, and the one that it left.
    search_ends: Option<(Recipe, Recipe)>,
    /// What each writer says of the recipe.
    pub verdicts: Vec<Verdict>,
    /// What to write.
    pub export_format: Option<ExportFormat>,
    /// Where to write it, when the user said so.
    pub export_path: Option<String>,
    /// A file that stands where the export is to be written, and its bytes: the user is asked.
    pub occupied: Option<(PathBuf, u64)>,
    /// Both models' continuations of the prompt.
    pub generated: Option<Arc<Continuations>>,
    /// Operations of calibrating on one token.
    pub token_work: f64,
    /// Operations of the probe.
    pub probe_work: f64,
    /// What was written.
    pub exported: Option<Arc<Exported>>,
}

impl Session {
    /// A freshly opened model.
    pub fn open(source: Arc<Source>) -> Self {
        let one = CalibrationOptions { tokens: 1, ..CalibrationOptions::default() };
        Self {
            token_work: calibration_work(&source, &one),
            probe_work: probe_work(&source),
            grid: Grid::new(&source.tensors),
            statistics: vec![None; source.tensors.len()],
            table_rows: vec![None; source.tensors.len()],
            filling: vec![None; source.tensors.len()],
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

    /// A row of the table that is being measured came in: the map fills.
    pub fn take_row(&mut self, row: Box<Row>) {
        if let Some(slot) = self.source.as_ref().and_then(|s| s.find(&row.tensor)).and_then(|tensor| self.filling.get_mut(tensor)) {
            *slot = Some(row);
            self.refresh_map();
        }
    }

    /// The row of a tensor by catalog position, where there is no table yet but one is being measured.
    pub fn row_so_far(&self, tensor: usize) -> Option<&Row> {
        self.filling.get(tensor)?.as_deref().filter(|_| self.table.is_none())
    }

    /// A table came in: allocate on it.
    pub fn set_table(&mut self, table: Arc<Table>, now: f64) {
        let Some(source) = self.source.clone() else { return };
        self.table_rows = vec![None; source.tensors.len()];
        self.filling = vec![None; source.tensors.len()];
        for (at, row) in table.rows.iter().enumerate() {
            if let Some(tensor) = source.find(&row.tensor) {
                self.table_rows[tensor] = Some(at);
            }
        }
        self.allocation = Allocation::new(&table, &source, now);
        self.map_metric = Some(MapMetric::Cost(table.best_metric()));
        self.correlation = probed(&table);
        (self.searched, self.search_ends) = (None, None);
        self.table = Some(table);
        self.drop_derived();
        self.refresh_map();
    }

    /// The table with evidence for and against its metrics came in: costs go by the best of them, calibrated. Gives the size that a largest cost
    /// became, where it did.
    pub fn take_judged(&mut self, table: Arc<Table>, now: f64) -> Option<u64> {
        let source = self.source.clone().filter(|source| source.fingerprint == table.model)?;
        let became = self.allocation.set_metric(table.best_metric(), &table, &source, now);
        self.map_metric = Some(MapMetric::Cost(table.best_metric()));
        self.correlation = probed(&table);
        self.table = Some(table);
        self.refresh_map();
        became
    }

    /// The recipe that a search begins with: this one, or where the last search left it so, the one that search began with. Its trials go on from
    /// there, and all that it finds is checked against it.
    pub fn search_start(&self) -> &Recipe {
        let recipe = self.allocation.recipe();
        self.search_ends.as_ref().filter(|(_, left)| left == recipe).map_or(recipe, |(began, _)| began)
    }

    /// A search that began with `began` has ended; false where the recipe was edited since, which leaves it as it is.
    pub fn take_searched(&mut self, found: Arc<Refined>, began: &Recipe, searcher: &str, now: f64) -> bool {
        let goes_on = self.allocation.recipe() == began || self.search_start() == began;
        let Some(source) = self.source.clone().filter(|_| goes_on) else { return false };
        self.allocation.take_searched(began, found.edit(searcher), &source, now);
        self.search_ends = Some((began.clone(), self.allocation.recipe().clone()));
        self.searched = Some(found);
        self.refresh_map();
        true
    }

    /// What was derived from an older recipe is no longer true of this one.
    pub fn drop_derived(&mut self) {
        self.artifact = None;
        self.comparison = None;
        self.reading = None;
        self.generated = None;
        self.exported = None;
        self.occupied = None;
    }

    /// Whether the recipe was edited since it was carried out.
    pub fn stale(&self) -> bool {
        self.table.is_some()
            && self.artifact.as_ref().is_some_and(|a| {
                let now = self.allocation.recipe();
                (&a.recipe.tensors, &a.recipe.residuals) != (&now.tensors, &now.residuals)
            })
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

    /// What is exported.
    pub fn format_to_export(&self) -> ExportFormat {
        self.export_format.unwrap_or(ExportFormat::Gguf)
    }

    /// The recipe that is under edit, or that was carried out in an earlier start.
    pub fn recipe(&self) -> &Recipe {
        match &self.artifact {
            Some(artifact) if self.table.is_none() => &artifact.recipe,
            _ => self.allocation.recipe(),
        }
    }

    /// The map shows the formats of a job that was begun in an earlier start.
    pub fn show_artifact(&mut self) {
        if let (Some(source), Some(artifact), None) = (&self.source, &self.artifact, &self.table) {
            self.allocation.formats = source.tensors.iter().map(|t| artifact.recipe.tensors.get(&t.name).copied()).collect();
        }
    }

    /// A file name for the export or recipe.
    pub fn suggested_name(&self, extension: &str) -> String {
        let name = self.source.as_ref().and_then(|s| s.path.file_name()).map_or("model".to_owned(), |s| s.to_string_lossy().into_owned());
        // A folder's name may hold a dot that begins no extension: Llama-3.2-1B.
        let stem = [".gguf", ".safetensors"].into_iter().find_map(|e| name.strip_suffix(e)).unwrap_or(&name);
        let bits = self.allocation.plan.as_ref().map_or("-quantized".to_owned(), |p| format!("-{:.2}bpw", p.bits_per_weight));
        format!("{stem}{bits}.{extension}")
    }

    /// Where the export goes: the user's path, else a name beside the model.
    pub fn path_to_export(&self) -> String {
        let beside = || {
            let folder = self.source.as_ref().and_then(|s| s.path.parent()).unwrap_or(std::path::Path::new(""));
            folder.join(self.suggested_name(extension(self.format_to_export()))).display().to_string()
        };
        self.export_path.clone().unwrap_or_else(beside)
    }

    /// Another format; the path gets its extension.
    pub fn set_export_format(&mut self, format: ExportFormat) {
        self.export_format = Some(format);
        if let Some(typed) = &mut self.export_path {
            let path = std::path::Path::new(typed.as_str());
            if ExportFormat::ALL.iter().any(|f| path.extension().is_some_and(|e| e == extension(*f))) {
                *typed = path.with_extension(extension(format)).display().to_string();
            }
        }
    }
}

/// The extension of an exported file.
pub fn extension(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Gguf => "gguf",
        ExportFormat::Safetensors => "safetensors",
    }
}
