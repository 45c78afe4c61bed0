//! The GPU of a job's forward passes, until it fails.

use super::DeviceChoice;
use super::gpu::Gpu;
use crate::error::{Error, Result};
use crate::report::{NoticeKind, Reporter};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A GPU, and whether it can still be relied on: after its first error the CPU does everything, which is told once.
#[derive(Debug)]
pub struct Accelerator {
    gpu: Arc<Gpu>,
    failed: AtomicBool,
    reporter: Reporter,
}

/// What a job has opened, for the choice it was opened for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opened(Arc<Mutex<Option<(DeviceChoice, Option<Arc<Accelerator>>)>>>);

impl Opened {
    /// The accelerator that a choice means, opened once. None for the CPU, for `Auto` without hardware, and, which is told, for one that was
    /// asked for and cannot be had.
    pub(crate) fn get(&self, choice: &DeviceChoice, reporter: &Reporter) -> Option<Arc<Accelerator>> {
        let opened = &mut *self.0.lock();
        if let Some((_, there)) = opened.as_ref().filter(|(of, _)| of == choice) {
            return there.clone();
        }
        let there = Accelerator::open(choice, reporter);
        *opened = Some((choice.clone(), there.clone()));
        there
    }
}

impl Accelerator {
    fn open(choice: &DeviceChoice, reporter: &Reporter) -> Option<Arc<Self>> {
        if *choice == DeviceChoice::Cpu {
            return None;
        }
        match Gpu::open(choice) {
            Ok(gpu) => Some(Arc::new(Self { gpu: Arc::new(gpu), failed: AtomicBool::new(false), reporter: reporter.clone() })),
            Err(error) => {
                if *choice == DeviceChoice::Auto {
                    tracing::info!(%error, "forward passes on the CPU");
                } else {
                    reporter.notice(None, NoticeKind::DeviceFallback { reason: error.to_string() });
                }
                None
            }
        }
    }

    /// The GPU, as long as it has not failed.
    pub fn gpu(&self) -> Option<&Arc<Gpu>> {
        (!self.failed.load(Ordering::Acquire)).then_some(&self.gpu)
    }

    /// Does something on the GPU. None when it fails, or has failed: then the CPU is to do it.
    ///
    /// # Errors
    /// What is not the device's fault.
    pub(crate) fn attempt<R>(&self, work: impl FnOnce(&Arc<Gpu>) -> Result<R>) -> Result<Option<R>> {
        let Some(gpu) = self.gpu() else { return Ok(None) };
        match work(gpu) {
            Err(Error::Device { device, detail }) => {
                if !self.failed.swap(true, Ordering::AcqRel) {
                    self.reporter.notice(None, NoticeKind::DeviceFallback { reason: format!("{device}: {detail}") });
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

    /// The error of something that was on the device when it failed.
    pub(crate) fn lost(&self, what: &str) -> Error {
        Error::Device { device: self.gpu.name().to_owned(), detail: format!("it failed while it had {what}") }
    }
}
