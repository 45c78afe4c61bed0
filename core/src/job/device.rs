//! The device of a job: opened when first needed, replaced by the CPU when it fails, and what it has done so far.

use super::{Accelerator, JobContext, JobEvent};
use crate::compute::gpu::KernelUse;
use crate::compute::{Backend, Cpu, DeviceChoice, backend, forget};
use crate::error::{Error, Result};
use crate::report::NoticeKind;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two reports of what the device has done.
const REPORT: Duration = Duration::from_millis(250);

/// What a job's device has done so far.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceUse {
    /// The device's name.
    pub device: String,
    /// Whether times are the device's own; else they are shared out of whole submits.
    pub timestamps: bool,
    /// Kernel by kernel, since the job began to use it.
    pub kernels: Vec<KernelUse>,
}

/// A device in use.
struct Opened {
    choice: DeviceChoice,
    backend: Arc<dyn Backend>,
    /// For forward passes, once there was one.
    accelerator: Option<Arc<Accelerator>>,
    /// What it had done before.
    before: Vec<KernelUse>,
    told: Instant,
}

/// What contexts of one job share.
#[derive(Default)]
pub(super) struct JobDevice(Mutex<Option<Opened>>);

impl Opened {
    fn new(choice: &DeviceChoice, backend: Arc<dyn Backend>) -> Self {
        let before = backend.gpu().map(|gpu| gpu.used()).unwrap_or_default();
        Self { choice: choice.clone(), backend, accelerator: None, before, told: Instant::now() }
    }

    fn used(&self) -> Option<DeviceUse> {
        let gpu = self.backend.gpu()?;
        let kernels = KernelUse::since(gpu.used(), &self.before);
        (!kernels.is_empty()).then(|| DeviceUse { device: self.backend.capabilities().name.clone(), timestamps: gpu.has_timestamps(), kernels })
    }
}

impl JobDevice {
    /// The device that a choice means has failed: the CPU does all that follows.
    pub(super) fn give_up(&self, choice: &DeviceChoice) {
        forget(choice);
        let before = self.0.lock().replace(Opened::new(choice, Arc::new(Cpu::default())));
        if let Some(accelerator) = before.and_then(|opened| opened.accelerator) {
            accelerator.give_up();
        }
    }
}

impl JobContext {
    /// The GPU for forward passes that the device means; None when the CPU is to do them.
    pub fn accelerator(&self) -> Option<Arc<Accelerator>> {
        self.backend();
        let opened = &mut *self.opened.0.lock();
        let opened = opened.as_mut()?;
        let Opened { choice, backend, accelerator, .. } = opened;
        let gpu = backend.gpu()?;
        Some(Arc::clone(accelerator.get_or_insert_with(|| Arc::new(Accelerator::new(gpu, choice, &self.opened, &self.reporter)))))
    }

    /// The device that was asked for, opened at the first call; where it is not there, the CPU, which is told.
    pub fn backend(&self) -> Arc<dyn Backend> {
        let opened = &mut *self.opened.0.lock();
        if let Some(there) = opened.as_ref().filter(|there| there.choice == self.device) {
            return Arc::clone(&there.backend);
        }
        let found = backend(&self.device).unwrap_or_else(|error| {
            self.reporter.notice(None, NoticeKind::DeviceFallback { reason: error.to_string() });
            Arc::new(Cpu::default())
        });
        *opened = Some(Opened::new(&self.device, Arc::clone(&found)));
        found
    }

    /// Lets this be the device that was asked for, for tests.
    pub fn use_backend(&self, backend: Arc<dyn Backend>) {
        *self.opened.0.lock() = Some(Opened::new(&self.device, backend));
    }

    /// Runs `work` on [`Self::backend`]. A device that fails is a notice, and the CPU does this and all that follows.
    ///
    /// # Errors
    /// What `work` says; of a failing device only when the CPU failed too.
    pub fn compute<R>(&self, mut work: impl FnMut(&dyn Backend) -> Result<R>, notices: &mut Vec<NoticeKind>) -> Result<R> {
        match work(&*self.backend()) {
            Err(error @ Error::Device { .. }) => {
                notices.push(NoticeKind::DeviceFallback { reason: error.to_string() });
                self.opened.give_up(&self.device);
                work(&*self.backend())
            }
            other => other,
        }
    }

    /// What the device has done in this job so far; `None` on the CPU.
    pub fn device_use(&self) -> Option<DeviceUse> {
        self.opened.0.lock().as_ref().and_then(Opened::used)
    }

    /// Sends what the device has done, unless that was sent a moment ago.
    pub(super) fn report_device(&self) {
        let used = {
            let opened = &mut *self.opened.0.lock();
            let Some(there) = opened.as_mut().filter(|there| there.told.elapsed() >= REPORT) else { return };
            there.told = Instant::now();
            there.used()
        };
        if let Some(used) = used {
            self.send(JobEvent::Device(Box::new(used)));
        }
    }
}
