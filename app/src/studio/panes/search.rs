//! Searching on after the solver: for how long, how far it is, and what it found.

use super::run;
use crate::studio::command::{Action, Command, Outbox};
use crate::studio::figures;
use crate::studio::theme;
use crate::studio::view_model::ViewModel;
use crate::studio::widgets::buttons::text_button;
use crate::studio::widgets::labels::note;
use egui::{DragValue, RichText, Role, Ui, WidgetInfo};
use halftone_core::refine::Refined;

/// Draws the button, its time, and the search.
pub fn ui(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    ui.add_space(4.0);
    ui.horizontal(|ui| {
        text_button(ui, model, Action::Refine, outbox);
        ui.label(RichText::new("for").color(*theme::tokens(ui).dim));
        let mut minutes = model.settings.search_minutes;
        let field = ui.add(DragValue::new(&mut minutes).range(0.1..=1440.0).speed(0.1).max_decimals(1).suffix(" min"));
        field.widget_info(|| WidgetInfo::labeled(Role::SpinButton, true, "Minutes to search"));
        if field.on_hover_text("Rounding the tensors that are tried comes on top; stop any time, search again to go on").changed() {
            outbox.push(Command::SetSearchMinutes(minutes));
        }
    });
    if let Some(job) = model.jobs.iter().rfind(|job| job.label == "Search" && job.active()) {
        run::progress(job, ui, outbox);
    }
    if let Some(found) = &model.session.searched {
        told(found, model, ui);
    }
}

/// What the last search found.
fn told(found: &Refined, model: &ViewModel<'_>, ui: &mut Ui) {
    let stopped = if found.cancelled { "; stopped" } else { "" };
    let kl = |kl: halftone_core::refine::Kl| format!("{} ± {}", figures::error(kl.mean), figures::error(kl.error));
    if found.accepted == 0 {
        note(ui, format!("Nothing better than a measured KL of {} on the search text in {} trials{stopped}", kl(found.before), found.trials));
        return;
    }
    note(
        ui,
        format!("Measured KL {}, now {} on the search text; {} trials, {} better{stopped}", kl(found.before), kl(found.after), found.trials, found.accepted),
    );
    match (found.check, found.reverted) {
        (Some(check), true) => note(ui, format!("On other text it differs by {}, so the start was kept", kl(check))),
        (Some(check), false) => note(ui, format!("On other text it differs by {}", kl(check))),
        (None, _) => note(ui, "Not checked on other text, because it was stopped; search again to go on"),
    };
    let recipe = model.session.allocation.recipe();
    if !found.reverted && (&recipe.tensors, &recipe.residuals) != (&found.formats, &found.residuals) {
        note(ui, "The recipe was edited since");
    }
}
