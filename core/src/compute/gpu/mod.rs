//! The GPU backend: a wgpu device of its own (never the window's), pipelines compiled once, buffers kept. Work is cut into submits by
//! the binding limit and by time; cancel is looked at between them. A device must pass a self-test against the twins before it is used.

mod adapter;
mod device;
mod pace;
mod self_test;
mod tiles;

use super::{Backend, Capabilities, DeviceChoice, KernelCall, operands};
use crate::error::{Error, Result};
use crate::job::CancelToken;
use device::Device;
use pace::Pace;
use parking_lot::Mutex;

/// A GPU, by any of the APIs wgpu speaks.
pub struct Gpu {
    capabilities: Capabilities,
    device: Device,
    paces: Paces,
    /// One kernel at a time: a second one would only wait in the queue and spoil the first one's timing.
    turn: Mutex<()>,
}

/// The pace of each kernel, counted in weights, values and multiplications.
struct Paces {
    group_quantize: Pace,
    statistics: Pace,
    layer_error: Pace,
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
        let gpu = Self {
            capabilities: adapter::capabilities(&adapter),
            device: Device::open(&adapter)?,
            paces: Paces { group_quantize: Pace::new(1 << 15), statistics: Pace::new(1 << 18), layer_error: Pace::new(1 << 22) },
            turn: Mutex::new(()),
        };
        self_test::check(&gpu)?;
        tracing::info!(adapter = gpu.capabilities.name, "compute device opened");
        Ok(gpu)
    }

    /// How many submits it has made; for tests of tiling and cancelling.
    pub fn submits(&self) -> u64 {
        self.device.submits()
    }

    /// Gives the device back to the driver as if it were lost: every later run fails. For tests of what follows.
    pub fn lose(&self) {
        self.device.destroy();
    }
}

impl Backend for Gpu {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn run(&self, call: KernelCall<'_>, cancel: &CancelToken) -> Result<()> {
        operands::check(&call)?;
        let _turn = self.turn.lock();
        match call {
            KernelCall::GroupQuantize { weights, columns, importance, bits, group, symmetric, codes, scales, zeros } => {
                let scheme = halftone_shaders::twin::group_quantize::Scheme { bits, group, symmetric };
                tiles::group_quantize(self, weights, columns, importance, scheme, codes, scales, zeros, cancel)
            }
            KernelCall::Statistics { values, absmax, histogram, sums } => tiles::statistics(self, values, absmax, histogram, sums, cancel),
            KernelCall::LayerError { difference, columns, hessian, row_errors } => tiles::layer_error(self, difference, columns, hessian, row_errors, cancel),
        }
    }
}

/// Every adapter of this machine, hardware first.
pub fn adapters() -> Vec<Capabilities> {
    adapter::enumerate().iter().map(adapter::capabilities).collect()
}
