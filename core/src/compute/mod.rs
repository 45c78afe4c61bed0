//! Devices. Kernels are data: a [`KernelCall`] names a kernel, its parameters and its buffers; a [`Backend`] runs it. The CPU
//! backend calls the twins of `halftone-shaders`; the GPU backend owns a wgpu device of its own, never the window's.

mod cpu;
mod encode;
mod fastest;
pub mod gpu;
mod operands;
mod threads;

use crate::codec::Format;
use crate::error::{Error, Result};
use crate::numeric::rotation::Rotation;
use halftone_shaders::Kernel;
use halftone_shaders::twin::lloyd_step::Tally;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub use cpu::Cpu;
pub(crate) use encode::encoder;
pub use encode::formats_with_kernel;
use fastest::Fastest;
pub use fastest::remember_in;
pub use threads::set_threads;

/// Which device the user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceChoice {
    /// The fastest real one: a hardware GPU if there is one, else the CPU. Never a software adapter.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The first adapter of any kind, software ones included.
    Gpu,
    /// The adapter whose name contains this.
    Named(String),
}

impl std::str::FromStr for DeviceChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "gpu" => Self::Gpu,
            _ => Self::Named(text.to_owned()),
        })
    }
}

/// What a device is and can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// The adapter's name.
    pub name: String,
    /// Driver and API, for example "Vulkan, llvmpipe".
    pub driver: String,
    /// Runs on the CPU in disguise.
    pub is_software: bool,
    /// What it has beyond the least, that kernels use.
    pub extensions: Vec<&'static str>,
    /// Largest storage binding, bytes.
    pub max_binding_bytes: u64,
}

/// A kernel with its operands. Integers come back equal on every backend, floats within the kernel's stated tolerance.
#[derive(Debug)]
pub enum KernelCall<'a> {
    /// Whole tensors in formats that have a kernel, each weight to the nearest code after the format's scale search; see `halftone_shaders::blocks`.
    Encode {
        /// What to encode as.
        format: Format,
        /// Rows of `columns` values, whole blocks.
        weights: &'a [f32],
        /// Row length.
        columns: usize,
        /// One importance a column; empty: all 1.
        importance: &'a [f32],
        /// Out: the tensor.
        bytes: &'a mut [u8],
    },
    /// Moments, extremes and histogram; see `halftone_shaders::twin::statistics`.
    Statistics {
        /// The values.
        values: &'a [f32],
        /// Histogram range: bins over [−absmax, absmax].
        absmax: f32,
        /// Out: counts of the bins.
        histogram: &'a mut [u64],
        /// Out: Σx, Σx², Σx³, Σx⁴ of the finite values, then their count and the number of non-finite ones.
        sums: &'a mut [f64; 6],
    },
    /// tr(ΔHΔᵀ) by rows; see `halftone_shaders::twin::layer_error`.
    LayerError {
        /// Ŵ − W, rows of `columns`.
        difference: &'a [f32],
        /// Row length.
        columns: usize,
        /// H, `columns × columns`.
        hessian: &'a [f32],
        /// Out: one ΔHΔᵀ diagonal entry a row.
        row_errors: &'a mut [f32],
    },
    /// Rows times a rotation; see `halftone_shaders::twin::hadamard`.
    Rotate {
        /// Of rows of its size.
        rotation: &'a Rotation,
        /// The rows.
        rows: &'a [f32],
        /// Out: as many rows.
        turned: &'a mut [f32],
    },
    /// What is nearest to each level of a codebook; see `halftone_shaders::twin::lloyd_step`. Learned formats are not fitted by it: they do so
    /// on a histogram, on the CPU, whose levels are the same bits on every machine.
    LloydStep {
        /// Whole groups.
        values: &'a [f32],
        /// Columns of a group.
        group: usize,
        /// One a group, none negative.
        scales: &'a [f32],
        /// One a column, none negative; empty: all 1.
        importance: &'a [f32],
        /// 2, 4, 8 or 16, rising.
        levels: &'a [f32],
        /// Out: what each level got.
        tally: &'a mut Tally,
    },
}

impl KernelCall<'_> {
    /// The same call on the same operands, to be run first.
    fn again(&mut self) -> KernelCall<'_> {
        match self {
            Self::Encode { format, weights, columns, importance, bytes } => {
                KernelCall::Encode { format: *format, weights, columns: *columns, importance, bytes }
            }
            Self::Statistics { values, absmax, histogram, sums } => KernelCall::Statistics { values, absmax: *absmax, histogram, sums },
            Self::LayerError { difference, columns, hessian, row_errors } => KernelCall::LayerError { difference, columns: *columns, hessian, row_errors },
            Self::Rotate { rotation, rows, turned } => KernelCall::Rotate { rotation, rows, turned },
            Self::LloydStep { values, group, scales, importance, levels, tally } => {
                KernelCall::LloydStep { values, group: *group, scales, importance, levels, tally }
            }
        }
    }

    /// What it does, for a list of times.
    fn what(&self) -> String {
        match self {
            Self::Encode { format, .. } => format.to_string(),
            Self::Statistics { .. } => Kernel::Statistics.name().to_owned(),
            Self::LayerError { .. } => Kernel::LayerError.name().to_owned(),
            Self::Rotate { .. } => Kernel::Hadamard.name().to_owned(),
            Self::LloydStep { .. } => Kernel::LloydStep.name().to_owned(),
        }
    }

    /// Values that it works on.
    fn values(&self) -> usize {
        match self {
            Self::Encode { weights, .. } => weights.len(),
            Self::Statistics { values, .. } => values.len(),
            Self::LayerError { difference, .. } => difference.len(),
            Self::Rotate { rows, .. } => rows.len(),
            Self::LloydStep { values, .. } => values.len(),
        }
    }

    /// The kernel that a GPU runs for it.
    ///
    /// # Errors
    /// `Unsupported` for a format without one.
    pub fn kernel(&self) -> Result<Kernel> {
        match self {
            Self::Encode { format, .. } => {
                encoder(*format).map(|encoder| encoder.kernel).ok_or_else(|| Error::unsupported("encoding on the GPU", format!("{format} has no kernel")))
            }
            Self::Statistics { .. } => Ok(Kernel::Statistics),
            Self::LayerError { .. } => Ok(Kernel::LayerError),
            Self::Rotate { .. } => Ok(Kernel::Hadamard),
            Self::LloydStep { .. } => Ok(Kernel::LloydStep),
        }
    }
}

/// A device that runs kernels.
pub trait Backend: Send + Sync {
    /// What it is.
    fn capabilities(&self) -> &Capabilities;

    /// The device behind it, for work that stays there over many kernels; `None` on the CPU.
    fn gpu(&self) -> Option<&gpu::Gpu> {
        None
    }

    /// Whether products of activations with weights of `outputs × inputs` are for [`Self::gpu`]; of two devices, whether it is the faster.
    fn suits_products(&self, _outputs: usize, _inputs: usize) -> bool {
        true
    }

    /// Runs one kernel to its end.
    ///
    /// # Errors
    /// `Device` when the device failed, `Mismatch` for operands that do not fit, `Cancelled`.
    fn run(&self, call: KernelCall<'_>, cancel: &crate::job::CancelToken) -> Result<()>;
}

/// GPUs that are open, by the choice that meant them: pipelines and paces are worth keeping for the next job.
static OPEN: Mutex<Vec<(DeviceChoice, Arc<dyn Backend>)>> = Mutex::new(Vec::new());

/// Lets go of the GPU that a choice means: it has failed, and whoever asks next opens it anew.
pub fn forget(choice: &DeviceChoice) {
    OPEN.lock().retain(|(known, _)| known != choice);
}

/// The backend for a choice. `Auto` never takes a software adapter. A GPU stays open for the next one who asks.
///
/// # Errors
/// `Device` when an adapter was asked for by kind or name and there is none, and when one cannot be opened.
pub fn backend(choice: &DeviceChoice) -> Result<Arc<dyn Backend>> {
    if *choice == DeviceChoice::Cpu {
        return Ok(Arc::new(Cpu::default()));
    }
    let open = &mut *OPEN.lock();
    if let Some((_, gpu)) = open.iter().find(|(known, _)| known == choice) {
        return Ok(Arc::clone(gpu));
    }
    let backend: Arc<dyn Backend> = match gpu::Gpu::find(choice)? {
        None => Arc::new(Cpu::default()),
        Some(gpu) if *choice == DeviceChoice::Auto => Arc::new(Fastest::new(Arc::new(gpu), Arc::new(Cpu::default()))),
        Some(gpu) => Arc::new(gpu),
    };
    open.push((choice.clone(), Arc::clone(&backend)));
    Ok(backend)
}

/// Every device there is, the CPU first.
pub fn devices() -> Vec<Capabilities> {
    std::iter::once(Cpu::default().capabilities().clone()).chain(gpu::adapters()).collect()
}
