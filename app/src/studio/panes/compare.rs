//! Before against after on held-out text.

use super::compare_text::{self, TextView};
use super::continuation;
use super::inspector::swatch;
use super::measure::text_choice;
use super::stale_note;
use crate::studio::background::Reading;
use crate::studio::command::{Action, Command, Outbox};
use crate::studio::dialogs::Purpose;
use crate::studio::figures::{self, Figure};
use crate::studio::theme;
use crate::studio::view_model::ViewModel;
use crate::studio::widgets::buttons::{primary_button, segmented};
use crate::studio::widgets::labels::{headline, note, section, separator};
use crate::studio::widgets::{picture, plots};
use egui::{DragValue, ScrollArea, Ui};
use egui_plot::{Bar, BarChart, VLine};
use halftone_core::eval::{Comparison, TensorError, tensor_errors};

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum View {
    #[default]
    Text,
    Worst,
    Distribution,
    Blocks,
    Tensors,
    Prompt,
}

/// Which view, and where in the text.
#[derive(Default)]
pub struct ComparePane {
    view: View,
    text: TextView,
}

impl ComparePane {
    /// Draws the pane.
    pub fn ui(&mut self, model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
        let Some(comparison) = &model.session.comparison else {
            ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| {
                ui.scope(|ui| {
                    ui.set_max_width(420.0);
                    setup(model, ui, outbox);
                });
                if model.session.artifact.is_some() {
                    section(ui, "Or read what they say");
                    continuation::ui(model, ui, outbox);
                }
            });
            return;
        };
        headlines(comparison, ui);
        stale_note(model, ui);
        ui.add_space(4.0);
        ui.horizontal(|ui| {
            let views = [
                (View::Text, "Text"),
                (View::Worst, "Worst tokens"),
                (View::Distribution, "Distribution"),
                (View::Blocks, "Blocks"),
                (View::Tensors, "Tensors"),
                (View::Prompt, "Continuations"),
            ];
            if let Some(view) = segmented(ui, "Comparison", self.view, &views) {
                self.view = view;
            }
            ui.add_space(12.0);
            ui.menu_button("Compare again", |ui| {
                ui.set_min_width(320.0);
                setup(model, ui, outbox);
            });
        });
        ui.add_space(4.0);
        match (self.view, &model.session.reading) {
            (View::Blocks, _) => blocks(comparison, ui, outbox),
            (View::Tensors, _) => tensors(model, ui, outbox),
            (View::Prompt, _) => drop(ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| continuation::ui(model, ui, outbox))),
            (_, None) => drop(note(ui, "Decoding tokens…")),
            (View::Text, Some(reading)) => compare_text::text(&mut self.text, reading, ui),
            (View::Worst, Some(reading)) => compare_text::worst(&mut self.text, reading, ui),
            (View::Distribution, Some(reading)) => distribution(reading, ui, outbox),
        }
    }
}

fn setup(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    section(ui, "Held-out text");
    if let Some(choice) = text_choice(&model.settings.held_out_text, "", Purpose::HeldOutText, ui, outbox) {
        outbox.push(Command::SetHeldOutText(choice));
    }
    ui.add_space(4.0);
    ui.horizontal(|ui| {
        let options = model.settings.compare;
        let (mut chunks, mut context) = (options.chunks, options.context);
        let label = ui.label("Chunks");
        if ui.add(DragValue::new(&mut chunks).range(1..=1024)).labelled_by(label.id).changed() {
            outbox.push(Command::SetChunks(chunks));
        }
        let label = ui.label("of");
        if ui.add(DragValue::new(&mut context).range(16..=4096).speed(8.0).suffix(" tokens")).labelled_by(label.id).changed() {
            outbox.push(Command::SetContext(context));
        }
    });
    note(ui, "The second half of every chunk is scored, as llama.cpp does");
    ui.add_space(12.0);
    primary_button(ui, model, Action::Compare, outbox);
}

fn headlines(c: &Comparison, ui: &mut Ui) {
    let with_error = |(value, error): (f64, f64), scale: f64, digits: usize| (format!("{:.digits$}", value * scale), format!("± {:.digits$}", error * scale));
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 28.0;
        headline(ui, "Mean KL", &Figure { value: figures::error(c.kl_mean), unit: "nats" }, &format!("± {}", figures::error(c.kl_error)));
        let [median, _, p99, _, largest] = c.kl_quantiles;
        headline(ui, "Median KL", &Figure { value: figures::error(median), unit: "nats" }, &format!("99 % below {}", figures::error(p99)));
        let (value, error) = with_error(c.perplexity_before, 1.0, 3);
        headline(ui, "Perplexity before", &Figure { value, unit: "" }, &error);
        let (value, error) = with_error(c.perplexity_after, 1.0, 3);
        headline(ui, "Perplexity after", &Figure { value, unit: "" }, &error);
        let (value, error) = with_error(c.top1, 100.0, 1);
        headline(ui, "Same top token", &Figure { value, unit: "%" }, &error);
        headline(ui, "Tokens", &Figure { value: figures::grouped(c.tokens.len() as u64), unit: "" }, &format!("largest KL {}", figures::error(largest)));
    });
    ui.add_space(4.0);
    separator(ui);
}

fn distribution(reading: &Reading, ui: &mut Ui, outbox: &mut Outbox) {
    let tokens = theme::tokens(ui);
    let c = &reading.comparison;
    let bars = reading.histogram.iter().map(|(left, count)| Bar::new(left + 0.1, *count as f64).width(0.19).fill(*tokens.after).stroke(egui::Stroke::NONE));
    let bars: Vec<Bar> = bars.collect();
    let log = |v: f64| v.max(1e-8).log10();
    let height = (ui.available_height() - 48.0).max(100.0);
    let begun = picture::begin(ui);
    let response = plots::plot("KL of tokens", height)
        .x_axis_label("KL of a token, nats")
        .x_grid_spacer(plots::whole_numbers)
        .y_axis_label("Tokens")
        .y_grid_spacer(plots::round_numbers)
        .y_axis_min_width(36.0)
        .x_axis_formatter(|mark, _| figures::error(10f64.powf(mark.value)))
        .show(ui, |plot| {
            plot.bar_chart(BarChart::new("tokens", bars).allow_hover(false));
            plot.vline(VLine::new("mean", log(c.kl_mean)).color(*tokens.warn).width(1.5));
            plot.vline(VLine::new("median", log(c.kl_quantiles[0])).color(*tokens.text).width(1.0));
        })
        .response;
    ui.horizontal(|ui| {
        swatch(ui, *tokens.warn, "Mean");
        swatch(ui, *tokens.text, "Median");
        let [_, p90, p99, p999, largest] = c.kl_quantiles.map(figures::error);
        note(ui, format!("90 % below {p90},  99 % below {p99},  99.9 % below {p999},  largest {largest}"));
    });
    picture::end(begun, &response, "KL of tokens", ui, outbox, || {
        let rows = c.tokens.iter().map(|t| format!("{},{},{},{},{},{}\n", t.token, t.kl, t.nll_before, t.nll_after, t.top_before, t.top_after));
        format!("token,kl,nll_before,nll_after,top_before,top_after\n{}", rows.collect::<String>())
    });
}

fn blocks(comparison: &Comparison, ui: &mut Ui, outbox: &mut Outbox) {
    let tokens = theme::tokens(ui);
    let bar = |(i, error): (usize, &f64)| Bar::new(i as f64, *error).width(0.85).fill(*tokens.after).stroke(egui::Stroke::NONE);
    let bars: Vec<Bar> = comparison.block_errors.iter().enumerate().map(bar).collect();
    let height = (ui.available_height() - 24.0).max(100.0);
    let begun = picture::begin(ui);
    let response = plots::plot("error of blocks", height)
        .x_axis_label("Block")
        .y_axis_label("Relative error of the residual stream")
        .y_grid_spacer(plots::round_numbers)
        .y_axis_min_width(44.0)
        .y_axis_formatter(|mark, _| figures::error(mark.value))
        .show(ui, |plot| {
            plot.bar_chart(BarChart::new("blocks", bars).element_formatter(Box::new(|bar, _| format!("Block {}\n{}", bar.argument, figures::error(bar.value)))))
        })
        .response;
    note(ui, "How far the stream behind each block moved, over all tokens, as a share of its power");
    picture::end(begun, &response, "Error of blocks", ui, outbox, || {
        let rows = comparison.block_errors.iter().enumerate().map(|(i, e)| format!("{i},{e}\n"));
        format!("block,relative_error\n{}", rows.collect::<String>())
    });
}

fn tensors(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    let Some(artifact) = &model.session.artifact else { return };
    let tokens = theme::tokens(ui);
    let records = tensor_errors(artifact);
    let bar = |(i, t): (usize, &TensorError)| {
        Bar::new(i as f64, t.sqnr_db.min(120.0)).width(0.85).name(&t.tensor).fill(tokens.format(t.stored_as)).stroke(egui::Stroke::NONE)
    };
    let bars: Vec<Bar> = records.iter().enumerate().map(bar).collect();
    let height = (ui.available_height() - 24.0).max(100.0);
    let begun = picture::begin(ui);
    let response = plots::plot("SQNR of tensors", height)
        .x_axis_label("Tensor, in file order")
        .y_axis_label("SQNR, dB")
        .y_grid_spacer(plots::round_numbers)
        .y_axis_min_width(36.0)
        .show(ui, |plot| {
            let chart = BarChart::new("SQNR", bars).element_formatter(Box::new(|bar, _| format!("{}\n{:.1} dB", bar.name, bar.value)));
            plot.bar_chart(chart);
        })
        .response;
    note(ui, "Weights before and after of the selected tensor are in the inspector");
    picture::end(begun, &response, "SQNR of tensors", ui, outbox, || {
        let rows = records.iter().map(|t| format!("{},{},{}\n", t.tensor, t.stored_as, t.sqnr_db));
        format!("tensor,stored_as,sqnr_db\n{}", rows.collect::<String>())
    });
}
