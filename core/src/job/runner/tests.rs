//! The worker seen from its host: order, cancel, panics, coalescing.

use super::*;
use crate::job::{Progress, Stage};
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

fn runner() -> (Runner, Receiver<()>, Arc<AtomicUsize>) {
    let (woken, wakes) = unbounded();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let wake = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        let _ = woken.send(());
    };
    (Runner::new(Arc::new(wake)), wakes, count)
}

/// Drains as a host does, only when it was woken, until this many jobs have finished.
fn events_until(runner: &Runner, wakes: &Receiver<()>, finished: usize) -> Vec<(JobId, JobEvent)> {
    let mut events = Vec::new();
    while events.iter().filter(|(_, e)| matches!(e, JobEvent::Finished { .. })).count() < finished {
        wakes.recv_timeout(Duration::from_secs(20)).expect("a wake-up before each event");
        events.extend(runner.drain());
    }
    events
}

fn nothing() -> Result<Product> {
    Ok(Product::Statistics(Arc::default()))
}

fn outcome(events: &[(JobId, JobEvent)], id: JobId) -> &Outcome {
    events.iter().find_map(|(of, e)| if let JobEvent::Finished { outcome, .. } = e { (*of == id).then_some(outcome) } else { None }).unwrap()
}

#[test]
fn events_come_in_order_and_jobs_one_after_the_other() {
    let (runner, wakes, _) = runner();
    let job = |cx: &JobContext| {
        for done in 0..=3 {
            cx.progress(Stage::Open, done, 3);
        }
        cx.progress(Stage::Export, 0, 1);
        nothing()
    };
    let ids = [runner.queue("a", DeviceChoice::Cpu, Box::new(job)), runner.queue("b", DeviceChoice::Cpu, Box::new(job))];
    let events = events_until(&runner, &wakes, 2);
    for id in ids {
        let own: Vec<_> = events.iter().filter(|(of, _)| *of == id).map(|(_, e)| e).collect();
        assert!(matches!(own[0], JobEvent::Started { .. }));
        assert!(matches!(own[own.len() - 1], JobEvent::Finished { outcome: Outcome::Done(_), .. }));
        let progress: Vec<_> = own.iter().filter_map(|e| if let JobEvent::Progress(p) = e { Some(*p) } else { None }).collect();
        assert!(progress.contains(&Progress { stage: Stage::Open, done: 3, total: 3 }), "the last of a stage is never lost");
        assert!(progress.is_sorted_by_key(|p| (p.stage == Stage::Export, p.done)));
    }
    assert!(events.is_sorted_by_key(|(id, _)| *id));
}

#[test]
fn progress_wakes_the_host_at_most_twenty_times_a_second() {
    let (runner, wakes, count) = runner();
    let job = |cx: &JobContext| {
        let start = Instant::now();
        let mut done = 0;
        while start.elapsed() < Duration::from_millis(300) {
            cx.progress(Stage::Measure, done, u64::MAX);
            done += 1;
        }
        nothing()
    };
    runner.queue("busy", DeviceChoice::Cpu, Box::new(job));
    events_until(&runner, &wakes, 1);
    // Started, at most 7 ticks in 0.3 s, the flushed last progress, Finished.
    assert!(count.load(Ordering::Relaxed) <= 10, "{} wake-ups", count.load(Ordering::Relaxed));
}

#[test]
fn a_cancelled_job_says_so_whether_it_ran_or_waited() {
    let (runner, wakes, _) = runner();
    let endless = |cx: &JobContext| -> Result<Product> {
        loop {
            cx.checkpoint()?;
        }
    };
    let running = runner.queue("endless", DeviceChoice::Cpu, Box::new(endless));
    let waiting = runner.queue("endless", DeviceChoice::Cpu, Box::new(endless));
    runner.pause(running, true);
    runner.cancel(waiting);
    runner.cancel(running);
    let events = events_until(&runner, &wakes, 2);
    assert!(matches!(outcome(&events, running), Outcome::Cancelled));
    assert!(matches!(outcome(&events, waiting), Outcome::Cancelled));
}

#[test]
fn a_panic_fails_its_job_and_the_next_one_runs() {
    let (runner, wakes, _) = runner();
    let bad = runner.queue("bad", DeviceChoice::Cpu, Box::new(|_| panic!("operands {}", 7)));
    let good = runner.queue("good", DeviceChoice::Cpu, Box::new(|_| nothing()));
    let events = events_until(&runner, &wakes, 2);
    assert!(matches!(outcome(&events, bad), Outcome::Failed(message) if message.details.contains("operands 7")));
    assert!(matches!(outcome(&events, good), Outcome::Done(_)));
}

#[test]
fn dropping_the_runner_ends_a_job_that_floods_a_host_that_does_not_listen() {
    let runner = Runner::new(Arc::new(|| {}));
    let flood = |cx: &JobContext| -> Result<Product> {
        loop {
            cx.send(JobEvent::Started { label: "again" });
            cx.checkpoint()?;
        }
    };
    runner.queue("flood", DeviceChoice::Cpu, Box::new(flood));
    std::thread::sleep(Duration::from_millis(50));
    drop(runner);
}
