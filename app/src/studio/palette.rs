//! The command palette: type, choose, run.

use super::command::{Action, Command, Outbox};
use super::theme;
use super::view_model::ViewModel;
use super::widgets::buttons::icon;
use egui::{Align2, Button, Frame, Id, Key, Modifiers, Order, RichText, ScrollArea, TextEdit, Ui, vec2};
use egui_material_icons::icons as i;

/// Open or not, and what was typed.
#[derive(Default)]
pub struct Palette {
    open: bool,
    query: String,
    at: usize,
}

impl Palette {
    /// Opens it empty, or closes it.
    pub fn toggle(&mut self) {
        *self = Self { open: !self.open, ..Self::default() };
    }

    /// Draws it.
    pub fn ui(&mut self, model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
        if !self.open {
            return;
        }
        let found = matches(&self.query);
        let (mut chosen, mut entered, mut open_path) = (None, false, false);
        ui.input_mut(|input| {
            if input.consume_key(Modifiers::NONE, Key::Escape) {
                self.open = false;
            }
            if input.consume_key(Modifiers::NONE, Key::ArrowDown) {
                self.at = (self.at + 1).min(found.len().saturating_sub(1));
            }
            if input.consume_key(Modifiers::NONE, Key::ArrowUp) {
                self.at = self.at.saturating_sub(1);
            }
            entered = input.consume_key(Modifiers::NONE, Key::Enter);
        });
        let path = is_path(&self.query);
        if entered && path {
            open_path = true;
        } else if entered {
            chosen = found.get(self.at).copied();
        }
        let area = egui::Area::new(Id::unique("palette")).order(Order::Foreground).anchor(Align2::CENTER_TOP, vec2(0.0, 72.0));
        let shown = area.show(ui.ctx(), |ui| {
            Frame::window(ui.style()).show(ui, |ui| {
                ui.set_width(480.0);
                let field = ui.add(TextEdit::singleline(&mut self.query).hint_text("Type a command, or the path of a model").desired_width(f32::INFINITY));
                field.request_focus();
                if field.changed() {
                    self.at = 0;
                }
                ui.add_space(4.0);
                if path {
                    let text = format!("Open {}", self.query.trim());
                    open_path |= ui.add(Button::new((icon(i::ICON_FILE_OPEN), text)).selected(true).truncate()).clicked();
                }
                ScrollArea::vertical().max_height(360.0).show(ui, |ui| {
                    for (at, action) in found.iter().enumerate() {
                        if row(model, ui, *action, at == self.at) {
                            chosen = Some(*action);
                        }
                    }
                });
            });
        });
        if shown.response.clicked_elsewhere() && ui.input(|i| i.pointer.any_click()) {
            self.open = false;
        }
        if open_path {
            outbox.push(Command::OpenTyped(self.query.clone()));
            self.open = false;
        }
        if let Some(action) = chosen.filter(|a| a.enabled(model).is_ok()) {
            outbox.push(Command::Do(action));
            self.open = false;
        }
    }
}

fn row(model: &ViewModel<'_>, ui: &mut Ui, action: Action, current: bool) -> bool {
    let spec = action.spec();
    let enabled = action.enabled(model);
    let ink = if enabled.is_ok() { *theme::tokens(ui).text } else { *theme::tokens(ui).faint };
    let mut button = Button::new((icon(spec.icon).color(ink), RichText::new(spec.text).color(ink))).selected(current).frame_when_inactive(current);
    if let Some(shortcut) = spec.shortcut {
        button = button.shortcut_text(ui.ctx().format_shortcut(&shortcut));
    }
    let response = ui.add(button.min_size(vec2(ui.available_width(), 26.0)));
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, enabled.is_ok(), format!("Command: {}", spec.text)));
    if current {
        response.scroll_to_me(None);
    }
    let why = enabled.err().map(|why| format!("\n{why}")).unwrap_or_default();
    response.on_hover_text(format!("{}{why}", spec.tooltip)).clicked()
}

/// No command has a slash in it.
fn is_path(query: &str) -> bool {
    query.contains(['/', '\\']) || query.starts_with('~')
}

/// Actions whose text holds every typed word, in the order of the table.
fn matches(query: &str) -> Vec<Action> {
    let words: Vec<String> = query.to_lowercase().split_whitespace().map(str::to_owned).collect();
    let holds = |action: &Action| {
        let text = format!("{} {}", action.spec().text, action.spec().tooltip).to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    let mut found: Vec<Action> = Action::all().into_iter().filter(|a| *a != Action::Palette).filter(holds).collect();
    // A hit in the text counts more than one in the tooltip.
    found.sort_by_key(|a| !words.iter().all(|w| a.spec().text.to_lowercase().contains(w)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_typed_word_narrows_and_titles_come_first() {
        assert!(matches("").len() > 30, "everything at first");
        assert_eq!(matches("open fol").first(), Some(&Action::OpenFolder), "words in any order and cut short");
        assert_eq!(matches("undo").first(), Some(&Action::Undo), "title before tooltip");
        assert!(matches("no such command").is_empty(), "nothing");
    }
}
