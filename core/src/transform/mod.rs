//! Transforms that keep a model's function and change how well it rounds: rotations, scale folds.
//!
//! A transform makes a [`Plan`], what happens to each tensor; [`Transformed`] is the model seen through it, tensor by tensor on demand, and
//! [`crate::export::write_model`] writes it as a full-precision file that opens like any other, so that every later room works on it
//! unchanged. [`Structure`] knows which tensors must change together. One transform a file, and an arm of [`Transform::plan`].
//!
//! Invariants: logits before and after agree to 10⁻⁴; no operator is added that a runtime does not have; what cannot be done so is refused
//! with the reason. Absent on purpose: transforms that a runtime would have to undo while it runs.

mod awq;
mod fold;
mod plan;
mod rotate;
mod smooth;
mod structure;
mod view;

pub use crate::numeric::rotation::Rotation;
pub use awq::Choice;
pub use fold::{Fold, Maker};
pub(crate) use plan::transposed;
pub use plan::{Map, Plan, Side, Step};
pub use rotate::Reach;
pub use structure::{Block, Half, Part, Structure};
pub use view::Transformed;

use crate::calibrate::Calibration;
use crate::codec::Format;
use crate::error::{Error, Result};
use crate::job::JobContext;
use crate::source::Source;

/// GGUF key, and key of config.json, that says what was done to a model and which model it was.
pub const TRANSFORM_KEY: &str = "halftone.transform";

/// A transform and its parameters.
#[derive(Clone, Copy, Debug)]
pub enum Transform<'a> {
    /// [`rotate`](mod@rotate): random rotations drawn from a seed.
    Rotation {
        /// Which channels.
        reach: Reach,
        /// Of the draw.
        seed: u64,
    },
    /// AWQ's scales for a format.
    Awq {
        /// What enters the linears.
        calibration: &'a Calibration,
        /// What the weights will be rounded to.
        format: Format,
    },
    /// SmoothQuant's scales.
    Smooth {
        /// What enters the linears.
        calibration: &'a Calibration,
        /// Share of the difficulty that goes to the weights.
        alpha: f32,
    },
}

impl Transform<'_> {
    /// What it does to each tensor of a model, and the choices it made on the way.
    ///
    /// # Errors
    /// `Unsupported` with the reason for a model it cannot keep the function of; `Mismatch` for a calibration of another model; `Cancelled`.
    pub fn plan(&self, source: &Source, cx: &JobContext) -> Result<(Plan, Vec<Choice>)> {
        let names = source.tensors.iter().filter(|t| !t.is_computed()).map(|t| t.name.as_str());
        let structure = Structure::of(&source.config, names)?;
        if let Self::Awq { calibration, .. } | Self::Smooth { calibration, .. } = self
            && calibration.model != source.fingerprint
        {
            let expected = format!("a calibration of the model {} ({})", source.path.display(), source.fingerprint);
            return Err(Error::Mismatch { operation: "transform", expected, got: format!("one of the model {}", calibration.model) });
        }
        let (mut plan, choices) = match *self {
            Self::Rotation { reach, seed } => (rotate::rotation(source, &structure, reach, seed)?, Vec::new()),
            Self::Awq { calibration, format } => awq::awq(source, &structure, calibration, format, cx)?,
            Self::Smooth { calibration, alpha } => (smooth::smooth(source, &structure, calibration, alpha, cx)?, Vec::new()),
        };
        // The chain of what was done before goes on.
        let before = source.metadata.get(TRANSFORM_KEY).and_then(crate::source::MetaValue::as_str).map_or_else(String::new, |note| format!("{note}; "));
        plan.note = format!("{before}{} of {}", plan.note, source.fingerprint);
        Ok((plan, choices))
    }
}
