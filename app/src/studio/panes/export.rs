//! Targets with a verdict each, writing, and what was checked.

use super::stale_note;
use crate::studio::command::{Action, Command, Outbox};
use crate::studio::dialogs::Purpose;
use crate::studio::figures;
use crate::studio::theme::{self, BODY};
use crate::studio::view_model::ViewModel;
use crate::studio::widgets::buttons::{named_icon, primary_button};
use crate::studio::widgets::labels::{line, note, section, text_line};
use crate::studio::widgets::path_field::path_field;
use egui::{RichText, ScrollArea, Ui};
use egui_material_icons::icons as i;
use halftone_core::export::{ExportFormat, Exported};

/// Draws the pane.
pub fn ui(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| {
        section(ui, "Targets");
        let chosen = model.session.export_format.unwrap_or(ExportFormat::Gguf);
        if model.session.verdicts.is_empty() {
            note(ui, "Verdicts come with the first allocation");
        }
        for (format, verdict) in &model.session.verdicts {
            target(*format, verdict, *format == chosen, ui, outbox);
        }
        place(model, ui, outbox);
        ui.add_space(8.0);
        primary_button(ui, model, Action::Write, outbox);
        occupied(model, ui, outbox);
        stale_note(model, ui);
        if let Some(exported) = &model.session.exported {
            written(exported, ui, outbox);
        }
    });
}

/// Where the file goes.
fn place(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    if model.session.source.is_none() {
        return;
    }
    section(ui, "Write to");
    ui.horizontal(|ui| {
        let path = model.session.path_to_export();
        let width = (ui.available_width() - 36.0).max(120.0);
        let typed = path_field(ui, "Path of the export", Some(&path), "Path of the file to write", width);
        if typed.changed {
            outbox.push(Command::SetExportPath(typed.text));
        }
        if typed.entered {
            outbox.push(Command::Do(Action::Write));
        }
        typed.response.on_hover_text(path);
        if named_icon(ui, i::ICON_FOLDER_OPEN, "Choose where to write").clicked() {
            outbox.push(Command::Ask(Purpose::ExportPlace));
        }
    });
    note(ui, "A bare name goes beside the model");
}

/// Asks before a file is replaced.
fn occupied(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    let Some((path, bytes)) = &model.session.occupied else { return };
    ui.add_space(8.0);
    let name = path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
    let text = format!("{name} is there already, {}", figures::bytes(*bytes));
    ui.label(RichText::new(text).color(*theme::tokens(ui).warn)).on_hover_text(path.display().to_string());
    ui.horizontal(|ui| {
        if ui.button("Replace it").clicked() {
            outbox.push(Command::Replace(true));
        }
        if ui.button("Keep it").clicked() {
            outbox.push(Command::Replace(false));
        }
    });
}

fn describe(format: ExportFormat) -> (&'static str, &'static str) {
    match format {
        ExportFormat::Gguf => ("GGUF", "for llama.cpp and everything built on it"),
        ExportFormat::Safetensors => ("safetensors", "dequantized weights, for anything that cannot read the codes"),
    }
}

fn target(format: ExportFormat, verdict: &Result<u64, halftone_core::UserMessage>, chosen: bool, ui: &mut Ui, outbox: &mut Outbox) {
    let tokens = theme::tokens(ui);
    let (name, purpose) = describe(format);
    ui.horizontal(|ui| {
        if ui.add_enabled(verdict.is_ok(), egui::RadioButton::new(chosen, name)).clicked() {
            outbox.push(Command::SetExportFormat(format));
        }
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let (glyph, color) = if verdict.is_ok() { (i::ICON_CHECK, *tokens.good) } else { (i::ICON_CLOSE, *tokens.bad) };
            ui.label(RichText::from(glyph).size(BODY + 2.0).color(color));
            if let Ok(bytes) = verdict {
                ui.label(figures::exact_bytes(*bytes).to_string());
            }
        });
    });
    match verdict {
        Ok(_) => note(ui, purpose),
        Err(message) => ui.label(RichText::new(&message.details).color(*tokens.bad).size(theme::SMALL)).on_hover_text(&message.hint),
    };
    ui.add_space(4.0);
}

fn written(exported: &Exported, ui: &mut Ui, outbox: &mut Outbox) {
    section(ui, "Written");
    text_line(ui, "File", &figures::short_path(&exported.path, 36)).on_hover_text(exported.path.display().to_string());
    line(ui, "Size", &figures::exact_bytes(exported.bytes));
    line(ui, "Tensors checked", &figures::Figure { value: exported.tensors_checked.to_string(), unit: "" });
    ui.horizontal(|ui| {
        let short: String = exported.hash.chars().take(16).collect();
        ui.label(RichText::new("blake3").color(*theme::tokens(ui).dim));
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            if named_icon(ui, i::ICON_CONTENT_COPY, "Copy the hash").clicked() {
                outbox.push(Command::Copy(exported.hash.clone()));
            }
            ui.label(RichText::new(format!("{short}…")).monospace()).on_hover_text(&exported.hash);
        });
    });
    section(ui, "Use it");
    let frame = egui::Frame::new().fill(*theme::tokens(ui).sunken).corner_radius(4.0).inner_margin(8.0);
    frame.show(ui, |ui| {
        ui.add(egui::Label::new(RichText::new(&exported.serve_command).monospace()).wrap().selectable(true));
    });
    ui.add_space(4.0);
    if ui.button("Copy command").clicked() {
        outbox.push(Command::Copy(exported.serve_command.clone()));
    }
}
