//! Why a tensor has its format: its steps up and down against what a byte is worth in the plan, and the rules that bind it.

use crate::studio::figures;
use crate::studio::theme;
use crate::studio::view_model::ViewModel;
use crate::studio::widgets::labels::{note, section, text_line};
use egui::{RichText, ScrollArea, Ui};
use halftone_core::allocate::{Group, Held, StepPrice, Why, why};
use halftone_core::source::TensorEntry;

/// Draws the view.
pub fn ui(entry: &TensorEntry, model: &ViewModel<'_>, ui: &mut Ui) {
    let allocation = &model.session.allocation;
    let (Some(problem), Some(plan)) = (&allocation.problem, &allocation.plan) else {
        note(ui, "Measure the model to see what decides a format");
        return;
    };
    let candidate = plan.candidate(&entry.name);
    let Some(why) = why(problem, plan.file_bytes, &entry.name, |c| Some(c.candidate()) == candidate) else {
        note(ui, "This tensor is not quantized, or has a format that was not measured");
        return;
    };
    let unit = if model.session.cost_metric().is_kl() { " nats" } else { "" };
    ScrollArea::vertical().id_salt("why").auto_shrink([false, false]).show(ui, |ui| {
        ui.set_max_width(ui.available_width().min(520.0));
        ui.label(RichText::new(verdict(&why, &problem.groups[why.group])).color(*theme::tokens(ui).text));
        section(ui, "Steps");
        let size = figures::bytes(why.now.bytes).to_string();
        text_line(ui, "Now", &format!("{}, {size}, costs {}{unit}", name_of(&why, &problem.groups[why.group]), figures::error(why.now.cost)));
        for (label, step) in [("One step up", why.up), ("One step down", why.down)] {
            text_line(ui, label, &step.map_or_else(|| "there is none".to_owned(), |s| describe(&s, unit)));
        }
        let price = why.byte_price.map_or_else(|| "nothing: every tensor has its best".to_owned(), |p| format!("{}{unit}", figures::error(p * 1e6)));
        text_line(ui, "A megabyte in this plan", &price);
        let bound = rules(&problem.groups[why.group], entry);
        if !bound.is_empty() {
            section(ui, "Rules");
            for rule in bound {
                note(ui, rule);
            }
        }
    });
}

fn name_of(why: &Why, group: &Group) -> String {
    if group.stays() { "As it is".to_owned() } else { why.now.format.to_string() }
}

fn describe(step: &StepPrice, unit: &str) -> String {
    let size = figures::bytes(step.bytes.unsigned_abs());
    let (more, does) = if step.bytes > 0 { ("+", "saves") } else { ("−", "costs") };
    let per_megabyte = figures::error(step.per_byte() * 1e6);
    format!("{}: {more}{size}, {does} {}{unit}, {per_megabyte} a megabyte", step.to.format, figures::error(step.cost.abs()))
}

/// The reason in a sentence.
fn verdict(why: &Why, group: &Group) -> String {
    match group.held {
        Some(Held::Pinned) => return "It is pinned: the solver leaves it alone".to_owned(),
        Some(Held::Excluded) => return "It stays as it is in the model, as was asked".to_owned(),
        Some(Held::Runtime) => return "It stays as it is: files of the chosen runtime do not quantize it".to_owned(),
        None => {}
    }
    let Some(price) = why.byte_price else { return "The budget has room for the best of every tensor".to_owned() };
    let up_pays = why.up.is_some_and(|s| s.per_byte() > price * 1.001);
    let down_pays = why.down.is_some_and(|s| s.per_byte() < price * 0.999);
    match (why.beaten, up_pays, down_pays) {
        (Some(better), ..) => format!("{} would cost less in no more bytes; the recipe does not follow this prediction", better.format),
        (_, true, _) => "A step up saves more than its bytes are worth, but does not fit into what is left of the budget".to_owned(),
        (_, _, true) => "A step down would cost less than its bytes are worth: it fills the last bytes of the budget".to_owned(),
        _ if why.up.is_none() => "Nothing larger costs less".to_owned(),
        _ if why.down.is_none() => "It has the smallest candidate: a step up saves less than its bytes are worth elsewhere".to_owned(),
        _ => "A step up saves less than its bytes are worth elsewhere, and a step down would cost more".to_owned(),
    }
}

/// What binds it.
fn rules(group: &Group, entry: &TensorEntry) -> Vec<String> {
    let mut rules = Vec::new();
    let others: Vec<&str> = group.tensors.iter().map(String::as_str).filter(|t| *t != entry.name).collect();
    match others[..] {
        [] => {}
        [one] => rules.push(format!("It shares its format with {one}")),
        [first, ..] => rules.push(format!("It shares its format with {} others: {first} …", others.len())),
    }
    if group.limits != halftone_core::allocate::Limits::default() {
        rules.push(format!("It may have {}", group.limits));
    }
    rules
}
