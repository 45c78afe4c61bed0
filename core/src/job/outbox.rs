//! Events on their way from the worker to the host: a bounded queue in which a progress takes the place of the one before it.
//!
//! Invariants: what the host drains is in order, with at most one progress for each stage of a job, the last; the host is woken after
//! every event, but for progress alone at most 20 times a second, and always once more after the last. A queue behind a mutex rather than
//! a channel, because a channel cannot take back the progress that is out of date.

use super::{JobEvent, JobId};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How the worker tells the host that events are there (the studio passes `request_repaint`).
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Shortest time between two wake-ups for progress alone.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// Events that may wait for the host; beyond that the worker waits for it.
const WAITING_EVENTS: usize = 4096;

#[derive(Default)]
struct Queue {
    events: Mutex<(VecDeque<(JobId, JobEvent)>, HostGone)>,
    room: Condvar,
}

type HostGone = bool;

/// The worker's end. Cloning shares it.
#[derive(Clone)]
pub(super) struct Outbox {
    queue: Arc<Queue>,
    ticks: Sender<()>,
    wake: Wake,
}

/// The host's end; events go nowhere once it is dropped.
pub(super) struct Inbox(Arc<Queue>);

/// Wakes the host for progress until every outbox is gone.
pub(super) struct Ticker {
    due: Receiver<()>,
    wake: Wake,
}

/// Both ends, and what a thread of its own must run.
pub(super) fn outbox(wake: Wake) -> (Outbox, Inbox, Ticker) {
    let (ticks, due) = bounded(1);
    let queue = Arc::<Queue>::default();
    (Outbox { queue: Arc::clone(&queue), ticks, wake: Arc::clone(&wake) }, Inbox(queue), Ticker { due, wake })
}

impl Outbox {
    /// Delivers an event; waits while the host has too many.
    pub(super) fn send(&self, id: JobId, event: JobEvent) {
        let stage = if let JobEvent::Progress(progress) = &event { Some(progress.stage) } else { None };
        {
            let mut guard = self.queue.events.lock();
            self.queue.room.wait_while(&mut guard, |(events, host_gone)| events.len() >= WAITING_EVENTS && !*host_gone);
            let (events, host_gone) = &mut *guard;
            if *host_gone {
                return;
            }
            let outdated = |(of, e): &(JobId, JobEvent)| *of == id && matches!(e, JobEvent::Progress(p) if Some(p.stage) == stage);
            if let Some(at) = events.iter().rposition(outdated) {
                events.remove(at);
            }
            events.push_back((id, event));
        }
        if stage.is_none() {
            (self.wake)();
        } else {
            // A tick that is due already wakes the host for this progress too.
            let _ = self.ticks.try_send(());
        }
    }
}

impl Inbox {
    /// Everything that is there, in order.
    pub(super) fn drain(&self) -> Vec<(JobId, JobEvent)> {
        let events = std::mem::take(&mut self.0.events.lock().0);
        self.0.room.notify_all();
        events.into()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.0.events.lock().1 = true;
        self.0.room.notify_all();
    }
}

impl Ticker {
    /// Wakes the host when progress is due, with a pause after each time.
    pub(super) fn run(self) {
        for () in self.due {
            (self.wake)();
            std::thread::sleep(PROGRESS_INTERVAL);
        }
    }
}
