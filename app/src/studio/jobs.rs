//! The window's side of the worker: which jobs there are, how far, how fast, and what they said when they ended.

use halftone_core::UserMessage;
use halftone_core::compute::DeviceChoice;
use halftone_core::job::{DeviceUse, JobEvent, JobId, JobKind, Outcome, Product, Progress, Runner, TensorDone};
use halftone_core::report::Notice;
use std::time::Instant;

pub use halftone_core::job::Wake;

/// How far one stage of a job is, and since when.
#[derive(Clone, Copy, Debug)]
pub struct StageProgress {
    /// The last report.
    pub progress: Progress,
    started: Instant,
    ended: Option<Instant>,
    first_done: u64,
    /// What the GPU did in it; nothing on the CPU.
    pub device: DeviceWork,
}

/// What a GPU did in a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DeviceWork {
    /// Time that its kernels ran, seconds.
    pub secs: f64,
    /// Bytes that they had to read and write.
    pub bytes: f64,
    /// Arithmetic operations.
    pub operations: f64,
}

impl StageProgress {
    /// Done share, 0 … 1; `None` when the total is unknown.
    pub fn fraction(&self) -> Option<f32> {
        (self.progress.total > 0).then(|| self.progress.done as f32 / self.progress.total as f32)
    }

    /// Wall time of the stage so far, or altogether, seconds.
    pub fn elapsed_secs(&self) -> f64 {
        self.ended.map_or_else(|| self.started.elapsed(), |ended| ended - self.started).as_secs_f64()
    }

    /// Units a second since the stage began.
    pub fn rate(&self) -> Option<f64> {
        let secs = self.started.elapsed().as_secs_f64();
        let done = self.progress.done.saturating_sub(self.first_done);
        (secs > 0.2 && done > 0).then(|| done as f64 / secs)
    }

    /// Seconds to the end of the stage at this rate.
    pub fn remaining_secs(&self) -> Option<f64> {
        Some(self.progress.total.saturating_sub(self.progress.done) as f64 / self.rate()?)
    }
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq)]
pub enum JobState {
    /// Waiting for the one before it.
    Queued,
    /// At work.
    Running,
    /// Waiting for the user.
    Paused,
    /// Finished.
    Done,
    /// Stopped by the user.
    Cancelled,
    /// Failed.
    Failed(UserMessage),
}

/// One job of this session.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// Its name.
    pub label: &'static str,
    /// Done in a moment, and lost without harm: opening, reading weights.
    pub light: bool,
    /// How it stands.
    pub state: JobState,
    /// Its stages so far, in order.
    pub stages: Vec<StageProgress>,
    /// Tensors made durable, for the live error plot.
    pub tensors: Vec<TensorDone>,
    /// What did not go as asked.
    pub notices: Vec<Notice>,
    /// Wall time when it ended.
    pub elapsed_secs: Option<f64>,
    /// What the GPU has done so far; `None` on the CPU.
    pub device: Option<DeviceUse>,
}

impl Job {
    /// Whether it may still do something.
    pub fn active(&self) -> bool {
        matches!(self.state, JobState::Queued | JobState::Running | JobState::Paused)
    }

    /// The stage at work.
    pub fn stage(&self) -> Option<&StageProgress> {
        self.stages.last()
    }

    fn progress(&mut self, progress: Progress) {
        match self.stages.iter_mut().find(|s| s.progress.stage == progress.stage) {
            Some(stage) => stage.progress = progress,
            None => {
                let now = Instant::now();
                self.end_stage(now);
                let device = DeviceWork::default();
                self.stages.push(StageProgress { progress, started: now, ended: None, first_done: progress.done, device });
            }
        }
    }

    fn end_stage(&mut self, now: Instant) {
        if let Some(stage) = self.stages.last_mut() {
            stage.ended.get_or_insert(now);
        }
    }

    /// What the device did since the last time belongs to the stage at work.
    fn device(&mut self, used: DeviceUse) {
        let sum = |used: &DeviceUse| {
            used.kernels.iter().fold(DeviceWork::default(), |sum, kernel| DeviceWork {
                secs: sum.secs + kernel.seconds,
                bytes: sum.bytes + kernel.bytes as f64,
                operations: sum.operations + kernel.operations as f64,
            })
        };
        let (now, before) = (sum(&used), self.device.as_ref().map(sum).unwrap_or_default());
        if let Some(stage) = self.stages.last_mut() {
            stage.device.secs += now.secs - before.secs;
            stage.device.bytes += now.bytes - before.bytes;
            stage.device.operations += now.operations - before.operations;
        }
        self.device = Some(used);
    }
}

/// What the studio does about an event.
#[derive(Debug)]
pub enum News {
    /// Statistics of a tensor came in.
    Statistics(usize, Box<halftone_core::tensor::Statistics>),
    /// A row of the table is there, or learnt more.
    Row(Box<halftone_core::sensitivity::Row>),
    /// A job made something.
    Product(Product),
    /// A job failed.
    Failed(&'static str, UserMessage),
}

/// The runner and its jobs.
pub struct Jobs {
    wake: Wake,
    runner: Option<Runner>,
    list: Vec<Job>,
}

impl Jobs {
    /// `wake` is called from the worker when events are there. The worker starts with the first job.
    pub fn new(wake: Wake) -> Self {
        Self { wake, runner: None, list: Vec::new() }
    }

    /// Every job of this session, the oldest first.
    pub fn list(&self) -> &[Job] {
        &self.list
    }

    /// Queues a job.
    pub fn start(&mut self, kind: JobKind, device: DeviceChoice) -> JobId {
        let label = kind.label();
        let light = matches!(kind, JobKind::Open { .. } | JobKind::Statistics { .. });
        let runner = self.runner.get_or_insert_with(|| Runner::new(self.wake.clone()));
        let id = runner.start(kind, device);
        self.list.push(Job {
            id,
            label,
            light,
            state: JobState::Queued,
            stages: Vec::new(),
            tensors: Vec::new(),
            notices: Vec::new(),
            elapsed_secs: None,
            device: None,
        });
        id
    }

    /// Cancels a job.
    pub fn cancel(&mut self, id: JobId) {
        if let Some(runner) = &self.runner {
            runner.cancel(id);
        }
    }

    /// Cancels everything that runs or waits.
    pub fn cancel_all(&mut self) {
        let active: Vec<JobId> = self.list.iter().filter(|j| j.active()).map(|j| j.id).collect();
        active.into_iter().for_each(|id| self.cancel(id));
    }

    /// Pauses a job, or lets it go on.
    pub fn pause(&mut self, id: JobId, paused: bool) {
        if let Some(runner) = &self.runner {
            runner.pause(id, paused);
        }
        if let Some(job) = self.list.iter_mut().find(|j| j.id == id && j.active()) {
            job.state = if paused { JobState::Paused } else { JobState::Running };
        }
    }

    /// Takes the events that came in and says what they mean for the session.
    pub fn drain(&mut self) -> Vec<News> {
        let events = self.runner.as_ref().map(Runner::drain).unwrap_or_default();
        let mut news = Vec::new();
        for (id, event) in events {
            if let Some(job) = self.list.iter_mut().find(|j| j.id == id) {
                receive(job, event, &mut news);
            }
        }
        news
    }
}

fn receive(job: &mut Job, event: JobEvent, news: &mut Vec<News>) {
    match event {
        JobEvent::Started { .. } => job.state = JobState::Running,
        JobEvent::Progress(progress) => job.progress(progress),
        JobEvent::Statistics { index, statistics } => news.push(News::Statistics(index, statistics)),
        JobEvent::Row(row) => news.push(News::Row(row)),
        JobEvent::Tensor(done) => job.tensors.push(done),
        JobEvent::Device(used) => job.device(*used),
        JobEvent::Finished { outcome, notices, elapsed_secs } => {
            job.end_stage(Instant::now());
            job.notices = notices;
            job.elapsed_secs = Some(elapsed_secs);
            job.state = match outcome {
                Outcome::Done(product) => {
                    news.push(News::Product(product));
                    JobState::Done
                }
                Outcome::Cancelled => JobState::Cancelled,
                Outcome::Failed(message) => {
                    news.push(News::Failed(job.label, message.clone()));
                    JobState::Failed(message)
                }
            };
        }
    }
}
