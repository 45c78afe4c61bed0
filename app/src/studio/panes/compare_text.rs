//! The held-out text, coloured token by token by how far the model's output moved, and the worst tokens first.

use crate::studio::background::Reading;
use crate::studio::figures;
use crate::studio::theme::{self, BODY, SMALL};
use crate::studio::widgets::labels::{cell, note, text_line};
use egui::text::{LayoutJob, TextFormat};
use egui::{Align2, Button, Color32, FontId, Rect, RichText, ScrollArea, Sense, Ui, pos2, vec2};

/// Tokens laid out at once.
const PAGE: usize = 512;

/// Where in the text.
#[derive(Default)]
pub struct TextView {
    page: usize,
}

/// 0 for no movement, 1 for what 99 % of the tokens stay below.
fn warmth(reading: &Reading, kl: f64) -> f32 {
    (kl / reading.warm).sqrt().min(1.0) as f32
}

/// Draws a page of text.
pub fn text(view: &mut TextView, reading: &Reading, ui: &mut Ui) {
    let tokens = theme::tokens(ui);
    let count = reading.texts.len();
    let pages = count.div_ceil(PAGE).max(1);
    view.page = view.page.min(pages - 1);
    ui.horizontal(|ui| {
        if ui.add_enabled(view.page > 0, Button::new("Earlier")).clicked() {
            view.page -= 1;
        }
        if ui.add_enabled(view.page + 1 < pages, Button::new("Later")).clicked() {
            view.page += 1;
        }
        note(ui, format!("page {} of {pages}", view.page + 1));
        ui.add_space(12.0);
        for step in 0..=8 {
            let (rect, _) = ui.allocate_exact_size(vec2(12.0, 10.0), Sense::hover());
            ui.painter().rect_filled(rect.expand2(vec2(4.0, 0.0)), 0.0, tokens.heat(step as f32 / 8.0));
        }
        note(ui, format!("   KL from 0 to {} nats and more", figures::error(reading.warm)));
    });
    ui.add_space(4.0);
    let range = view.page * PAGE..((view.page + 1) * PAGE).min(count);
    ScrollArea::vertical().id_salt("text").auto_shrink([false, false]).show(ui, |ui| {
        let mut job = LayoutJob::default();
        job.wrap.max_width = ui.available_width();
        let mut ends = Vec::with_capacity(range.len());
        let mut length = 0;
        for at in range.clone() {
            let text = &reading.texts[at];
            let format = TextFormat {
                font_id: FontId::proportional(BODY + 1.0),
                color: *tokens.text,
                background: background(reading, at, tokens),
                line_height: Some(21.0),
                ..TextFormat::default()
            };
            job.append(text, 0.0, format);
            length += text.chars().count();
            ends.push(length);
        }
        let galley = ui.painter().layout_job(job);
        let (rect, response) = ui.allocate_exact_size(galley.size(), Sense::hover());
        if let Some(pointer) = response.hover_pos() {
            let index = usize::from(galley.cursor_from_pos(pointer - rect.min).index);
            let token = range.start + ends.partition_point(|end| *end <= index);
            if token < range.end {
                response.on_hover_ui_at_pointer(|ui| tooltip(reading, token, ui));
            }
        }
        ui.painter().galley(rect.min, galley, *tokens.text);
    });
}

fn background(reading: &Reading, at: usize, tokens: &theme::Tokens) -> Color32 {
    let warmth = warmth(reading, reading.comparison.tokens[at].kl);
    if warmth < 0.05 { Color32::TRANSPARENT } else { tokens.heat(warmth) }
}

fn tooltip(reading: &Reading, at: usize, ui: &mut Ui) {
    let token = &reading.comparison.tokens[at];
    ui.set_width(260.0);
    ui.label(RichText::new(shown(&reading.texts[at])).strong());
    let percent = |nll: f64| format!("{:.2} %", (-nll).exp() * 100.0);
    text_line(ui, "KL", &format!("{} nats", figures::error(token.kl)));
    text_line(ui, "Probability before", &percent(token.nll_before));
    text_line(ui, "Probability after", &percent(token.nll_after));
    match &reading.flips[at] {
        Some((before, after)) => drop(text_line(ui, "Top token", &format!("{} became {}", shown(before), shown(after)))),
        None => drop(text_line(ui, "Top token", "the same")),
    }
}

/// A token in quotes, with its line breaks visible.
fn shown(text: &str) -> String {
    format!("“{}”", text.replace('\n', "\\n"))
}

/// Draws the tokens by falling KL, each with what stands before it.
pub fn worst(view: &mut TextView, reading: &Reading, ui: &mut Ui) {
    let tokens = theme::tokens(ui);
    const ROW: f32 = 24.0;
    let columns = |rect: Rect| [rect.left() + 64.0, rect.left() + 140.0, rect.left() + 216.0, rect.left() + 232.0];
    let (head, _) = ui.allocate_exact_size(vec2(ui.available_width(), 20.0), Sense::hover());
    let [a, b, c, d] = columns(head);
    for (x, align, name) in
        [(a, Align2::RIGHT_CENTER, "KL"), (b, Align2::RIGHT_CENTER, "p before"), (c, Align2::RIGHT_CENTER, "p after"), (d, Align2::LEFT_CENTER, "Text")]
    {
        cell(ui, pos2(x, head.center().y), align, name, *tokens.dim);
    }
    let count = reading.worst.len().min(500);
    ui.spacing_mut().item_spacing.y = 0.0;
    ScrollArea::vertical().id_salt("worst").auto_shrink([false, false]).show_rows(ui, ROW, count, |ui, range| {
        for &at in &reading.worst[range] {
            let token = &reading.comparison.tokens[at];
            let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
            response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, format!("Token {at}")));
            if response.hovered() {
                ui.painter().rect_filled(rect, 3.0, *tokens.hover);
            }
            let [a, b, c, d] = columns(rect);
            let y = rect.center().y;
            cell(ui, pos2(a, y), Align2::RIGHT_CENTER, &figures::error(token.kl), *tokens.text);
            cell(ui, pos2(b, y), Align2::RIGHT_CENTER, &format!("{:.1} %", (-token.nll_before).exp() * 100.0), *tokens.text);
            cell(ui, pos2(c, y), Align2::RIGHT_CENTER, &format!("{:.1} %", (-token.nll_after).exp() * 100.0), *tokens.text);
            let context: String = reading.texts[at.saturating_sub(12)..at].concat().replace('\n', " ");
            let mut job = LayoutJob::single_section(context, TextFormat::simple(FontId::proportional(BODY), *tokens.dim));
            let background = tokens.heat(warmth(reading, token.kl));
            job.append(&reading.texts[at].replace('\n', " "), 0.0, TextFormat { background, ..TextFormat::simple(FontId::proportional(BODY), *tokens.text) });
            if let Some((before, after)) = &reading.flips[at] {
                let flip = format!("    {} became {}", shown(before), shown(after));
                job.append(&flip, 0.0, TextFormat::simple(FontId::proportional(SMALL), *tokens.warn));
            }
            let galley = ui.painter().layout_job(job);
            let clip = rect.intersect(ui.clip_rect());
            ui.painter().with_clip_rect(clip).galley(pos2(d, y - galley.size().y / 2.0), galley, *tokens.text);
            if response.on_hover_ui(|ui| tooltip(reading, at, ui)).clicked() {
                view.page = at / PAGE;
            }
        }
    });
}
