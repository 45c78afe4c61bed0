//! What the device has done: calls, time, bytes and operations of each kernel.

use halftone_shaders::Kernel;
use parking_lot::Mutex;
use serde::Serialize;
use std::time::Duration;

/// What one kernel has done since the device was opened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelUse {
    /// Its name.
    pub kernel: &'static str,
    /// Dispatches.
    pub calls: u64,
    /// Time on the device, seconds.
    pub seconds: f64,
    /// Bytes that had to be read and written, each once.
    pub bytes: u64,
    /// Arithmetic operations.
    pub operations: u64,
}

impl KernelUse {
    /// What was done between `before` and `after`, without the kernels that did nothing.
    pub fn since(after: Vec<Self>, before: &[Self]) -> Vec<Self> {
        let without = |mut used: Self| {
            if let Some(old) = before.iter().find(|old| old.kernel == used.kernel) {
                used.calls -= old.calls;
                used.seconds -= old.seconds;
                used.bytes -= old.bytes;
                used.operations -= old.operations;
            }
            used
        };
        after.into_iter().map(without).filter(|used| used.calls > 0).collect()
    }
}

/// Counters of all kernels.
#[derive(Debug)]
pub(super) struct Meter(Mutex<Vec<KernelUse>>);

impl Default for Meter {
    fn default() -> Self {
        let none = |kernel: &Kernel| KernelUse { kernel: kernel.name(), calls: 0, seconds: 0.0, bytes: 0, operations: 0 };
        Self(Mutex::new(Kernel::ALL.iter().map(none).collect()))
    }
}

impl Meter {
    pub(super) fn add(&self, kernel: Kernel, elapsed: Duration, bytes: u64, operations: u64) {
        let used = &mut self.0.lock()[kernel as usize];
        used.calls += 1;
        used.seconds += elapsed.as_secs_f64();
        used.bytes += bytes;
        used.operations += operations;
    }

    /// The kernels that have run, in the order of the table.
    pub(super) fn used(&self) -> Vec<KernelUse> {
        self.0.lock().iter().filter(|used| used.calls > 0).cloned().collect()
    }
}
