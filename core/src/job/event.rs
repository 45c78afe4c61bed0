//! Everything the window, the command line and the tests can know about a job. Typed; never text to be parsed.

use super::{Artifact, DeviceUse, QuantizeOptions};
use crate::allocate::Problem;
use crate::calibrate::{Calibration, CalibrationOptions, CalibrationText, HoldOutText, SearchText};
use crate::codec::Format;
use crate::error::UserMessage;
use crate::eval::{CompareOptions, Comparison, Continuations};
use crate::export::{ExportFormat, Exported};
use crate::model::GenerateOptions;
use crate::recipe::Recipe;
use crate::refine::{RefineOptions, Refined};
use crate::report::Notice;
use crate::sensitivity::{MeasureOptions, Row, Table};
use crate::source::Source;
use crate::tensor::Statistics;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

/// Number of a job within its runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct JobId(pub u64);

/// The parts of jobs, for progress bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each variant is the work its name says")]
pub enum Stage {
    Open,
    Statistics,
    Tokenize,
    Calibrate,
    Measure,
    Gradient,
    Probe,
    Transform,
    Search,
    Quantize,
    Compare,
    Generate,
    Export,
    Verify,
}

impl Stage {
    /// What the user reads while it runs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Open => "Opening",
            Self::Statistics => "Reading weights",
            Self::Tokenize => "Tokenizing",
            Self::Calibrate => "Calibrating",
            Self::Measure => "Measuring candidates",
            Self::Gradient => "Following gradients",
            Self::Probe => "Probing sensitivity",
            Self::Transform => "Searching scales",
            Self::Search => "Searching by measured KL",
            Self::Quantize => "Quantizing",
            Self::Compare => "Running both models",
            Self::Generate => "Generating",
            Self::Export => "Writing",
            Self::Verify => "Checking the file",
        }
    }

    /// The unit that `Progress` counts.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Statistics | Self::Quantize | Self::Export | Self::Verify => "B",
            Self::Calibrate | Self::Gradient | Self::Probe | Self::Compare => "block",
            Self::Measure => "tensor",
            Self::Transform => "fold",
            Self::Search => "trial",
            Self::Generate => "token",
            Self::Open | Self::Tokenize => "",
        }
    }
}

/// How far a stage is, in its unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// The stage.
    pub stage: Stage,
    /// Units done.
    pub done: u64,
    /// Units in all.
    pub total: u64,
}

/// A tensor that a quantization has made durable.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorDone {
    /// Canonical name.
    pub tensor: String,
    /// What it is stored as.
    pub stored_as: Format,
    /// ‖Δ‖²/‖W‖².
    pub weight_error: f64,
    /// Bytes stored.
    pub bytes: u64,
    /// Already there from an earlier run.
    pub resumed: bool,
}

/// What a runner can be asked to do.
#[derive(Clone, Debug)]
pub enum JobKind {
    /// Open a model.
    Open {
        /// File or folder.
        path: PathBuf,
    },
    /// Weight statistics of every tensor.
    Statistics {
        /// The model.
        source: Arc<Source>,
    },
    /// Run calibration text.
    Calibrate {
        /// The model.
        source: Arc<Source>,
        /// The text itself.
        text: CalibrationText,
        /// How much.
        options: CalibrationOptions,
    },
    /// Fill the sensitivity table.
    Measure {
        /// The model.
        source: Arc<Source>,
        /// Its calibration.
        calibration: Option<Arc<Calibration>>,
        /// What to measure.
        options: MeasureOptions,
    },
    /// Measure cells of a table at the logits and hold its metrics against them.
    Judge {
        /// The model.
        source: Arc<Source>,
        /// The calibration that the table was measured with.
        calibration: Option<Arc<Calibration>>,
        /// The table.
        table: Arc<Table>,
        /// What to measure on.
        text: SearchText,
        /// How many cells.
        cells: usize,
    },
    /// Search on from a recipe by measured KL; resumes what is in the folder. Cancelled, it gives the best so far.
    Refine {
        /// The model.
        source: Arc<Source>,
        /// Its calibration.
        calibration: Option<Arc<Calibration>>,
        /// What the recipe is an allocation of.
        problem: Problem,
        /// Where the search begins.
        recipe: Recipe,
        /// What to measure on.
        text: SearchText,
        /// How long.
        options: RefineOptions,
    },
    /// Quantize by a recipe, into a job folder; resumes what is there.
    Quantize {
        /// The model.
        source: Arc<Source>,
        /// Its calibration.
        calibration: Option<Arc<Calibration>>,
        /// The recipe.
        recipe: Recipe,
        /// Where and how.
        options: QuantizeOptions,
    },
    /// Go on with an unfinished quantization.
    Resume {
        /// The model.
        source: Arc<Source>,
        /// The job folder.
        folder: PathBuf,
    },
    /// Compare the original with what was made of it.
    Compare {
        /// The original.
        source: Arc<Source>,
        /// The quantized tensors.
        artifact: Arc<Artifact>,
        /// Held-out text.
        text: HoldOutText,
        /// How much.
        options: CompareOptions,
    },
    /// Continue a prompt with the original and with what was made of it.
    Generate {
        /// The original.
        source: Arc<Source>,
        /// The quantized tensors.
        artifact: Arc<Artifact>,
        /// Where both begin.
        prompt: Arc<str>,
        /// How tokens are chosen, and how many.
        options: GenerateOptions,
    },
    /// Write a file.
    Export {
        /// The original.
        source: Arc<Source>,
        /// The quantized tensors.
        artifact: Arc<Artifact>,
        /// What to write.
        format: ExportFormat,
        /// Where.
        path: PathBuf,
    },
}

impl JobKind {
    /// The job's name in the list of jobs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Open { .. } => "Open",
            Self::Statistics { .. } => "Weight statistics",
            Self::Calibrate { .. } => "Calibrate",
            Self::Measure { .. } => "Measure",
            Self::Judge { .. } => "Judge metrics",
            Self::Refine { .. } => "Search",
            Self::Quantize { .. } | Self::Resume { .. } => "Quantize",
            Self::Compare { .. } => "Compare",
            Self::Generate { .. } => "Generate",
            Self::Export { .. } => "Export",
        }
    }
}

/// What a job makes.
#[derive(Clone, Debug)]
pub enum Product {
    /// From `Open`.
    Source(Arc<Source>),
    /// From `Statistics`: by catalog position; `None` for tensors that are not numbers.
    Statistics(Arc<Vec<Option<Statistics>>>),
    /// From `Calibrate`.
    Calibration(Arc<Calibration>),
    /// From `Measure`.
    Table(Arc<Table>),
    /// From `Judge`: the table with its evidence.
    Judged(Arc<Table>),
    /// From `Refine`, with the recipe that it began with.
    Refined(Arc<Refined>, Box<Recipe>),
    /// From `Quantize` and `Resume`.
    Artifact(Arc<Artifact>),
    /// From `Compare`.
    Comparison(Arc<Comparison>),
    /// From `Generate`.
    Generated(Arc<Continuations>),
    /// From `Export`.
    Exported(Arc<Exported>),
}

/// How a job ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// With its product.
    Done(Product),
    /// By the user; what was durable stays.
    Cancelled,
    /// With an error.
    Failed(UserMessage),
}

/// What a job says while it runs.
#[derive(Clone, Debug)]
pub enum JobEvent {
    /// It began.
    Started {
        /// Its name.
        label: &'static str,
    },
    /// How far it is. Coalesced: the last one wins, at most 20 a second reach the listener.
    Progress(Progress),
    /// Statistics of one tensor are there (the map fills while they come).
    Statistics {
        /// Catalog position.
        index: usize,
        /// The statistics.
        statistics: Box<Statistics>,
    },
    /// A row of the sensitivity table is there, or knows more than before (the map fills while they come, most valuable first).
    Row(Box<Row>),
    /// A tensor is durable.
    Tensor(TensorDone),
    /// What the GPU has done so far, a few times a second and at the end.
    Device(Box<DeviceUse>),
    /// It ended.
    Finished {
        /// How.
        outcome: Outcome,
        /// What did not go as asked.
        notices: Vec<Notice>,
        /// Wall time, seconds.
        elapsed_secs: f64,
    },
}
