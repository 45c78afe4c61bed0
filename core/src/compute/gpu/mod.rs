//! The GPU backend: its own wgpu device, pipelines cached, work tiled by the adapter's limits.

use super::{Capabilities, DeviceChoice, KernelCall, Backend};
use crate::error::{Error, Result};
use crate::job::CancelToken;

/// A GPU.
#[derive(Debug)]
pub struct Gpu { capabilities: Capabilities }

impl Gpu {
    /// Opens.
    pub fn open(choice: &DeviceChoice) -> Result<Self> {
        Err(Error::Device { device: format!("{choice:?}"), detail: "not yet".to_owned() })
    }
}

impl Backend for Gpu {
    fn capabilities(&self) -> &Capabilities { &self.capabilities }
    fn run(&self, _call: KernelCall<'_>, _cancel: &CancelToken) -> Result<()> { Err(Error::Cancelled) }
}

/// Adapters.
pub fn adapters() -> Vec<Capabilities> { Vec::new() }
