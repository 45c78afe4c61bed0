//! Budget, target, plan, frontier, presets. Every move solves again at once.

use super::{correlation, empty, frontier, memory, search};
use crate::studio::allocation::{Allocation, gap_in_words};
use crate::studio::command::{Action, Command, Outbox};
use crate::studio::figures::{self, Figure};
use crate::studio::settings::BudgetUnit;
use crate::studio::theme::{self, SMALL};
use crate::studio::view_model::ViewModel;
use crate::studio::widgets::buttons::{segmented, text_button};
use crate::studio::widgets::labels::{cell, headline, note, section};
use egui::{Align2, ComboBox, DragValue, Response, RichText, Role, ScrollArea, Sense, Slider, Ui, WidgetInfo, pos2, vec2};
use halftone_core::allocate::{Budget, Overhead, PROFILES, Plan, Target};
use halftone_core::sensitivity::Metric;

/// Keeps nothing but whether a drag is on.
#[derive(Default)]
pub struct AllocatePane {
    dragging: bool,
}

impl AllocatePane {
    /// Draws the pane.
    pub fn ui(&mut self, model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
        let allocation = &model.session.allocation;
        if allocation.problem.is_none() {
            empty(ui, "Nothing measured yet", "The Measure step fills the table that allocation stands on");
            return;
        }
        ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| {
            section(ui, "Budget");
            let units = [
                (BudgetUnit::Megabytes, "File size"),
                (BudgetUnit::BitsPerWeight, "Bits per weight"),
                (BudgetUnit::Cost, "Largest cost"),
                (BudgetUnit::Memory, "Memory"),
            ];
            if let Some(unit) = segmented(ui, "Budget unit", model.settings.budget_unit, &units) {
                outbox.push(Command::SetBudgetUnit(unit));
            }
            ui.add_space(4.0);
            let overhead = (model.settings.budget_unit == BudgetUnit::Memory).then(|| memory::context(model, ui, outbox)).flatten();
            self.budget(model, overhead, ui, outbox);
            if let (Some(overhead), Some(plan)) = (overhead, &allocation.plan) {
                memory::breakdown(plan, &overhead, ui);
            }
            refusal(allocation, ui, outbox);
            rules(model, ui, outbox);
            if let Some(plan) = &allocation.plan {
                figures_of(plan, model, ui);
                search::ui(model, ui, outbox);
            }
            section(ui, "Frontier");
            frontier::ui(model, ui, outbox);
            section(ui, "At other rules");
            presets(model, ui);
            section(ui, "Prediction against measurement");
            correlation::ui(model, ui, outbox);
            ui.add_space(8.0);
            ui.horizontal(|ui| {
                text_button(ui, model, Action::SaveRecipe, outbox);
                text_button(ui, model, Action::LoadRecipe, outbox);
            });
        });
    }

    fn budget(&mut self, model: &ViewModel<'_>, overhead: Option<Overhead>, ui: &mut Ui, outbox: &mut Outbox) {
        let allocation = &model.session.allocation;
        let (Some((least, most)), Some(plan)) = (allocation.byte_range(), &allocation.plan) else { return };
        let bits = |bytes: u64| bits_of(allocation, bytes);
        let asked = allocation.recipe().budget;
        ui.horizontal(|ui| {
            ui.spacing_mut().slider_width = (ui.available_width() - 120.0).max(120.0);
            let (response, field, budget) = match (model.settings.budget_unit, overhead) {
                (BudgetUnit::Memory, Some(overhead)) => {
                    let beside = overhead.bytes();
                    let asked = if let Some(Budget::Memory { bytes, .. }) = asked { bytes } else { plan.file_bytes + beside };
                    let mut value = asked as f64 / 1e6;
                    let (response, field) = slide(ui, &mut value, (least + beside) as f64 / 1e6, (most + beside) as f64 / 1e6, false, 1, " MB");
                    (response, field, Budget::Memory { bytes: (value * 1e6).round() as u64, overhead })
                }
                (BudgetUnit::Megabytes | BudgetUnit::Memory, _) => {
                    let mut value = if let Some(Budget::FileBytes(bytes)) = asked { bytes as f64 / 1e6 } else { plan.file_bytes as f64 / 1e6 };
                    let (low, high) = (least as f64 / 1e6, most as f64 / 1e6);
                    let digits = if high < 100.0 { 3 } else { 1 };
                    let (response, field) = slide(ui, &mut value, low, high, false, digits, " MB");
                    (response, field, Budget::FileBytes((value * 1e6).round() as u64))
                }
                (BudgetUnit::BitsPerWeight, _) => {
                    let mut value = if let Some(Budget::BitsPerWeight(bits)) = asked { bits } else { plan.bits_per_weight };
                    let (response, field) = slide(ui, &mut value, bits(least), bits(most), false, 3, " bpw");
                    (response, field, Budget::BitsPerWeight(value))
                }
                (BudgetUnit::Cost, _) => {
                    let mut value = if let Some(Budget::MaxCost(cost)) = asked { cost } else { plan.cost };
                    let costs = || allocation.frontier.iter().map(|(_, cost)| cost.max(1e-9));
                    let (low, high) = (costs().fold(f64::INFINITY, f64::min), costs().fold(1e-9, f64::max));
                    let (response, field) = slide(ui, &mut value, low, high.max(low * 1.01), true, 5, "");
                    (response, field, Budget::MaxCost(value))
                }
            };
            self.send_drag(&response, &field, budget, outbox);
        });
    }

    /// A drag is one step: it begins with the button and ends with it.
    fn send_drag(&mut self, slider: &Response, field: &Response, budget: Budget, outbox: &mut Outbox) {
        let held = slider.dragged() || field.dragged();
        if held && !self.dragging {
            self.dragging = true;
            outbox.push(Command::BudgetBegin);
        }
        if slider.changed() || field.changed() {
            outbox.push(Command::SetBudget(budget));
        }
        if self.dragging && !held {
            self.dragging = false;
            outbox.push(Command::BudgetEnd);
        }
    }
}

/// Bits per quantizable weight of a file of so many bytes.
fn bits_of(allocation: &Allocation, bytes: u64) -> f64 {
    allocation.problem.as_ref().map_or(0.0, |p| bytes.saturating_sub(p.fixed_bytes) as f64 * 8.0 / p.weights.max(1) as f64)
}

fn slide(ui: &mut Ui, value: &mut f64, low: f64, high: f64, log: bool, digits: usize, unit: &str) -> (Response, Response) {
    let slider = ui.add(Slider::new(value, low..=high).logarithmic(log).show_value(false));
    slider.widget_info(|| WidgetInfo::slider(true, *value, "Budget slider"));
    let speed = (high - low) / 400.0;
    let field = ui.add(DragValue::new(value).range(low..=high).speed(speed).fixed_decimals(digits).suffix(unit));
    field.widget_info(|| WidgetInfo::labeled(Role::SpinButton, true, "Budget as a number"));
    (slider, field)
}

fn refusal(allocation: &Allocation, ui: &mut Ui, outbox: &mut Outbox) {
    let Some(refusal) = &allocation.refusal else { return };
    let tokens = theme::tokens(ui);
    ui.add_space(4.0);
    ui.label(RichText::new(&refusal.summary).color(*tokens.bad)).on_hover_text(&refusal.details);
    if let Some((least, _)) = allocation.byte_range() {
        ui.horizontal(|ui| {
            if ui.button(format!("Raise to {}", figures::bytes(least))).on_hover_text("The smallest file under these pins").clicked() {
                outbox.push(Command::SetBudget(Budget::FileBytes(least)));
            }
            note(ui, "or unpin tensors");
        });
    }
}

fn rules(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    let allocation = &model.session.allocation;
    ui.add_space(8.0);
    let name = |target: Target| target.profile().label;
    ui.horizontal(|ui| {
        let color = *theme::tokens(ui).dim;
        ui.label(RichText::new("For").color(color));
        let current = allocation.recipe().target;
        let combo = ComboBox::from_id_salt("target").selected_text(name(current)).width(88.0).show_ui(ui, |ui| {
            for profile in PROFILES {
                if ui.selectable_label(profile.target == current, profile.label).on_hover_text(profile.about).clicked() {
                    outbox.push(Command::SetTarget(profile.target));
                }
            }
        });
        combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Target runtime"));
        ui.label(RichText::new("by").color(color));
        let metric = model.session.cost_metric();
        let there = |m: Metric| model.session.table.as_ref().is_some_and(|t| t.rows.iter().all(|r| r.cells.iter().all(|c| c.metric(m).is_some())));
        let combo = ComboBox::from_id_salt("cost metric").selected_text(metric.label()).width(160.0).show_ui(ui, |ui| {
            for choice in Metric::ALL {
                if ui.add_enabled(there(choice), egui::Button::selectable(choice == metric, choice.label())).clicked() {
                    outbox.push(Command::SetCostMetric(choice));
                }
            }
        });
        combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Cost metric"));
    });
}

fn figures_of(plan: &Plan, model: &ViewModel<'_>, ui: &mut Ui) {
    section(ui, "Plan");
    let metric = model.session.cost_metric();
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 24.0;
        headline(ui, "File", &figures::bytes(plan.file_bytes), &figures::exact_bytes(plan.file_bytes).to_string());
        headline(ui, "Average", &Figure { value: format!("{:.3}", plan.bits_per_weight), unit: "bpw" }, "");
        let unit = if metric.is_kl() { "nats" } else { "" };
        headline(ui, metric.label(), &Figure { value: figures::error(plan.cost), unit }, "");
    });
    let searched = model.session.allocation.recipe().solver.contains('+');
    note(ui, gap_in_words(plan.gap, searched));
}

fn presets(model: &ViewModel<'_>, ui: &mut Ui) {
    let allocation = &model.session.allocation;
    let tokens = theme::tokens(ui);
    ui.spacing_mut().item_spacing.y = 0.0;
    let mut rows: Vec<(&Plan, bool)> = allocation.presets.iter().map(|p| (p, false)).collect();
    rows.extend(allocation.plan.iter().map(|p| (p, true)));
    rows.sort_by_key(|(p, _)| p.file_bytes);
    let row = |ui: &mut Ui, texts: [&str; 4], own: bool, color| {
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 20.0), Sense::hover());
        if own {
            ui.painter().rect_filled(rect, 3.0, *tokens.selection);
        }
        let x = [rect.left() + 6.0, rect.left() + rect.width() * 0.60, rect.left() + rect.width() * 0.78, rect.right() - 6.0];
        for (i, text) in texts.iter().enumerate() {
            let align = if i == 0 { Align2::LEFT_CENTER } else { Align2::RIGHT_CENTER };
            cell(ui, pos2(x[i], rect.center().y), align, text, color);
        }
    };
    row(ui, ["Rule", "Size", "bpw", "Cost"], false, *tokens.dim);
    let chance =
        allocation.plan.as_ref().zip(allocation.problem.as_ref()).and_then(|(plan, _)| Some((plan.bits_per_weight, allocation.chance_at(plan.file_bytes)?)));
    for (plan, own) in rows {
        let name = if own { "This plan" } else { plan.name.as_str() };
        let size = figures::bytes(plan.file_bytes).to_string();
        row(ui, [name, &size, &format!("{:.2}", plan.bits_per_weight), &figures::error(plan.cost)], own, *tokens.text);
        if let Some((bits, cost)) = chance.filter(|_| own) {
            row(ui, ["Random, as many bytes", &size, &format!("{bits:.2}"), &figures::error(cost)], false, *tokens.dim);
        }
    }
    ui.spacing_mut().item_spacing.y = 4.0;
    ui.add_space(4.0);
    ui.label(RichText::new("Costs are predictions; Compare measures").size(SMALL).color(*tokens.dim));
}
