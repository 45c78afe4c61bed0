//! Progress on stderr: a bar with rate and time left on a terminal, one line a stage elsewhere.

use halftone_core::job::{JobEvent, Progress, Stage};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Draws the events of a job.
pub struct ProgressLine {
    quiet: bool,
    state: Mutex<Option<Running>>,
}

struct Running {
    stage: Stage,
    began: Instant,
    bar: ProgressBar,
}

impl ProgressLine {
    /// A silent one when `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, state: Mutex::new(None) }
    }

    /// Takes an event.
    pub fn event(&self, event: &JobEvent) {
        if let JobEvent::Progress(progress) = event
            && !self.quiet
        {
            self.progress(*progress);
        }
    }

    /// Ends the running stage's line.
    pub fn finish(&self) {
        if let Some(running) = self.state.lock().unwrap_or_else(PoisonError::into_inner).take() {
            running.end();
        }
    }

    fn progress(&self, progress: Progress) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.as_ref().is_none_or(|r| r.stage != progress.stage) {
            if let Some(running) = state.take() {
                running.end();
            }
            *state = Some(Running::begin(progress));
        }
        if let Some(running) = state.as_ref() {
            running.bar.set_length(progress.total);
            running.bar.set_position(progress.done);
        }
    }
}

impl Running {
    fn begin(progress: Progress) -> Self {
        let bar = ProgressBar::with_draw_target(Some(progress.total), ProgressDrawTarget::stderr_with_hz(10));
        let amount = if progress.stage.unit() == "B" { "{bytes}/{total_bytes} {bytes_per_sec}" } else { "{pos}/{len} {per_sec}" };
        let template = format!("{{msg:28}} {{wide_bar}} {amount} {{eta}} left");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.progress_chars("━━─"));
        }
        bar.set_message(progress.stage.label());
        Self { stage: progress.stage, began: Instant::now(), bar }
    }

    #[expect(clippy::print_stderr, reason = "progress belongs on stderr")]
    fn end(self) {
        self.bar.finish_and_clear();
        let line = format!("{:<28} {:.1} s", self.stage.label(), self.began.elapsed().as_secs_f64());
        if std::io::stderr().is_terminal() {
            self.bar.println(line);
        } else {
            eprintln!("{line}");
        }
    }
}
