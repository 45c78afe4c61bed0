//! One prompt, continued by both models with the same seed, side by side.

use super::inspector::swatch;
use crate::studio::command::{Action, Command, Outbox};
use crate::studio::theme::{self, BODY};
use crate::studio::view_model::ViewModel;
use crate::studio::widgets::buttons::primary_button;
use crate::studio::widgets::labels::note;
use crate::studio::widgets::plots;
use egui::text::{LayoutJob, TextFormat};
use egui::{Align, Color32, DragValue, FontId, Label, Layout, TextEdit, Ui};
use halftone_core::eval::Continuations;

/// Draws prompt, options and both texts.
pub fn ui(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    ask(model, ui, outbox);
    if let Some(generated) = &model.session.generated {
        ui.add_space(8.0);
        answer(generated, ui);
    }
}

fn ask(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    let mut prompt = model.settings.prompt.clone();
    let width = ui.available_width().min(720.0);
    let label = ui.label("Prompt");
    if ui.add(TextEdit::multiline(&mut prompt).desired_rows(2).desired_width(width)).labelled_by(label.id).changed() {
        outbox.push(Command::SetPrompt(prompt));
    }
    let mut options = model.settings.generation;
    ui.horizontal(|ui| {
        let label = ui.label("Tokens");
        let mut changed = ui.add(DragValue::new(&mut options.tokens).range(1..=2048)).labelled_by(label.id).changed();
        let label = ui.label("Temperature");
        let field = DragValue::new(&mut options.temperature).range(0.0..=2.0).speed(0.01).fixed_decimals(2);
        let hint = "0 takes the most likely token every time";
        changed |= ui.add(field).labelled_by(label.id).on_hover_text(hint).changed();
        let label = ui.label("Seed");
        let drawn = options.temperature > 0.0;
        changed |= ui.add_enabled(drawn, DragValue::new(&mut options.seed)).labelled_by(label.id).changed();
        if changed {
            outbox.push(Command::SetGeneration(options));
        }
    });
    ui.add_space(4.0);
    primary_button(ui, model, Action::Generate, outbox);
}

fn answer(generated: &Continuations, ui: &mut Ui) {
    let Continuations { shared_tokens, before_tokens, after_tokens, .. } = generated;
    let same = before_tokens == after_tokens && shared_tokens == before_tokens;
    let told = if same {
        format!("The same {shared_tokens} tokens from both")
    } else {
        format!("The same for {shared_tokens} of {} tokens; the underlined text differs", before_tokens.max(after_tokens))
    };
    note(ui, told);
    ui.add_space(4.0);
    let (before, after) = plots::pair(ui);
    ui.columns(2, |columns| {
        for (column, color, name, rest) in [(0, before, "Original", &generated.before), (1, after, "Quantized", &generated.after)] {
            let ui = &mut columns[column];
            ui.horizontal(|ui| swatch(ui, color, name));
            let job = text(generated, rest, color, ui);
            // Columns are justified; text is not.
            ui.with_layout(Layout::top_down(Align::LEFT), |ui| ui.add(Label::new(job).wrap().selectable(true)));
        }
    });
}

/// The prompt dimmed, what both share plain, what differs underlined.
fn text(generated: &Continuations, rest: &str, color: Color32, ui: &Ui) -> LayoutJob {
    let tokens = theme::tokens(ui);
    let format = |color| TextFormat::simple(FontId::proportional(BODY + 1.0), color);
    let mut job = LayoutJob::default();
    job.append(&generated.prompt, 0.0, format(*tokens.dim));
    job.append(&generated.shared, 0.0, format(*tokens.text));
    job.append(rest, 0.0, TextFormat { underline: egui::Stroke::new(1.0, color), ..format(*tokens.text) });
    job
}
