//! Rows, cells and the metric that is read from them.

use super::Trust;
use super::descriptors::Descriptors;
use crate::codec::Format;
use crate::error::Result;
use crate::residual::{Candidate, Residual};
use crate::source::Role;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Which error of a cell is meant. All are additive over tensors; the first three are relative, the others in nats per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// ‖Δ‖² / ‖W‖².
    Weight,
    /// Σ Δ²·diag(H) / Σ W²·diag(H).
    Imatrix,
    /// tr(ΔHΔᵀ) / tr(WHWᵀ): the share of the layer's output power that is error; for keys and values with H as attention uses them, so of
    /// the spread of the scores and of the mixed output.
    Activation,
    /// ½ · mean diagonal of the tensor's Hessian of the KL divergence · ‖Δ‖² (HAWQ-V2, Dong et al. 2020, section 3.1; by Hutchinson's method).
    HessianTrace,
    /// The tensor's share of the KL divergence of the model with every tensor replaced by one candidate, ∫₀¹ ⟨∇KL(W + tΔ), Δ⟩ dt, scaled to the
    /// other candidates by their error (post-quantization integral).
    Pqi,
    /// ½·tr(G·Δ·H·Δᵀ) with the second moment G of output gradients; see [`crate::gradient::LinearMoments::predicted_kl`].
    Fisher,
    /// Predicted KL: the activation-weighted error times the tensor's measured gain (see `measure`).
    PredictedKl,
    /// KL measured at the logits with this tensor alone replaced; of chosen cells.
    MeasuredKl,
    /// The cell's share of a plan's KL: what was measured, else the best metric by evidence through its fit to what was measured, times the
    /// ratio of KL measured jointly to the sum of KL measured separately; see [`Trust`].
    CalibratedKl,
}

impl Metric {
    /// All metrics, cheapest first.
    pub const ALL: [Self; 9] =
        [Self::Weight, Self::Imatrix, Self::Activation, Self::HessianTrace, Self::Pqi, Self::Fisher, Self::PredictedKl, Self::MeasuredKl, Self::CalibratedKl];

    /// What is gone by where nobody chose: the first of these that every cell has. Where there is evidence, `CalibratedKl` stands on the best
    /// metric by it.
    const PREFERENCE: [Self; 9] =
        [Self::CalibratedKl, Self::MeasuredKl, Self::PredictedKl, Self::Fisher, Self::Activation, Self::Imatrix, Self::Weight, Self::Pqi, Self::HessianTrace];

    /// Whether it is in nats per token.
    pub fn is_kl(self) -> bool {
        !matches!(self, Self::Weight | Self::Imatrix | Self::Activation)
    }

    /// Name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Imatrix => "imatrix",
            Self::Activation => "activation",
            Self::HessianTrace => "hessian-trace",
            Self::Pqi => "pqi",
            Self::Fisher => "fisher",
            Self::PredictedKl => "predicted-kl",
            Self::MeasuredKl => "measured-kl",
            Self::CalibratedKl => "calibrated-kl",
        }
    }

    /// Name in the studio.
    pub fn label(self) -> &'static str {
        match self {
            Self::Weight => "Relative weight error",
            Self::Imatrix => "Imatrix-weighted error",
            Self::Activation => "Activation-weighted error",
            Self::HessianTrace => "Hessian trace",
            Self::Pqi => "Share of the path's KL",
            Self::Fisher => "Fisher KL",
            Self::PredictedKl => "Predicted KL",
            Self::MeasuredKl => "Measured KL",
            Self::CalibratedKl => "Calibrated KL",
        }
    }
}

/// One tensor stored as one candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The candidate asked for.
    pub format: Format,
    /// What is really stored (rows that are not whole blocks fall back).
    pub stored_as: Format,
    /// What is kept of the rounding error beside it; the errors are those behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<Residual>,
    /// Exact bytes of the tensor, residual included, without padding.
    pub bytes: u64,
    /// ‖Δ‖² / ‖W‖².
    pub weight_error: f64,
    /// See [`Metric::Imatrix`]; absent without statistics.
    pub imatrix_error: Option<f64>,
    /// See [`Metric::Activation`]; absent without H.
    pub activation_error: Option<f64>,
    /// See [`Metric::PredictedKl`]; absent until probed.
    pub predicted_kl: Option<f64>,
    /// What only some tables know.
    #[serde(flatten)]
    pub more: Measures,
}

/// The metrics of a cell that are not always measured. All in nats per token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// See [`Metric::HessianTrace`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hessian_kl: Option<f64>,
    /// See [`Metric::Pqi`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_kl: Option<f64>,
    /// See [`Metric::Fisher`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fisher_kl: Option<f64>,
    /// See [`Metric::MeasuredKl`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_kl: Option<f64>,
    /// Its standard error, over runs of tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_kl_error: Option<f64>,
    /// See [`Metric::CalibratedKl`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated_kl: Option<f64>,
    /// Share of the weights that are not zero and become zero (CrossQuant's kernel); a descriptor, not a cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zero_share: Option<f64>,
}

impl Cell {
    /// A cell of a candidate that is stored so in so many bytes, with its weight error alone.
    pub fn new(candidate: Candidate, stored: Candidate, bytes: u64, weight_error: f64) -> Self {
        Self {
            format: candidate.format,
            stored_as: stored.format,
            residual: stored.residual,
            bytes,
            weight_error,
            imatrix_error: None,
            activation_error: None,
            predicted_kl: None,
            more: Measures::default(),
        }
    }

    /// What was asked for.
    pub fn candidate(&self) -> Candidate {
        Candidate { format: self.format, residual: self.residual }
    }

    /// What is really stored.
    pub fn stored(&self) -> Candidate {
        Candidate { format: self.stored_as, residual: self.residual }
    }

    /// The value of a metric, when it was measured.
    pub fn metric(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Weight => Some(self.weight_error),
            Metric::Imatrix => self.imatrix_error,
            Metric::Activation => self.activation_error,
            Metric::HessianTrace => self.more.hessian_kl,
            Metric::Pqi => self.more.path_kl,
            Metric::Fisher => self.more.fisher_kl,
            Metric::PredictedKl => self.predicted_kl,
            Metric::MeasuredKl => self.more.measured_kl,
            Metric::CalibratedKl => self.more.calibrated_kl,
        }
    }

    /// Keeps the value of a metric; JSON has no infinity, and what is not a number is not kept.
    pub(super) fn set(&mut self, metric: Metric, value: Option<f64>) {
        let value = value.filter(|v| !v.is_nan()).map(|v| v.min(f64::MAX));
        match metric {
            Metric::Weight => self.weight_error = value.unwrap_or(f64::MAX),
            Metric::Imatrix => self.imatrix_error = value,
            Metric::Activation => self.activation_error = value,
            Metric::HessianTrace => self.more.hessian_kl = value,
            Metric::Pqi => self.more.path_kl = value,
            Metric::Fisher => self.more.fisher_kl = value,
            Metric::PredictedKl => self.predicted_kl = value,
            Metric::MeasuredKl => self.more.measured_kl = value,
            Metric::CalibratedKl => self.more.calibrated_kl = value,
        }
    }
}

/// One quantizable tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Canonical name.
    pub tensor: String,
    /// What it does.
    pub role: Role,
    /// Its block.
    pub block: Option<usize>,
    /// See `TensorEntry::fused`.
    pub fused: Option<String>,
    /// Rows × columns of all its matrices.
    pub shape: Vec<usize>,
    /// Bytes in the source.
    pub source_bytes: u64,
    /// One for each distinct stored candidate, by rising bytes.
    pub cells: Vec<Cell>,
}

/// The table of a model, with where it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Fingerprint of the model.
    pub model: String,
    /// Path of the model, so that later steps find it.
    pub model_path: std::path::PathBuf,
    /// Hash of the calibration; `None` for weight-only.
    pub calibration: Option<String>,
    /// Version of the program.
    pub tool: String,
    /// Rounder whose errors these are.
    pub rounding: String,
    /// Bytes of a GGUF of this model that do not depend on the allocation: header, metadata, tensors that stay as they are, all padding
    /// but that of the rows below.
    pub fixed_bytes: u64,
    /// The quantizable tensors, in file order.
    pub rows: Vec<Row>,
    /// What else is known, and from what.
    #[serde(default)]
    pub evidence: Evidence,
}

/// What a table knows beside its cells, with where it came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Hash of the gradients behind [`Metric::Fisher`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradients: Option<String>,
    /// blake3 of the search tokens behind what was measured at the logits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// How far metrics can be trusted on this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
    /// Of each tensor; shown, never optimised.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub descriptors: IndexMap<String, Descriptors>,
}

impl Table {
    /// The best metric that every cell has.
    pub fn best_metric(&self) -> Metric {
        Metric::PREFERENCE.into_iter().find(|m| self.has(*m)).unwrap_or(Metric::Weight)
    }

    /// Whether every cell has this metric.
    pub fn has(&self, metric: Metric) -> bool {
        self.rows.iter().all(|r| r.cells.iter().all(|c| c.metric(metric).is_some()))
    }

    /// The row of a tensor.
    pub fn row(&self, tensor: &str) -> Option<&Row> {
        self.rows.iter().find(|r| r.tensor == tensor)
    }

    /// Writes the table as JSON.
    ///
    /// # Errors
    /// `Io`.
    pub fn save(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self).map_err(|e| crate::Error::Input(e.to_string()))?;
        crate::job::write_atomically(path, &json)
    }

    /// Reads what [`Self::save`] wrote.
    ///
    /// # Errors
    /// `Io`, `Malformed`.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(crate::Error::io("read table", path))?;
        serde_json::from_slice(&bytes).map_err(|e| crate::Error::malformed("sensitivity table", path, e.to_string()))
    }
}
