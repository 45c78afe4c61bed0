//! Calibration text, how much of it, and the measurement.

use super::run;
use crate::studio::command::{Action, Command, Outbox};
use crate::studio::dialogs::Purpose;
use crate::studio::figures;
use crate::studio::settings::TextChoice;
use crate::studio::theme;
use crate::studio::view_model::ViewModel;
use crate::studio::widgets::buttons::{named_icon, primary_button};
use crate::studio::widgets::labels::{format_list, line, note, section, text_line};
use crate::studio::widgets::path_field::{join, path_field, split};
use egui::{DragValue, RichText, ScrollArea, Ui};
use egui_material_icons::icons as i;
use halftone_core::sensitivity::{MeasureOptions, Metric, PROBE_LENGTH, PROBE_SEQUENCES};

/// Draws the pane.
pub fn ui(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| {
        let settings = model.settings;
        section(ui, "Calibration text");
        if !model.session.can_run() {
            note(ui, "This architecture has no forward pass yet, so weights alone are measured");
        }
        ui.add_enabled_ui(model.session.can_run(), |ui| {
            if let Some(choice) = text_choice(&settings.calibration_text, "Weights alone, no text", Purpose::CalibrationText, ui, outbox) {
                outbox.push(Command::SetCalibrationText(choice));
            }
            ui.add_space(4.0);
            ui.horizontal(|ui| {
                let label = ui.label("Tokens");
                let mut tokens = settings.calibration.tokens;
                let enabled = settings.calibration_text != TextChoice::None;
                let field = ui.add_enabled(enabled, DragValue::new(&mut tokens).range(256..=1_048_576).speed(64.0));
                if field.labelled_by(label.id).changed() {
                    outbox.push(Command::SetCalibrationTokens(tokens));
                }
                note(ui, format!("in sequences of {}", settings.calibration.sequence_length));
            });
        });
        probe_choice(model, ui, outbox);
        section(ui, "Candidates");
        format_list(ui, MeasureOptions::default().formats.into_iter().map(|c| c.format));
        ui.add_space(12.0);
        primary_button(ui, model, Action::Measure, outbox);
        let running = model.jobs.iter().rfind(|j| matches!(j.label, "Calibrate" | "Measure"));
        if let Some(job) = running.filter(|j| j.active()) {
            section(ui, "Progress");
            run::progress(job, ui, outbox);
        }
        if let Some(table) = &model.session.table {
            measured(table, model, ui);
        }
    });
}

/// The switch of the probe, and what it costs.
fn probe_choice(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    let (settings, session) = (model.settings, model.session);
    section(ui, "Probe");
    let possible = session.can_run() && settings.calibration_text != TextChoice::None;
    let mut probe = settings.probe && possible;
    ui.add_enabled_ui(possible, |ui| {
        let hint = "Each tensor alone is replaced once by a candidate, and the KL of the model's output is measured";
        if ui.checkbox(&mut probe, "Measure each tensor's effect on the output").on_hover_text(hint).changed() {
            outbox.push(Command::SetProbe(probe));
        }
    });
    if !possible {
        note(ui, "It needs a calibration text and a model that runs");
        return;
    }
    let about = |work: f64| figures::rough_duration(settings.seconds(work));
    let tensors = session.source.as_ref().map_or(0, |s| s.tensors.iter().filter(|t| t.quantizable()).count());
    note(ui, format!("Predicts KL; {tensors} tensors on {PROBE_SEQUENCES} × {PROBE_LENGTH} tokens, about {}", about(session.probe_work)));
    let calibration = session.token_work * settings.calibration.tokens as f64;
    let guess = if settings.flops_per_sec.is_some() { "at the speed of the last calibration" } else { "a first guess" };
    note(ui, format!("Calibration about {}; {guess}", about(calibration)));
}

fn measured(table: &halftone_core::sensitivity::Table, model: &ViewModel<'_>, ui: &mut Ui) {
    section(ui, "What was measured");
    line(ui, "Tensors", &figures::Figure { value: table.rows.len().to_string(), unit: "" });
    line(ui, "Cells", &figures::Figure { value: table.rows.iter().map(|r| r.cells.len()).sum::<usize>().to_string(), unit: "" });
    if let Some(calibration) = &model.session.calibration {
        let tokens = calibration.tokens();
        line(ui, "Tokens run", &figures::count(tokens));
    }
    text_line(ui, "Best metric", table.best_metric().label());
    ui.add_space(4.0);
    note(ui, "Metrics");
    for metric in Metric::ALL {
        let there = table.rows.iter().all(|r| r.cells.iter().all(|c| c.metric(metric).is_some()));
        let tokens = theme::tokens(ui);
        let (mark, color) = if there { ("measured", *tokens.text) } else { ("not measured", *tokens.faint) };
        ui.horizontal(|ui| {
            ui.label(RichText::new(metric.label()).color(color));
            note(ui, mark);
        });
    }
}

/// Bundled text, files, or none.
pub fn text_choice(current: &TextChoice, none: &str, purpose: Purpose, ui: &mut Ui, outbox: &mut Outbox) -> Option<TextChoice> {
    let mut choice = None;
    if ui.radio(*current == TextChoice::Bundled, "Bundled stories").on_hover_text("Text of the kind the demo model was trained on").clicked() {
        choice = Some(TextChoice::Bundled);
    }
    ui.horizontal(|ui| {
        let files = matches!(current, TextChoice::Files(_));
        if ui.radio(files, "Text files…").clicked() {
            outbox.push(Command::Ask(purpose));
        }
        if let TextChoice::Files(paths) = current {
            let names: Vec<String> = paths.iter().filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned())).collect();
            note(ui, names.join(", "));
        }
    });
    ui.horizontal(|ui| {
        ui.add_space(20.0);
        let (name, browse) = match purpose {
            Purpose::HeldOutText => ("Path of the held-out text", "Choose held-out text files"),
            _ => ("Path of the calibration text", "Choose calibration text files"),
        };
        let paths = if let TextChoice::Files(paths) = current { join(paths) } else { String::new() };
        let width = (ui.available_width() - 36.0).clamp(120.0, 360.0);
        let typed = path_field(ui, name, Some(&paths), "Path; several with ; between", width);
        if typed.changed {
            let paths = split(&typed.text);
            choice = Some(if paths.is_empty() { TextChoice::Bundled } else { TextChoice::Files(paths) });
        }
        if named_icon(ui, i::ICON_FOLDER_OPEN, browse).clicked() {
            outbox.push(Command::Ask(purpose));
        }
    });
    if !none.is_empty() && ui.radio(*current == TextChoice::None, none).clicked() {
        choice = Some(TextChoice::None);
    }
    choice
}
