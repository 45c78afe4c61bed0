//! What runs, what ran, and what was said.

use super::empty;
use crate::studio::command::Outbox;
use crate::studio::figures;
use crate::studio::jobs::{Job, JobState};
use crate::studio::overlays;
use crate::studio::theme::{self, SMALL};
use crate::studio::view_model::ViewModel;
use crate::studio::widgets::labels::{note, section};
use egui::{Align, Layout, RichText, ScrollArea, Ui};

/// Draws the pane.
pub fn ui(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    if model.jobs.is_empty() && model.messages.all().is_empty() {
        empty(ui, "Nothing ran yet", "Jobs and messages are kept here");
        return;
    }
    ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| {
        section(ui, "Jobs");
        for job in model.jobs.iter().rev() {
            row(job, ui);
        }
        section(ui, "Messages");
        if model.messages.all().is_empty() {
            note(ui, "None");
        }
        for message in model.messages.all().iter().rev().take(200) {
            overlays::body(message, ui, outbox, |ui, _| drop(note(ui, message.origin)));
        }
    });
}

fn row(job: &Job, ui: &mut Ui) {
    let tokens = theme::tokens(ui);
    let (text, color) = match &job.state {
        JobState::Queued => ("waiting".to_owned(), *tokens.dim),
        JobState::Paused => ("paused".to_owned(), *tokens.warn),
        JobState::Running => (job.stage().and_then(|s| s.fraction()).map_or("running".to_owned(), |f| format!("{:.0} %", f * 100.0)), *tokens.accent),
        JobState::Done => ("done".to_owned(), *tokens.good),
        JobState::Cancelled => ("cancelled".to_owned(), *tokens.warn),
        JobState::Failed(message) => (message.summary.clone(), *tokens.bad),
    };
    ui.horizontal(|ui| {
        ui.label(job.label);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if let Some(secs) = job.elapsed_secs {
                note(ui, figures::duration(secs).to_string());
            }
            ui.label(RichText::new(text).size(SMALL).color(color));
            if !job.notices.is_empty() {
                note(ui, format!("{} notices", job.notices.len())).on_hover_ui(|ui| {
                    for notice in job.notices.iter().take(20) {
                        ui.label(notice.to_string());
                    }
                });
            }
        });
    });
}
