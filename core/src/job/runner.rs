//! One named background worker. The host hands it a wake-up call and drains events; it never waits for it.

use super::{JobEvent, JobId, JobKind};
use crate::compute::DeviceChoice;
use std::sync::Arc;

/// How the worker tells the host that events are there (the studio passes `request_repaint`).
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The worker's handle. Jobs run one after the other in the order they were started.
pub struct Runner {}

impl Runner {
    /// Starts the worker.
    pub fn new(wake: Wake) -> Self {
        let _ = wake;
        todo!("job room")
    }

    /// Queues a job.
    pub fn start(&self, kind: JobKind, device: DeviceChoice) -> JobId {
        let _ = (kind, device);
        todo!("job room")
    }

    /// Cancels a running or queued job.
    pub fn cancel(&self, id: JobId) {
        let _ = id;
        todo!("job room")
    }

    /// Pauses or resumes a job.
    pub fn pause(&self, id: JobId, paused: bool) {
        let _ = (id, paused);
        todo!("job room")
    }

    /// Events since the last call, in order, progress coalesced. Never blocks.
    pub fn drain(&self) -> Vec<(JobId, JobEvent)> {
        todo!("job room")
    }
}
