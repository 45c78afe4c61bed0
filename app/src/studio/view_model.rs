//! What panes may read: an immutable view of the studio for the length of a frame. They answer with commands.

use super::background::TensorReport;
use super::jobs::Job;
use super::messages::Messages;
use super::selection::Selection;
use super::session::Session;
use super::settings::Settings;
use halftone_core::compute::Capabilities;
use halftone_core::job::Unfinished;
use std::sync::Arc;

/// The frame's view of everything.
#[derive(Clone, Copy)]
pub struct ViewModel<'a> {
    /// The opened model and all that was made of it.
    pub session: &'a Session,
    /// What is selected.
    pub selection: &'a Selection,
    /// The jobs of this session.
    pub jobs: &'a [Job],
    /// Remembered choices.
    pub settings: &'a Settings,
    /// What went wrong and what was told.
    pub messages: &'a Messages,
    /// Devices there are; empty until they have been looked for.
    pub devices: &'a [Capabilities],
    /// Jobs of earlier starts that can be gone on with.
    pub unfinished: &'a [Unfinished],
    /// The tensor under the inspector, once it has been looked at.
    pub report: Option<&'a Arc<TensorReport>>,
}

impl ViewModel<'_> {
    /// The job at work or waiting.
    pub fn active_job(&self) -> Option<&Job> {
        self.jobs.iter().find(|j| j.active())
    }

    /// Whether a job is at work that another one would have to wait long for. Opening and reading weights do not count.
    pub fn busy(&self) -> bool {
        self.jobs.iter().any(|j| j.active() && !j.light)
    }
}
