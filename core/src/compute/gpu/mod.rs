//! The GPU backend: a wgpu device of its own (never the window's), pipelines compiled once, buffers kept. Work is cut into submits by
//! the binding limit and by time; cancel is looked at between them. A device must pass a self-test against the twins before it is used.

mod adapter;
mod encode;
pub(crate) mod engine;
mod layer_error;
mod meter;
mod pace;
mod pool;
mod self_test;
mod statistics;
mod stopwatch;
mod tiles;

use super::{Backend, Capabilities, DeviceChoice, KernelCall, operands};
use crate::error::{Error, Result};
use crate::job::CancelToken;
use engine::Engine;

pub use meter::KernelUse;

/// A GPU, by any of the APIs wgpu speaks.
pub struct Gpu {
    capabilities: Capabilities,
    engine: Engine,
}

/// What can go wrong with a device, for tests of what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The driver takes the device away; everything later fails.
    Lost,
    /// There is no memory left for a buffer.
    OutOfMemory,
    /// A command is refused.
    Validation,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu").field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}

impl Gpu {
    /// Opens the adapter that a choice means and tests it.
    ///
    /// # Errors
    /// `Device` when there is none (for `Auto`: no hardware), when it cannot be opened, or when it computes wrong numbers.
    pub fn open(choice: &DeviceChoice) -> Result<Self> {
        let none = || Error::Device { device: "gpu".to_owned(), detail: "there is no hardware adapter".to_owned() };
        let adapter = adapter::choose(choice, adapter::enumerate())?.ok_or_else(none)?;
        let capabilities = adapter::capabilities(&adapter);
        let gpu = Self { engine: Engine::open(&adapter, capabilities.max_binding_bytes)?, capabilities };
        self_test::check(&gpu)?;
        tracing::info!(adapter = gpu.capabilities.name, "compute device opened");
        Ok(gpu)
    }

    /// How many submits it has made; for tests of tiling and cancelling.
    pub fn submits(&self) -> u64 {
        self.engine.submits()
    }

    /// What each kernel has done since the device was opened.
    pub fn used(&self) -> Vec<KernelUse> {
        self.engine.used()
    }

    /// Whether the times of [`Self::used`] are the device's own; else they are shared out of whole submits.
    pub fn has_timestamps(&self) -> bool {
        self.engine.has_timestamps()
    }

    /// Makes something go wrong, for tests of what follows.
    pub fn fail(&self, fault: Fault) {
        let source = || Box::new(std::io::Error::other("injected"));
        match fault {
            Fault::Lost => self.engine.destroy(),
            Fault::OutOfMemory => self.engine.raise(&wgpu::Error::OutOfMemory { source: source() }),
            Fault::Validation => self.engine.raise(&wgpu::Error::Validation { source: source(), description: "injected".to_owned() }),
        }
    }
}

impl Backend for Gpu {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn run(&self, call: KernelCall<'_>, cancel: &CancelToken) -> Result<()> {
        operands::check(&call)?;
        let engine = &self.engine;
        match call {
            KernelCall::Encode { format, weights, columns, importance, bytes } => encode::run(engine, format, weights, columns, importance, bytes, cancel),
            KernelCall::Statistics { values, absmax, histogram, sums } => statistics::run(engine, values, absmax, histogram, sums, cancel),
            KernelCall::LayerError { difference, columns, hessian, row_errors } => layer_error::run(engine, difference, columns, hessian, row_errors, cancel),
        }
    }
}

/// Every adapter of this machine, hardware first.
pub fn adapters() -> Vec<Capabilities> {
    adapter::enumerate().iter().map(adapter::capabilities).collect()
}
