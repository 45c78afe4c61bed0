//! Text: section heads, figures with dimmed units, formats in their hue.

use crate::studio::figures::Figure;
use crate::studio::theme::{self, BODY, FIGURE, SMALL};
use egui::text::{LayoutJob, TextFormat};
use egui::{Align, Align2, Color32, FontId, Layout, Response, RichText, Sense, Ui, vec2};
use halftone_core::codec::Format;

/// The head of a section, with a line above all but the first.
pub fn section(ui: &mut Ui, title: &str) {
    if ui.min_rect().height() > 12.0 {
        ui.add_space(8.0);
        separator(ui);
        ui.add_space(4.0);
    }
    ui.label(RichText::new(title).strong().size(BODY).color(*theme::tokens(ui).text));
    ui.add_space(2.0);
}

/// A line of one pixel.
pub fn separator(ui: &mut Ui) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 1.0), Sense::hover());
    ui.painter().hline(rect.x_range(), rect.center().y, egui::Stroke::new(1.0, *theme::tokens(ui).line));
}

/// Dimmed small text.
pub fn note(ui: &mut Ui, text: impl Into<String>) -> Response {
    let color = *theme::tokens(ui).dim;
    ui.add(egui::Label::new(RichText::new(text).size(SMALL).color(color)).wrap())
}

/// A figure and its dimmed unit as one text.
pub fn figure_job(ui: &Ui, figure: &Figure, size: f32, color: Color32) -> LayoutJob {
    let mut job = LayoutJob::default();
    let format = |size: f32, color| TextFormat { font_id: FontId::proportional(size), color, valign: Align::BOTTOM, ..TextFormat::default() };
    job.append(&figure.value, 0.0, format(size, color));
    if !figure.unit.is_empty() {
        job.append(figure.unit, 4.0, format(SMALL.max(size - 4.0), *theme::tokens(ui).dim));
    }
    job
}

/// A line with a dimmed name on the left and a figure on the right.
pub fn line(ui: &mut Ui, name: &str, figure: &Figure) -> Response {
    let tokens = theme::tokens(ui);
    let job = figure_job(ui, figure, BODY, *tokens.text);
    named_line(ui, name, |ui| {
        ui.label(job);
    })
}

/// A line with a dimmed name on the left and text on the right, cut where it does not fit.
pub fn text_line(ui: &mut Ui, name: &str, text: &str) -> Response {
    named_line(ui, name, |ui| {
        ui.add(egui::Label::new(text).truncate());
    })
}

fn named_line(ui: &mut Ui, name: &str, value: impl FnOnce(&mut Ui)) -> Response {
    let color = *theme::tokens(ui).dim;
    ui.scope(|ui| {
        ui.spacing_mut().interact_size.y = 20.0;
        ui.horizontal(|ui| {
            ui.label(RichText::new(name).color(color));
            ui.with_layout(Layout::right_to_left(Align::Center), value);
        });
    })
    .response
}

/// A large figure under its dimmed name.
pub fn headline(ui: &mut Ui, name: &str, figure: &Figure, extra: &str) {
    let tokens = theme::tokens(ui);
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        ui.label(RichText::new(name).size(SMALL).color(*tokens.dim));
        ui.label(figure_job(ui, figure, FIGURE, *tokens.text));
        if !extra.is_empty() {
            ui.label(RichText::new(extra).size(SMALL).color(*tokens.dim));
        }
    });
}

/// Formats, each with a square of its hue, in as many rows as they need.
pub fn format_list(ui: &mut Ui, formats: impl Iterator<Item = Format>) {
    let tokens = theme::tokens(ui);
    let mut job = LayoutJob::default();
    job.wrap.max_width = ui.available_width();
    let simple = |color| TextFormat { line_height: Some(22.0), ..TextFormat::simple(FontId::proportional(BODY), color) };
    for format in formats {
        job.append(&format!("{}\u{a0}", egui_material_icons::icons::ICON_SQUARE.codepoint), 0.0, simple(tokens.format(format)));
        job.append(&format!("{format}"), 0.0, simple(*tokens.text));
        job.append("   ", 0.0, simple(*tokens.text));
    }
    ui.label(job);
}

/// Text in a cell of a painted table row.
pub fn cell(ui: &Ui, at: egui::Pos2, align: Align2, text: &str, color: Color32) {
    ui.painter().text(at, align, text, FontId::proportional(BODY), color);
}
