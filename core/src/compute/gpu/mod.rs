//! The GPU backend: a wgpu device of its own (never the window's), pipelines compiled once, buffers kept. Work is cut into submits by
//! the binding limit and by time; cancel is looked at between them. Each kernel must pass a self-test against its twin before it is used.

mod adapter;
mod encode;
pub(crate) mod engine;
mod feedback;
pub mod forward;
mod layer_error;
mod lloyd_step;
mod meter;
mod pace;
mod peaks;
mod pipeline;
mod pool;
mod self_test;
mod statistics;
mod stopwatch;
mod tiles;

use super::{Backend, Capabilities, DeviceChoice, KernelCall, operands};
use crate::error::{Error, Result};
use crate::job::CancelToken;
use engine::{Dispatch, Engine, Memory};
use halftone_shaders::{Extensions, Kernel};
use std::sync::{Arc, OnceLock};

pub(crate) use feedback::{Feedback, Levels};
pub use meter::KernelUse;
pub use peaks::Peaks;

/// A GPU, by any of the APIs wgpu speaks. Clones are the same one.
#[derive(Clone)]
pub struct Gpu {
    capabilities: Arc<Capabilities>,
    engine: Arc<Engine>,
    /// What the self-test said of each kernel, once it was used.
    tested: Arc<[OnceLock<std::result::Result<(), String>>]>,
}

/// How much is used of an adapter, for tests of what devices with less do.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// What it has beyond the least.
    pub extensions: Extensions,
    /// Bytes of a binding.
    pub binding_bytes: u64,
}

impl Default for Most {
    fn default() -> Self {
        Self { extensions: Extensions::ALL, binding_bytes: adapter::MAX_BINDING_BYTES }
    }
}

/// What is bound to a kernel in [`Gpu::run_once`].
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// Bytes that it reads.
    Input(&'a [u8]),
    /// Bytes that it changes.
    Changed(&'a [u8]),
    /// So many zeros, for it to write.
    Output(usize),
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
    /// Opens the adapter that a choice means; none for `Cpu`, and for `Auto` without hardware. Each kernel is tested when it is first used.
    ///
    /// # Errors
    /// `Device` when one was asked for that there is not, or when it cannot be opened.
    pub fn find(choice: &DeviceChoice) -> Result<Option<Self>> {
        adapter::choose(choice, adapter::enumerate())?.map(|adapter| Self::on(&adapter, &Most::default())).transpose()
    }

    /// As [`Self::find`], where there must be one.
    ///
    /// # Errors
    /// As [`Self::find`], and `Device` when there is none.
    pub fn open(choice: &DeviceChoice) -> Result<Self> {
        Self::open_with(choice, &Most::default())
    }

    /// As [`Self::open`], using this much of the adapter at most.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(choice: &DeviceChoice, most: &Most) -> Result<Self> {
        let none = || Error::Device { device: "gpu".to_owned(), detail: "there is no hardware adapter".to_owned() };
        Self::on(&adapter::choose(choice, adapter::enumerate())?.ok_or_else(none)?, most)
    }

    fn on(adapter: &wgpu::Adapter, most: &Most) -> Result<Self> {
        let mut capabilities = adapter::capabilities(adapter);
        capabilities.max_binding_bytes = capabilities.max_binding_bytes.min(most.binding_bytes);
        let tested = Kernel::ALL.iter().map(|_| OnceLock::new()).collect();
        let there = adapter::extensions(adapter);
        let used = Extensions { subgroups: there.subgroups && most.extensions.subgroups, halves: there.halves && most.extensions.halves };
        capabilities.extensions = adapter::names(used);
        let engine = Engine::open(adapter, capabilities.max_binding_bytes, used)?;
        let gpu = Self { engine: Arc::new(engine), tested, capabilities: Arc::new(capabilities) };
        tracing::info!(adapter = gpu.capabilities.name, "compute device opened");
        Ok(gpu)
    }

    /// The adapter's name.
    pub fn name(&self) -> &str {
        &self.capabilities.name
    }

    /// Tests a kernel, the first time; without the device's extensions where it is wrong with them.
    ///
    /// # Errors
    /// `Device` when it computes wrong numbers.
    pub(crate) fn trust(&self, kernel: Kernel) -> Result<()> {
        let verdict = self.tested[kernel as usize].get_or_init(|| {
            let mut result = self_test::check(self, kernel);
            if let Err(error) = &result
                && self.engine.pipelines().simplify(kernel)
            {
                tracing::warn!(kernel = kernel.name(), %error, "goes without extensions");
                result = self_test::check(self, kernel);
            }
            match result {
                Err(Error::Device { detail, .. }) => Err(detail),
                other => other.map_err(|error| error.to_string()),
            }
        });
        verdict.as_ref().map_err(|detail| self.engine.error(detail)).copied()
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

    /// Measures what it can do at best.
    ///
    /// # Errors
    /// `Device`.
    pub fn peaks(&self) -> Result<Peaks> {
        peaks::measure(&self.engine, self.capabilities.is_software)
    }

    /// Waits for all its work, so that [`Self::used`] counts it.
    ///
    /// # Errors
    /// `Device`.
    pub fn finish(&self) -> Result<()> {
        self.engine.finish()
    }

    /// One dispatch of any kernel, for tests and benches: what it wrote, in the order of its bindings (in whole 16 bytes).
    ///
    /// # Errors
    /// `Device`.
    pub fn run_once(&self, kernel: Kernel, params: &[u8], operands: &[Operand<'_>], workgroups: [u32; 3]) -> Result<Vec<Vec<u8>>> {
        let engine = &self.engine;
        let bound = |operand: &Operand<'_>| match *operand {
            Operand::Input(bytes) | Operand::Changed(bytes) => engine.upload(bytes),
            Operand::Output(bytes) => engine.zeroed(bytes as u64),
        };
        let memories: Vec<Memory> = operands.iter().map(bound).collect::<Result<_>>()?;
        let all: Vec<&Memory> = memories.iter().collect();
        engine.dispatch(Dispatch { kernel, params, memories: &all, workgroups, work: 1, bytes: 0, operations: 0 })?;
        let written: Vec<&Memory> = memories.iter().zip(operands).filter(|(_, o)| !matches!(o, Operand::Input(_))).map(|(memory, _)| memory).collect();
        engine.read(&written)?.wait()
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

    fn gpu(&self) -> Option<&Self> {
        Some(self)
    }

    fn run(&self, call: KernelCall<'_>, cancel: &CancelToken) -> Result<()> {
        operands::check(&call)?;
        self.trust(call.kernel()?)?;
        self.run_untested(call, cancel)
    }
}

impl Gpu {
    fn run_untested(&self, call: KernelCall<'_>, cancel: &CancelToken) -> Result<()> {
        let engine = &self.engine;
        match call {
            KernelCall::Encode { format, weights, columns, importance, bytes } => encode::run(engine, format, weights, columns, importance, bytes, cancel),
            KernelCall::Statistics { values, absmax, histogram, sums } => statistics::run(engine, values, absmax, histogram, sums, cancel),
            KernelCall::LayerError { difference, columns, hessian, row_errors } => layer_error::run(engine, difference, columns, hessian, row_errors, cancel),
            KernelCall::Rotate { rotation, rows, turned } => forward::rotate(self, rotation, rows, turned, cancel),
            KernelCall::LloydStep { values, group, scales, importance, levels, tally } => {
                *tally = lloyd_step::run(engine, &lloyd_step::Weights { values, group, scales, importance }, levels, cancel)?;
                Ok(())
            }
        }
    }
}

/// Every adapter of this machine, hardware first.
pub fn adapters() -> Vec<Capabilities> {
    adapter::enumerate().iter().map(adapter::capabilities).collect()
}
