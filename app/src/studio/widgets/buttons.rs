//! Buttons that read the table of actions: icon, text, tooltip with shortcut, enabled or the reason why not.

use crate::studio::command::{Action, Command, Outbox};
use crate::studio::theme::{self, BODY};
use crate::studio::view_model::ViewModel;
use egui::{Align2, Button, FontId, Response, RichText, Role, Sense, Ui, WidgetInfo, vec2};
use egui_material_icons::MaterialIcon;

/// An icon in the size of its line.
pub fn icon(icon: MaterialIcon) -> RichText {
    icon.rich_text().size(BODY + 3.0)
}

fn describe(response: Response, action: Action, model: &ViewModel<'_>, ui: &Ui) -> Response {
    let spec = action.spec();
    let keys = spec.shortcut.map(|s| format!("  ({})", ui.ctx().format_shortcut(&s))).unwrap_or_default();
    response.widget_info(|| WidgetInfo::labeled(Role::Button, ui.is_enabled() && action.enabled(model).is_ok(), spec.text));
    let response = response.on_hover_text(format!("{}{keys}", spec.tooltip));
    match action.enabled(model) {
        Ok(()) => response,
        Err(why) => response.on_disabled_hover_text(format!("{}{keys}\n{why}", spec.tooltip)),
    }
}

/// A square button with the action's icon.
pub fn icon_button(ui: &mut Ui, model: &ViewModel<'_>, action: Action, outbox: &mut Outbox) {
    let button = Button::new(icon(action.spec().icon)).frame_when_inactive(false).min_size(vec2(26.0, 26.0));
    let response = ui.add_enabled(action.enabled(model).is_ok(), button);
    if describe(response, action, model, ui).clicked() {
        outbox.push(Command::Do(action));
    }
}

/// A button with the action's text.
pub fn text_button(ui: &mut Ui, model: &ViewModel<'_>, action: Action, outbox: &mut Outbox) {
    let response = ui.add_enabled(action.enabled(model).is_ok(), Button::new(action.spec().text));
    if describe(response, action, model, ui).clicked() {
        outbox.push(Command::Do(action));
    }
}

/// The button of a pane: filled with the accent.
pub fn primary_button(ui: &mut Ui, model: &ViewModel<'_>, action: Action, outbox: &mut Outbox) {
    let tokens = theme::tokens(ui);
    let enabled = action.enabled(model).is_ok();
    let ink = if enabled { *tokens.on_accent } else { *tokens.dim };
    let text = RichText::new(action.spec().text).color(ink);
    let mut button = Button::new((icon(action.spec().icon).color(ink), text)).min_size(vec2(0.0, 28.0));
    if enabled {
        button = button.fill(*tokens.accent);
    }
    let response = ui.add_enabled(enabled, button);
    if describe(response, action, model, ui).clicked() {
        outbox.push(Command::Do(action));
    }
    if let Err(why) = action.enabled(model) {
        ui.label(RichText::new(why).color(*tokens.dim).size(theme::SMALL));
    }
}

/// A row of a menu: icon, text, shortcut.
pub fn menu_item(ui: &mut Ui, model: &ViewModel<'_>, action: Action, outbox: &mut Outbox) {
    let spec = action.spec();
    let mut button = Button::new((icon(spec.icon), spec.text)).min_size(vec2(220.0, 0.0));
    if let Some(shortcut) = spec.shortcut {
        button = button.shortcut_text(ui.ctx().format_shortcut(&shortcut));
    }
    let response = ui.add_enabled(action.enabled(model).is_ok(), button);
    if describe(response, action, model, ui).clicked() {
        outbox.push(Command::Do(action));
        ui.close();
    }
}

/// An icon-only button with a name for those who cannot see it.
pub fn named_icon(ui: &mut Ui, glyph: MaterialIcon, name: &str) -> Response {
    let response = ui.add(Button::new(icon(glyph)).frame_when_inactive(false).min_size(vec2(24.0, 24.0)));
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, name));
    response.on_hover_text(name)
}

/// A small switch between views: one of several texts, the chosen one underlined by the accent.
pub fn segmented<T: Copy + PartialEq>(ui: &mut Ui, name: &str, current: T, options: &[(T, &str)]) -> Option<T> {
    let tokens = theme::tokens(ui);
    let mut chosen = None;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 0.0;
        for (value, text) in options {
            let selected = *value == current;
            let font = FontId::proportional(BODY);
            let galley = ui.painter().layout_no_wrap((*text).to_owned(), font.clone(), *tokens.text);
            let (rect, response) = ui.allocate_exact_size(vec2(galley.size().x + 16.0, 24.0), Sense::click());
            response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, selected, format!("{name}: {text}")));
            let ink = if selected || response.hovered() { *tokens.text } else { *tokens.dim };
            ui.painter().text(rect.center(), Align2::CENTER_CENTER, text, font, ink);
            let line = if selected { egui::Stroke::new(2.0, *tokens.accent) } else { egui::Stroke::new(1.0, *tokens.line) };
            ui.painter().hline(rect.x_range(), rect.bottom(), line);
            if response.has_focus() {
                ui.painter().rect_stroke(rect, 3.0, ui.visuals().selection.stroke, egui::StrokeKind::Inside);
            }
            if response.clicked() {
                chosen = Some(*value);
            }
        }
    });
    chosen
}
