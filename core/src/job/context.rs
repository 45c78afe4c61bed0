//! What every long function is given: whether to stop, where to report, how many threads.

use super::{JobEvent, Progress, Stage, TensorDone};
use crate::calibrate::DEFAULT_MEMORY;
use crate::compute::{Backend, Cpu, DeviceChoice, backend};
use crate::error::{Error, Result};
use crate::report::{NoticeKind, Reporter};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks running work to stop or to pause; shared by the worker and whoever holds it.
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    cancelled: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
}

impl CancelToken {
    /// Asks to stop; also wakes paused work.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.paused.store(false, Ordering::Release);
    }

    /// Asks to wait (true) or go on (false).
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    /// Whether stopping was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Whether waiting was asked for.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }
}

/// How much of what grows with the text a job may keep in memory, and where the rest goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scratch {
    /// Memory for the matrices of inputs and the activations between blocks, bytes.
    pub memory: u64,
    /// Folder of temporary files.
    pub folder: PathBuf,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { memory: DEFAULT_MEMORY, folder: std::env::temp_dir() }
    }
}

/// The surroundings of a job. Cloning shares everything.
#[derive(Clone)]
pub struct JobContext {
    /// Stop and pause.
    pub cancel: CancelToken,
    /// Partial problems.
    pub reporter: Reporter,
    /// Which device computes.
    pub device: DeviceChoice,
    /// Memory, and the folder for what is more.
    pub scratch: Scratch,
    /// The device, once it was needed, and the choice that it was opened for.
    opened: Arc<Mutex<Option<(DeviceChoice, Arc<dyn Backend>)>>>,
    /// Who listens to the events.
    pub sink: Arc<dyn Fn(JobEvent) + Send + Sync>,
}

impl std::fmt::Debug for JobContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobContext").field("device", &self.device).finish_non_exhaustive()
    }
}

impl JobContext {
    /// A context that sends its events to `sink`.
    pub fn new(device: DeviceChoice, sink: impl Fn(JobEvent) + Send + Sync + 'static) -> Self {
        Self {
            cancel: CancelToken::default(),
            reporter: Reporter::default(),
            device,
            scratch: Scratch::default(),
            opened: Arc::default(),
            sink: Arc::new(sink),
        }
    }

    /// A context nobody listens to, on the CPU.
    pub fn silent() -> Self {
        Self::new(DeviceChoice::Cpu, |_| {})
    }

    /// Stops here when cancelled; waits here while paused. Called between tensors, blocks and submits.
    ///
    /// # Errors
    /// `Cancelled`.
    pub fn checkpoint(&self) -> Result<()> {
        while self.cancel.is_paused() && !self.cancel.is_cancelled() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        if self.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Reports how far a stage is.
    pub fn progress(&self, stage: Stage, done: u64, total: u64) {
        (self.sink)(JobEvent::Progress(Progress { stage, done, total }));
    }

    /// Reports a finished tensor (for the live error plot).
    pub fn tensor_done(&self, done: TensorDone) {
        (self.sink)(JobEvent::Tensor(done));
    }
}

impl JobContext {
    /// The device that was asked for, opened at the first call; where it is not there, the CPU, which is told.
    pub fn backend(&self) -> Arc<dyn Backend> {
        let opened = &mut *self.opened.lock();
        if let Some((_, there)) = opened.as_ref().filter(|(choice, _)| *choice == self.device) {
            return Arc::clone(there);
        }
        let found = backend(&self.device).unwrap_or_else(|error| {
            self.reporter.notice(None, NoticeKind::DeviceFallback { reason: error.to_string() });
            Arc::new(Cpu::default())
        });
        *opened = Some((self.device.clone(), Arc::clone(&found)));
        found
    }

    /// Runs `work` on [`Self::backend`]. A device that fails is told, and the CPU does this and all that follows.
    ///
    /// # Errors
    /// What `work` says, of a failing device only when the CPU failed too.
    pub fn compute<R>(&self, mut work: impl FnMut(&dyn Backend) -> Result<R>) -> Result<R> {
        match work(&*self.backend()) {
            Err(error @ Error::Device { .. }) => {
                self.reporter.notice(None, NoticeKind::DeviceFallback { reason: error.to_string() });
                *self.opened.lock() = Some((self.device.clone(), Arc::new(Cpu::default())));
                work(&*self.backend())
            }
            other => other,
        }
    }

    /// Sends any other event.
    pub fn send(&self, event: JobEvent) {
        (self.sink)(event);
    }
}
