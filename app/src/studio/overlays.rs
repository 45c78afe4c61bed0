//! What floats above the panes: toasts, the question before closing, the target of a drop.

use super::command::{Command, Outbox};
use super::messages::{Level, Message};
use super::theme::{self, HEADING, SMALL};
use super::view_model::ViewModel;
use super::widgets::buttons::named_icon;
use egui::{Align, Align2, Area, FontId, Frame, Id, Layout, Margin, Order, RichText, Ui, Window, vec2};
use egui_material_icons::icons as i;

/// Messages at the lower right.
pub fn toasts(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    let shown: Vec<&Message> = model.messages.toasts().collect();
    if shown.is_empty() {
        return;
    }
    Area::new(Id::unique("toasts")).order(Order::Foreground).anchor(Align2::RIGHT_BOTTOM, vec2(-12.0, -40.0)).show(ui.ctx(), |ui| {
        ui.set_width(380.0);
        for message in shown.iter().rev().take(4).rev() {
            toast(message, ui, outbox);
        }
    });
    ui.ctx().request_repaint_after(std::time::Duration::from_secs(1));
}

fn toast(message: &Message, ui: &mut Ui, outbox: &mut Outbox) {
    let tokens = theme::tokens(ui);
    let frame = Frame::window(ui.style()).inner_margin(Margin::same(10)).outer_margin(Margin::symmetric(0, 4));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        body(message, ui, outbox, |ui, outbox| {
            if named_icon(ui, i::ICON_CLOSE, "Put this message away").clicked() {
                outbox.push(Command::Dismiss(message.id));
            }
        });
        let _ = tokens;
    });
}

/// A message with its icon, hint and foldable details.
pub fn body(message: &Message, ui: &mut Ui, outbox: &mut Outbox, corner: impl FnOnce(&mut Ui, &mut Outbox)) {
    let tokens = theme::tokens(ui);
    let (glyph, color) = match message.level {
        Level::Info => (i::ICON_CHECK_CIRCLE, *tokens.good),
        Level::Warning => (i::ICON_WARNING, *tokens.warn),
        Level::Error => (i::ICON_ERROR, *tokens.bad),
    };
    ui.horizontal_top(|ui| {
        ui.label(RichText::from(glyph).size(HEADING).color(color));
        ui.with_layout(Layout::right_to_left(Align::TOP), |ui| {
            corner(ui, outbox);
            ui.with_layout(Layout::top_down(Align::LEFT), |ui| {
                ui.add(egui::Label::new(&message.message.summary).wrap());
                if !message.message.hint.is_empty() {
                    ui.add(egui::Label::new(RichText::new(&message.message.hint).size(SMALL).color(*tokens.dim)).wrap());
                }
            });
        });
    });
    if !message.message.details.is_empty() && message.level != Level::Info {
        egui::CollapsingHeader::new(RichText::new("Details").size(SMALL)).id_salt(("details", message.id)).show(ui, |ui| {
            ui.add(egui::Label::new(RichText::new(&message.message.details).size(SMALL)).wrap().selectable(true));
            if ui.small_button("Copy details").clicked() {
                outbox.push(Command::Copy(format!("{}: {}\n{}", message.origin, message.message.summary, message.message.details)));
            }
        });
    }
}

/// Asked when the window is to close while a job runs.
pub fn close_question(ui: &mut Ui, outbox: &mut Outbox) {
    Window::new("A job is still running").collapsible(false).resizable(false).anchor(Align2::CENTER_CENTER, vec2(0.0, -40.0)).show(ui.ctx(), |ui| {
        ui.label("Closing cancels it. Finished tensors are kept, and running the same recipe again goes on from there");
        ui.add_space(8.0);
        ui.horizontal(|ui| {
            if ui.button("Keep running").clicked() {
                outbox.push(Command::ConfirmClose(false));
            }
            if ui.button("Cancel the job and close").clicked() {
                outbox.push(Command::ConfirmClose(true));
            }
        });
    });
}

/// A veil while files hover over the window.
pub fn drop_target(ui: &mut Ui) {
    let Some(first) = ui.input(|i| i.raw.hovered_files.first().cloned()) else { return };
    let tokens = theme::tokens(ui);
    let rect = ui.ctx().content_rect();
    let painter = ui.ctx().layer_painter(egui::LayerId::new(Order::Foreground, Id::unique("drop target")));
    painter.rect_filled(rect, 0.0, tokens.surface.gamma_multiply(0.85));
    painter.rect_stroke(rect.shrink(16.0), 8.0, egui::Stroke::new(2.0, *tokens.accent), egui::StrokeKind::Inside);
    let name = first.path.as_deref().and_then(std::path::Path::file_name).map_or("this model".to_owned(), |n| n.to_string_lossy().into_owned());
    painter.text(rect.center(), Align2::CENTER_CENTER, format!("Drop to open {name}"), FontId::proportional(theme::FIGURE), *tokens.text);
}
