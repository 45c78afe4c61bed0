//! One file a pane. A pane reads the view model, keeps only what concerns its look, and pushes commands.

mod allocate;
mod compare;
mod compare_text;
mod continuation;
mod correlation;
mod export;
mod frontier;
mod inspector;
mod log;
mod map;
mod measure;
mod memory;
mod model;
mod run;
mod search;
pub mod welcome;
mod why;

use super::command::Outbox;
use super::dock::Pane;
use super::view_model::ViewModel;
use egui::Ui;

/// The look of every pane.
#[derive(Default)]
pub struct Panes {
    model: model::ModelPane,
    map: map::MapPane,
    inspector: inspector::InspectorPane,
    allocate: allocate::AllocatePane,
    compare: compare::ComparePane,
}

impl Panes {
    /// As at the start, for another model.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Draws a pane.
    pub fn ui(&mut self, pane: Pane, model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
        match pane {
            Pane::Model => self.model.ui(model, ui, outbox),
            Pane::Map => self.map.ui(model, ui, outbox),
            Pane::Inspector => self.inspector.ui(model, ui, outbox),
            Pane::Measure => measure::ui(model, ui, outbox),
            Pane::Allocate => self.allocate.ui(model, ui, outbox),
            Pane::Run => run::ui(model, ui, outbox),
            Pane::Compare => self.compare.ui(model, ui, outbox),
            Pane::Export => export::ui(model, ui, outbox),
            Pane::Log => log::ui(model, ui, outbox),
        }
    }
}

/// A pane that has nothing to show yet says what to do.
fn empty(ui: &mut Ui, title: &str, hint: &str) {
    let tokens = super::theme::tokens(ui);
    ui.vertical_centered(|ui| {
        ui.add_space((ui.available_height() * 0.35).max(16.0));
        ui.label(egui::RichText::new(title).size(super::theme::HEADING).color(*tokens.dim));
        ui.label(egui::RichText::new(hint).color(*tokens.dim));
    });
}

/// Says that the recipe was edited since it was carried out.
fn stale_note(model: &ViewModel<'_>, ui: &mut Ui) {
    if model.session.stale() {
        let tokens = super::theme::tokens(ui);
        let text = "The recipe changed since; this is about the one that was quantized";
        ui.label(egui::RichText::new(text).size(super::theme::SMALL).color(*tokens.warn));
    }
}
