//! One named background worker. The host hands it a wake-up call and drains events; it never waits for it.
//!
//! Invariants: the events of a job come in order, `Started` first and `Finished` last, whatever happens in it, a panic included.
//! Dropping the runner cancels what runs and what waits, and joins its threads.

use super::outbox::{Inbox, Outbox, Wake, outbox};
use super::{CancelToken, JobContext, JobEvent, JobId, JobKind, Outcome, Product, run};
use crate::compute::DeviceChoice;
use crate::error::{Error, Result};
use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

/// What a job does; [`run`] of its kind, or a test's own.
type Work = Box<dyn FnOnce(&JobContext) -> Result<Product> + Send>;

type Tokens = Arc<Mutex<BTreeMap<JobId, CancelToken>>>;

struct Job {
    id: JobId,
    label: &'static str,
    device: DeviceChoice,
    cancel: CancelToken,
    work: Work,
}

/// The worker's handle. Jobs run one after the other in the order they were started.
pub struct Runner {
    next: AtomicU64,
    tokens: Tokens,
    // Options, so that dropping can let go of the channels before it joins.
    jobs: Option<Sender<Job>>,
    outbox: Option<Outbox>,
    inbox: Option<Inbox>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("jobs", &self.tokens.lock().len()).finish_non_exhaustive()
    }
}

impl Runner {
    /// Starts the worker.
    pub fn new(wake: Wake) -> Self {
        // Unbounded, so that starting a job never blocks the window; a person does not start many.
        let (jobs, queue) = unbounded();
        let (outbox, inbox, ticker) = outbox(wake);
        let tokens = Tokens::default();
        let worker = {
            let (outbox, tokens) = (outbox.clone(), Arc::clone(&tokens));
            spawn("halftone-worker", move || work(&queue, &outbox, &tokens))
        };
        let threads = [worker, spawn("halftone-wake", move || ticker.run())].into_iter().flatten().collect();
        Self { next: AtomicU64::new(1), tokens, jobs: Some(jobs), outbox: Some(outbox), inbox: Some(inbox), threads }
    }

    /// Queues a job.
    pub fn start(&self, kind: JobKind, device: DeviceChoice) -> JobId {
        self.queue(kind.label(), device, Box::new(move |cx| run(kind, cx)))
    }

    /// Cancels a running or queued job.
    pub fn cancel(&self, id: JobId) {
        if let Some(token) = self.tokens.lock().get(&id) {
            token.cancel();
        }
    }

    /// Pauses or resumes a job.
    pub fn pause(&self, id: JobId, paused: bool) {
        if let Some(token) = self.tokens.lock().get(&id) {
            token.pause(paused);
        }
    }

    /// Events since the last call, in order, progress coalesced. Never blocks.
    pub fn drain(&self) -> Vec<(JobId, JobEvent)> {
        self.inbox.as_ref().map(Inbox::drain).unwrap_or_default()
    }

    fn queue(&self, label: &'static str, device: DeviceChoice, work: Work) -> JobId {
        let id = JobId(self.next.fetch_add(1, Ordering::Relaxed));
        let cancel = CancelToken::default();
        self.tokens.lock().insert(id, cancel.clone());
        let job = Job { id, label, device, cancel, work };
        let queued = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if let (false, Some(outbox)) = (queued, &self.outbox) {
            let failed = Outcome::Failed(Error::Panic("the worker thread could not be started".to_owned()).user_message());
            outbox.send(id, JobEvent::Finished { outcome: failed, notices: Vec::new(), elapsed_secs: 0.0 });
        }
        id
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        for token in self.tokens.lock().values() {
            token.cancel();
        }
        // Without these the worker would wait for jobs, for room in the queue of events, and the ticker for ticks.
        drop((self.jobs.take(), self.inbox.take(), self.outbox.take()));
        for thread in self.threads.drain(..) {
            // A panic of a job was caught in `perform`; one outside it has nobody left to hear of it.
            let _ = thread.join();
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Option<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).inspect_err(|error| tracing::error!(name, %error, "no thread")).ok()
}

fn work(queue: &Receiver<Job>, outbox: &Outbox, tokens: &Tokens) {
    for job in queue {
        let id = job.id;
        let last = perform(job, outbox);
        tokens.lock().remove(&id);
        outbox.send(id, last);
    }
}

/// Runs a job and gives its last event.
fn perform(Job { id, label, device, cancel, work }: Job, outbox: &Outbox) -> JobEvent {
    let start = Instant::now();
    outbox.send(id, JobEvent::Started { label });
    let sink = outbox.clone();
    let mut cx = JobContext::new(device, move |event| sink.send(id, event));
    cx.cancel = cancel;
    // What a job shares with the host is atomics and its reporter's list, which a panic leaves whole.
    let result = catch_unwind(AssertUnwindSafe(|| cx.checkpoint().and_then(|()| work(&cx)))).unwrap_or_else(|panic| Err(Error::Panic(text_of(&*panic))));
    let outcome = match result {
        Ok(product) => Outcome::Done(product),
        Err(Error::Cancelled) => Outcome::Cancelled,
        Err(error) => Outcome::Failed(error.user_message()),
    };
    if let Some(used) = cx.device_use() {
        outbox.send(id, JobEvent::Device(Box::new(used)));
    }
    JobEvent::Finished { outcome, notices: cx.reporter.notices(), elapsed_secs: start.elapsed().as_secs_f64() }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests;
