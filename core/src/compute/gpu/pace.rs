//! How much work one submit gets. Drivers reset a GPU whose submit lasts seconds, and a user who cancels waits for the submit in
//! flight; so each is timed and the next is sized to last [`TARGET`], whatever the adapter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a submit should last.
const TARGET: Duration = Duration::from_millis(40);
/// A submit is at most this many times the one before: timings of small ones are mostly overhead.
const GROWTH: u64 = 4;

/// The pace of one kernel on one device, in whatever unit its work is counted.
#[derive(Debug)]
pub(super) struct Pace {
    next: AtomicU64,
}

impl Pace {
    /// Begins with submits of this much work.
    pub(super) fn new(first: u64) -> Self {
        Self { next: AtomicU64::new(first.max(1)) }
    }

    /// Work for the next submit.
    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Learns from what this kernel had of a submit.
    pub(super) fn record(&self, work: u64, elapsed: Duration) {
        let ratio = TARGET.as_secs_f64() / elapsed.as_secs_f64().max(1e-6);
        let grown = ((work as f64 * ratio).round() as u64).min(self.next().saturating_mul(GROWTH));
        // A short last tile says nothing against longer ones.
        let floor = if elapsed < TARGET { self.next() } else { 1 };
        self.next.store(grown.max(floor), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_submit_shrinks_the_next_and_a_quick_one_grows_it_fourfold_at_most() {
        let pace = Pace::new(1000);
        pace.record(1000, Duration::from_millis(400));
        assert_eq!(pace.next(), 100, "ten times too slow");
        pace.record(100, Duration::from_micros(1));
        assert_eq!(pace.next(), 400, "growth is bounded");
        pace.record(3, Duration::from_millis(1));
        assert_eq!(pace.next(), 400, "a short last tile does not shrink it");
        pace.record(40, Duration::from_millis(1));
        assert_eq!(pace.next(), 1600, "small parts of submits let it grow too");
    }
}
