//! What every long function is given: whether to stop, where to report, how many threads.

use super::device::JobDevice;
use super::{JobEvent, Progress, Stage, TensorDone};
use crate::calibrate::DEFAULT_MEMORY;
use crate::compute::DeviceChoice;
use crate::error::{Error, Result};
use crate::report::Reporter;
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
    /// The device, once it was needed.
    pub(super) opened: Arc<JobDevice>,
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

    /// The same job on another device.
    #[must_use]
    pub fn on_device(&self, device: DeviceChoice) -> Self {
        Self { device, opened: Arc::default(), ..self.clone() }
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
        self.report_device();
    }

    /// Reports a finished tensor (for the live error plot).
    pub fn tensor_done(&self, done: TensorDone) {
        (self.sink)(JobEvent::Tensor(done));
    }
}

impl JobContext {
    /// Sends any other event.
    pub fn send(&self, event: JobEvent) {
        (self.sink)(event);
    }
}
