//! The empty window: open something.

use crate::studio::command::{Action, Command, Outbox};
use crate::studio::figures;
use crate::studio::theme::{self, BODY, SMALL, TITLE, Tokens};
use crate::studio::view_model::ViewModel;
use crate::studio::widgets::buttons::{icon, named_icon, primary_button};
use crate::studio::widgets::path_field::path_field;
use egui::{Align, Button, Layout, RichText, Sense, Ui, vec2};
use egui_material_icons::icons as i;
use halftone_core::job::Unfinished;

/// Unfinished jobs that are offered.
const SHOWN: usize = 4;

/// Draws the page.
pub fn ui(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    let tokens = theme::tokens(ui);
    const WIDTH: f32 = 440.0;
    // As high as what is on it, so that it stands in the middle.
    let height = 300.0 + 36.0 * model.unfinished.len().min(SHOWN) as f32 + 28.0 * model.settings.recent.len() as f32;
    let space = ui.available_rect_before_wrap();
    let column = egui::Rect::from_center_size(space.center() - vec2(0.0, 24.0), vec2(WIDTH, (space.height() - 48.0).min(height)));
    let mut page = ui.new_child(egui::UiBuilder::new().max_rect(column).layout(Layout::top_down(Align::LEFT)));
    let ui = &mut page;
    dots(ui, WIDTH);
    ui.add_space(16.0);
    ui.label(RichText::new("Halftone").size(TITLE).color(*tokens.text));
    ui.label(RichText::new("See where a model's bits matter, and leave out the rest").size(BODY).color(*tokens.dim));
    ui.add_space(24.0);
    if let Some(path) = &model.session.opening {
        ui.horizontal(|ui| {
            ui.spinner();
            ui.label(format!("Opening {}", figures::short_path(path, 48)));
        });
        ui.add_space(8.0);
    }
    ui.horizontal(|ui| {
        primary_button(ui, model, Action::OpenFile, outbox);
        for action in [Action::OpenFolder, Action::OpenDemo] {
            let spec = action.spec();
            let response = ui.add(Button::new((icon(spec.icon), spec.text)).min_size(vec2(0.0, 28.0)));
            if response.on_hover_text(spec.tooltip).clicked() {
                outbox.push(Command::Do(action));
            }
        }
    });
    ui.add_space(8.0);
    by_path(ui, outbox);
    ui.add_space(4.0);
    ui.label(RichText::new("or drop a GGUF file, a safetensors file or a model folder here").size(SMALL).color(*tokens.dim));
    unfinished(model, ui, outbox);
    if !model.settings.recent.is_empty() {
        ui.add_space(24.0);
        ui.label(RichText::new("Recent").size(SMALL).color(*tokens.dim));
        for path in &model.settings.recent {
            let name = path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
            let folder = path.parent().map(|p| figures::short_path(p, 44)).unwrap_or_default();
            let text = (RichText::new(name).color(*tokens.text), RichText::new(folder).size(SMALL).color(*tokens.dim));
            if ui.add(Button::new(text).frame_when_inactive(false)).on_hover_text(path.display().to_string()).clicked() {
                outbox.push(Command::Open(path.clone()));
            }
        }
    }
}

/// A model by its path or hub id.
fn by_path(ui: &mut Ui, outbox: &mut Outbox) {
    ui.horizontal(|ui| {
        let typed = path_field(ui, "Path of a model", None, "Path, or owner/name from the hub's cache", ui.available_width() - 64.0);
        let some = !typed.text.trim().is_empty();
        if (ui.add_enabled(some, Button::new("Open").min_size(vec2(52.0, 0.0))).clicked() || typed.entered) && some {
            outbox.push(Command::OpenTyped(typed.text));
        }
    });
}

/// Jobs of earlier starts.
fn unfinished(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    if model.unfinished.is_empty() {
        return;
    }
    let tokens = theme::tokens(ui);
    ui.add_space(24.0);
    ui.label(RichText::new("Unfinished").size(SMALL).color(*tokens.dim));
    for job in model.unfinished.iter().take(SHOWN) {
        ui.horizontal(|ui| {
            let name = job.model_path.file_name().map_or_else(|| job.model_path.display().to_string(), |n| n.to_string_lossy().into_owned());
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if job.busy {
                    ui.label(RichText::new("at work elsewhere").size(SMALL).color(*tokens.warn)).on_hover_text("A process still holds the job's folder");
                } else {
                    offer(job, ui, outbox);
                }
                ui.label(RichText::new(format!("{} of {} tensors", job.done, job.total)).size(SMALL).color(*tokens.dim));
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    ui.add(egui::Label::new(name).truncate()).on_hover_text(job.folder.display().to_string());
                });
            });
        });
    }
}

/// Going on with a job, or throwing it away.
fn offer(job: &Unfinished, ui: &mut Ui, outbox: &mut Outbox) {
    if named_icon(ui, i::ICON_DELETE, "Throw this job away").clicked() {
        outbox.push(Command::Discard(job.folder.clone()));
    }
    let response = ui.add(Button::new((icon(i::ICON_PLAY_ARROW), "Resume")));
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, "Resume the job"));
    if response.on_hover_text("Open the model and go on from the last finished tensor").clicked() {
        outbox.push(Command::Resume(job.clone()));
    }
}

/// Continuous tone from few levels: the program's name, drawn.
fn dots(ui: &mut Ui, width: f32) {
    const STEP: f32 = 11.0;
    const ROWS: usize = 4;
    let (rect, _) = ui.allocate_exact_size(vec2(width, ROWS as f32 * STEP), Sense::hover());
    let tokens = theme::tokens(ui);
    let columns = (width / STEP) as usize;
    for row in 0..ROWS {
        for column in 0..columns {
            let t = column as f32 / columns as f32;
            let stagger = if row % 2 == 0 { 0.0 } else { STEP / 2.0 };
            let center = rect.min + vec2(column as f32 * STEP + stagger + 4.0, row as f32 * STEP + STEP / 2.0);
            let radius = 0.6 + 3.8 * (1.0 - t).powf(1.4);
            ui.painter().circle_filled(center, radius, Tokens::blend(*tokens.accent, *tokens.faint, t));
        }
    }
}
