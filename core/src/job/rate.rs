//! How fast a stage goes and how long it will take.

use super::{Progress, Stage};
use std::time::Instant;

/// Time constant of the smoothing, seconds.
const SMOOTHING_SECS: f64 = 5.0;

/// Units per second, exponentially smoothed over the last seconds, from the progress of a job. Begins anew with each stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    last: Option<(Progress, Instant)>,
    per_second: Option<f64>,
}

impl Rate {
    /// Takes a progress that arrived at `now`.
    pub fn update(&mut self, progress: Progress, now: Instant) {
        match self.last {
            Some((last, then)) if last.stage == progress.stage && progress.done >= last.done => {
                let elapsed = now.saturating_duration_since(then).as_secs_f64();
                // Updates that come together are one: a rate over no time is none.
                if elapsed < 1e-3 {
                    return;
                }
                let rate = (progress.done - last.done) as f64 / elapsed;
                let keep = (-elapsed / SMOOTHING_SECS).exp();
                self.per_second = Some(self.per_second.map_or(rate, |old| keep * old + (1.0 - keep) * rate));
            }
            _ => self.per_second = None,
        }
        self.last = Some((progress, now));
    }

    /// Units per second; `None` until two updates of a stage have come.
    pub fn per_second(&self) -> Option<f64> {
        self.per_second
    }

    /// Seconds until the stage ends at this rate; `None` while nothing moves.
    pub fn seconds_left(&self) -> Option<f64> {
        let (Progress { done, total, .. }, _) = self.last?;
        self.per_second.filter(|rate| *rate > 0.0).map(|rate| total.saturating_sub(done) as f64 / rate)
    }

    /// The stage it measures.
    pub fn stage(&self) -> Option<Stage> {
        self.last.map(|(progress, _)| progress.stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(rate: &mut Rate, start: Instant, secs: f64, stage: Stage, done: u64) {
        rate.update(Progress { stage, done, total: 100 }, start + Duration::from_secs_f64(secs));
    }

    #[test]
    fn a_steady_stage_has_its_rate_and_the_time_that_is_left() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        for second in 0..=5u32 {
            at(&mut rate, start, second.into(), Stage::Quantize, 10 * u64::from(second));
        }
        assert!((rate.per_second().unwrap() - 10.0).abs() < 1e-9);
        assert!((rate.seconds_left().unwrap() - 5.0).abs() < 1e-9);
    }

    #[test]
    fn another_stage_begins_anew() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        at(&mut rate, start, 0.0, Stage::Quantize, 0);
        at(&mut rate, start, 1.0, Stage::Quantize, 50);
        at(&mut rate, start, 2.0, Stage::Export, 1);
        assert_eq!((rate.per_second(), rate.seconds_left(), rate.stage()), (None, None, Some(Stage::Export)));
    }

    #[test]
    fn a_slowdown_is_followed_within_the_smoothing() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        at(&mut rate, start, 0.0, Stage::Quantize, 0);
        at(&mut rate, start, 1.0, Stage::Quantize, 50);
        for second in 2..20u32 {
            at(&mut rate, start, second.into(), Stage::Quantize, 50 + u64::from(second));
        }
        let now = rate.per_second().unwrap();
        assert!(now < 3.0, "{now} after 18 s at 1 a second");
    }
}
