//! Which code each weight gets. One algorithm a file; adding one is a file and a line in [`ROUNDERS`].

mod act_order;
mod device;
mod gptaq;
mod gptq;
mod hessian;
mod inputs;
mod nearest;
mod octets;
mod sweep;

use crate::codec::Format;
use crate::compute::gpu::Gpu;
use crate::error::Result;
use crate::job::CancelToken;

use gptq::feedback;
pub use hessian::{Factor, Hessian};
pub use inputs::Inputs;

/// What a rounder may use beside the weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// Per-column importance, mean x²; `columns` values.
    pub importance: Option<&'a [f32]>,
    /// H of the inputs.
    pub hessian: Option<&'a Hessian>,
    /// (X̃ − X)ᵀX / T, by how much the original's inputs differ from those that H is of; square. Only a sequential job knows it.
    pub cross: Option<&'a [f32]>,
    /// A device that may do the work; its codes are as good, but not bit for bit those of the CPU.
    pub gpu: Option<&'a Gpu>,
    /// Stops a long rounding between its pieces.
    pub cancel: Option<&'a CancelToken>,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Rounded {
    /// The tensor in its format.
    pub bytes: Vec<u8>,
    /// What was done otherwise than asked, as a sentence for the report.
    pub remark: Option<String>,
    /// The GPU that chose the codes: others, and the CPU, choose as good ones that need not be the same.
    pub device: Option<String>,
}

/// An algorithm that turns a weight matrix into the bytes of a format.
pub trait Rounder: Send + Sync {
    /// Its name in recipes and on the command line.
    fn name(&self) -> &'static str;

    /// Whether [`Evidence::hessian`] makes a difference to it.
    fn uses_hessian(&self) -> bool {
        false
    }

    /// Whether [`Evidence::cross`] makes a difference to it.
    fn uses_original_inputs(&self) -> bool {
        false
    }

    /// Whether [`Evidence::gpu`] makes a difference to it where H of the inputs is known.
    fn runs_on_a_device(&self, _format: Format) -> bool {
        false
    }

    /// Encodes `weights` (rows of `columns`) as `format`.
    ///
    /// # Errors
    /// What the codec says of shapes; `Cancelled`; `Device` when the device of the evidence failed, after which the CPU can do it.
    fn round(&self, weights: &[f32], columns: usize, format: Format, evidence: Evidence<'_>) -> Result<Rounded>;
}

/// The program and its numerics: what was kept by another is made again. The number rises whenever the same inputs give other bytes or errors.
pub const TOOL: &str = concat!(env!("CARGO_PKG_VERSION"), "+numerics.6");

/// The rounder used where nobody chose: error feedback where the matrix of the inputs is known, nearest elsewhere.
pub const DEFAULT_ROUNDING: &str = "gptq+descent";

/// The rounders by name.
pub const ROUNDERS: &[&dyn Rounder] = &[
    &nearest::Nearest,
    &gptq::Gptq { name: "gptq", descents: 0, persistence: 1.0 },
    &gptq::Gptq { name: "foem", descents: 0, persistence: 0.8 },
    &act_order::ActOrder,
    &gptaq::Gptaq,
    &gptq::Gptq { name: DEFAULT_ROUNDING, descents: 2, persistence: 1.0 },
];

/// The rounder of this name.
pub fn rounder(name: &str) -> Option<&'static dyn Rounder> {
    ROUNDERS.iter().copied().find(|r| r.name() == name)
}

/// The rounder that does the work where `name` is asked for: nearest, when it needs a calibration and there is none.
pub fn rounding_for(name: &str, calibrated: bool) -> &str {
    match rounder(name) {
        Some(asked) if asked.uses_hessian() && !calibrated => "nearest",
        _ => name,
    }
}

/// What is told of a tensor that a rounder of error feedback could only round to nearest.
pub(crate) fn without_matrix(name: &str) -> String {
    format!("rounded to nearest, because {name} needs the matrix of its inputs and there is none")
}

/// The names of all rounders, for messages.
pub fn rounder_names() -> String {
    ROUNDERS.iter().map(|r| r.name()).collect::<Vec<_>>().join(", ")
}
