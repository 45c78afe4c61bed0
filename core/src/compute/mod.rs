//! Devices. Kernels are data: a [`KernelCall`] names a kernel, its parameters and its buffers; a [`Backend`] runs it. The CPU
//! backend calls the twins of `halftone-shaders`; the GPU backend owns a wgpu device of its own, never the window's.

mod cpu;
mod encode;
pub mod gpu;
mod operands;
mod threads;

use crate::codec::Format;
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub use cpu::Cpu;
pub(crate) use encode::encoder;
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
}

/// A device that runs kernels.
pub trait Backend: Send + Sync {
    /// What it is.
    fn capabilities(&self) -> &Capabilities;

    /// Runs one kernel to its end.
    ///
    /// # Errors
    /// `Device` when the device failed, `Mismatch` for operands that do not fit, `Cancelled`.
    fn run(&self, call: KernelCall<'_>, cancel: &crate::job::CancelToken) -> Result<()>;
}

/// The backend for a choice. `Auto` never takes a software adapter.
///
/// # Errors
/// `Device` when an adapter was asked for by kind or name and there is none.
pub fn backend(choice: &DeviceChoice) -> Result<Arc<dyn Backend>> {
    if *choice == DeviceChoice::Cpu {
        return Ok(Arc::new(Cpu::default()));
    }
    match gpu::Gpu::open(choice) {
        Ok(gpu) => Ok(Arc::new(gpu)),
        Err(error) if *choice == DeviceChoice::Auto => {
            tracing::info!(%error, "computing on the CPU");
            Ok(Arc::new(Cpu::default()))
        }
        Err(error) => Err(error),
    }
}

/// Every device there is, the CPU first.
pub fn devices() -> Vec<Capabilities> {
    std::iter::once(Cpu::default().capabilities().clone()).chain(gpu::adapters()).collect()
}
