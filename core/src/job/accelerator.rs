//! The GPU of a job's forward passes, until it fails.

use super::device::JobDevice;
use crate::compute::DeviceChoice;
use crate::compute::gpu::Gpu;
use crate::error::{Error, Result};
use crate::report::{NoticeKind, Reporter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// A GPU, and whether it can still be relied on: after its first error the CPU does everything, which is told once.
pub struct Accelerator {
    gpu: Gpu,
    choice: DeviceChoice,
    failed: AtomicBool,
    job: Weak<JobDevice>,
    reporter: Reporter,
}

impl std::fmt::Debug for Accelerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accelerator").field("gpu", &self.gpu).field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl Accelerator {
    pub(super) fn new(gpu: &Gpu, choice: &DeviceChoice, job: &Arc<JobDevice>, reporter: &Reporter) -> Self {
        Self { gpu: gpu.clone(), choice: choice.clone(), failed: AtomicBool::new(false), job: Arc::downgrade(job), reporter: reporter.clone() }
    }

    /// The GPU, as long as it has not failed.
    pub fn gpu(&self) -> Option<&Gpu> {
        (!self.failed.load(Ordering::Acquire)).then_some(&self.gpu)
    }

    /// From now on the CPU does everything.
    pub(super) fn give_up(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Does something on the GPU. None when it fails, or has failed: then the CPU is to do it.
    ///
    /// # Errors
    /// What is not the device's fault.
    pub(crate) fn attempt<R>(&self, work: impl FnOnce(&Gpu) -> Result<R>) -> Result<Option<R>> {
        let Some(gpu) = self.gpu() else { return Ok(None) };
        match work(gpu) {
            Err(error @ Error::Device { .. }) => {
                // Another thread may have told it already.
                if !self.failed.swap(true, Ordering::AcqRel) {
                    self.reporter.notice(None, NoticeKind::DeviceFallback { reason: error.to_string() });
                    if let Some(job) = self.job.upgrade() {
                        job.give_up(&self.choice);
                    }
                }
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Tells that one piece of the work is done on the CPU; the same sentence is told once.
    pub(crate) fn tell_host(&self, what: &str) {
        self.reporter.notice(None, NoticeKind::DeviceFallback { reason: format!("{what}; the rest is done on {}", self.gpu.name()) });
    }

    /// Whether a buffer of the device holds so many tokens; where not, that is told.
    pub(crate) fn holds(&self, tokens: usize, channels: usize) -> bool {
        let most = self.gpu.rows_of(channels);
        if tokens > most {
            self.tell_host(&format!("a sequence of more than {most} tokens does not fit a buffer"));
        }
        tokens <= most
    }

    /// The error of something that was on the device when it failed.
    pub(crate) fn lost(&self, what: &str) -> Error {
        Error::Device { device: self.gpu.name().to_owned(), detail: format!("it failed while it had {what}") }
    }
}
