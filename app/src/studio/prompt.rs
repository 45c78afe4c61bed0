//! A path asked for in the window itself: for those who would rather type, and for systems without a file dialog.

use super::command::{Command, Outbox};
use super::dialogs::Purpose;
use super::theme::{self, SMALL};
use egui::{Align2, Button, Id, Key, Modifiers, Order, RichText, TextEdit, Ui, vec2};

/// What is asked, and what was typed so far.
pub struct Prompt {
    purpose: Purpose,
    text: String,
    fresh: bool,
}

impl Prompt {
    /// Asks, with something to begin from.
    pub fn new(purpose: Purpose, text: String) -> Self {
        Self { purpose, text, fresh: true }
    }

    /// Draws it; false when it is answered or put away.
    pub fn ui(&mut self, ui: &mut Ui, outbox: &mut Outbox) -> bool {
        let mut open = !ui.input_mut(|i| i.consume_key(Modifiers::NONE, Key::Escape));
        let (title, verb, hint) = words(self.purpose);
        let area = egui::Area::new(Id::unique("path prompt")).order(Order::Foreground).anchor(Align2::CENTER_TOP, vec2(0.0, 72.0));
        area.show(ui.ctx(), |ui| {
            egui::Frame::window(ui.style()).inner_margin(12).show(ui, |ui| {
                ui.set_width(560.0);
                let label = ui.label(RichText::new(title).strong());
                ui.add_space(4.0);
                let field = ui.add(TextEdit::singleline(&mut self.text).hint_text(hint).desired_width(f32::INFINITY)).labelled_by(label.id);
                if std::mem::take(&mut self.fresh) {
                    field.request_focus();
                }
                let entered = field.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter));
                ui.add_space(4.0);
                ui.horizontal(|ui| {
                    let some = !self.text.trim().is_empty();
                    let tokens = theme::tokens(ui);
                    let ink = if some { *tokens.on_accent } else { *tokens.dim };
                    let button = Button::new(RichText::new(verb).color(ink)).fill(if some { *tokens.accent } else { *tokens.button });
                    if (ui.add_enabled(some, button).clicked() || entered) && some {
                        outbox.push(Command::Entered(self.purpose, self.text.clone()));
                        open = false;
                    }
                    open &= !ui.button("Cancel").clicked();
                    if matches!(self.purpose, Purpose::CalibrationText | Purpose::HeldOutText) {
                        ui.label(RichText::new("Several files are parted by semicolons").size(SMALL).color(*tokens.dim));
                    }
                });
            });
        });
        open
    }
}

/// Title, button, hint.
fn words(purpose: Purpose) -> (&'static str, &'static str, &'static str) {
    match purpose {
        Purpose::ModelFile => ("Open a model by its path", "Open", "File, folder, or owner/name of a model in the hub's cache"),
        Purpose::ModelFolder => ("Open a model folder by its path", "Open", "Folder with config.json and weights"),
        Purpose::CalibrationText => ("Calibration text", "Use", "Path of a text file"),
        Purpose::HeldOutText => ("Held-out text", "Use", "Path of a text file"),
        Purpose::JobRoot => ("Folder for quantization jobs", "Use", "Path of a folder"),
        Purpose::LoadRecipe => ("Load a recipe", "Load", "Path of a TOML file"),
        Purpose::SaveRecipe => ("Save the recipe", "Save", "Path of the TOML file to write"),
        Purpose::ExportFile | Purpose::ExportPlace => ("Write the model", "Write", "Path of the file to write"),
        Purpose::Picture => ("Save the picture", "Save", "Path of the file to write"),
    }
}
