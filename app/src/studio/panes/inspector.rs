//! One tensor closely: its weights, the levels that will hold them, its channels, its candidates.

use super::{empty, why};
use crate::studio::background::TensorReport;
use crate::studio::command::Outbox;
use crate::studio::figures::{self, Figure};
use crate::studio::look::DIFFERENCE_CELLS;
use crate::studio::theme::{self, SMALL};
use crate::studio::view_model::ViewModel;
use crate::studio::widgets::buttons::segmented;
use crate::studio::widgets::labels::{cell, line, note, text_line};
use crate::studio::widgets::legend::{Scale, legend};
use crate::studio::widgets::{picture, plots};
use egui::epaint::Mesh;
use egui::{Align, Align2, Layout, Rect, RichText, Role, ScrollArea, Sense, Ui, WidgetInfo, pos2, vec2};
use egui_plot::{Line, PlotPoint, PlotPoints, Points, Text, VLine};
use halftone_core::numeric::metric::sqnr_from_relative_error;
use halftone_core::sensitivity::Row;
use halftone_core::source::TensorEntry;
use halftone_core::tensor::Statistics;

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum View {
    #[default]
    Weights,
    Columns,
    Rows,
    Candidates,
    Why,
    Difference,
}

/// Which view, and whether counts are on a log scale.
#[derive(Default)]
pub struct InspectorPane {
    view: View,
    log: bool,
}

impl InspectorPane {
    /// Draws the pane.
    pub fn ui(&mut self, model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
        let session = model.session;
        let Some((tensor, entry)) = model.selection.cursor.and_then(|t| Some((t, session.source.as_ref()?.tensors.get(t)?))) else {
            empty(ui, "No tensor selected", "Click a cell of the map or a name in the tree");
            return;
        };
        let statistics = session.statistics.get(tensor).and_then(Option::as_deref);
        let report = model.report.filter(|r| r.tensor == tensor && session.source.as_ref().is_some_and(|s| s.fingerprint == r.model)).map(AsRef::as_ref);
        let height = ui.available_height();
        ui.horizontal_top(|ui| {
            ui.allocate_ui_with_layout(vec2(208.0, height), Layout::top_down(Align::LEFT), |ui| {
                ScrollArea::vertical().id_salt("figures").auto_shrink([false, false]).show(ui, |ui| {
                    ui.set_max_width(196.0);
                    facts(tensor, entry, statistics, report, model, ui);
                });
            });
            ui.vertical(|ui| {
                ui.horizontal(|ui| {
                    let views = [
                        (View::Weights, "Weights"),
                        (View::Columns, "Columns"),
                        (View::Rows, "Rows"),
                        (View::Candidates, "Candidates"),
                        (View::Why, "Why"),
                        (View::Difference, "Difference"),
                    ];
                    if let Some(view) = segmented(ui, "Inspector", self.view, &views) {
                        self.view = view;
                    }
                    if self.view == View::Weights {
                        let response = ui.checkbox(&mut self.log, "Log").on_hover_text("Counts on a logarithmic scale");
                        response.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, self.log, "Log counts"));
                    }
                });
                ui.add_space(4.0);
                match self.view {
                    View::Weights => weights(report, self.log, ui, outbox),
                    View::Columns => channels("Column", statistics.map(|s| s.column_absmax.as_slice()), report.map(|r| r.activations.as_slice()), ui, outbox),
                    View::Rows => channels("Row", statistics.map(|s| s.row_absmax.as_slice()), None, ui, outbox),
                    View::Candidates => candidates(session.row(tensor), model, ui, outbox),
                    View::Why => why::ui(entry, model, ui),
                    View::Difference => difference(report, ui, outbox),
                }
            });
        });
    }
}

fn facts(tensor: usize, entry: &TensorEntry, statistics: Option<&Statistics>, report: Option<&TensorReport>, model: &ViewModel<'_>, ui: &mut Ui) {
    ui.spacing_mut().item_spacing.y = 2.0;
    ui.add(egui::Label::new(RichText::new(&entry.name).strong()).truncate());
    ui.add_space(2.0);
    text_line(ui, "Shape", &figures::shape(&entry.shape));
    line(ui, "Stored", &figures::bytes(entry.size_bytes));
    text_line(ui, "As", &entry.dtype.to_string());
    if let Some(format) = model.session.allocation.formats.get(tensor).copied().flatten() {
        let pin = if model.session.allocation.pinned.contains(&tensor) { " (pinned)" } else { "" };
        text_line(ui, "Becomes", &format!("{}{pin}", format.for_columns(entry.columns())));
    }
    if let Some(error) = report.and_then(|r| r.relative_error) {
        line(ui, "SQNR", &Figure { value: format!("{:.1}", sqnr_from_relative_error(error)), unit: "dB" });
    }
    if let Some(zeros) = report.and_then(|r| r.zeros) {
        line(ui, "Rounds to zero", &Figure { value: format!("{:.1}", zeros * 100.0), unit: "%" });
    }
    let Some(s) = statistics else {
        note(ui, "Reading weights…");
        return;
    };
    text_line(ui, "Mean", &figures::error(s.mean));
    text_line(ui, "Deviation", &figures::error(s.deviation));
    text_line(ui, "Kurtosis", &format!("{:.2}", s.kurtosis));
    text_line(ui, "Smallest", &figures::error(f64::from(s.min)));
    text_line(ui, "Largest", &figures::error(f64::from(s.max)));
    let share = s.non_finite as f64 / (s.count + s.non_finite).max(1) as f64 * 100.0;
    let shown = if s.non_finite == 0 { "none".to_owned() } else { format!("{} ({share:.2} %)", figures::grouped(s.non_finite)) };
    text_line(ui, "Not finite", &shown);
}

fn weights(report: Option<&TensorReport>, log: bool, ui: &mut Ui, outbox: &mut Outbox) {
    let Some(report) = report else {
        note(ui, "Looking at the tensor…");
        return;
    };
    let (before, after) = plots::pair(ui);
    let line = theme::tokens(ui).faint.gamma_multiply(0.5);
    let height = (ui.available_height() - 20.0).max(80.0);
    let axis = if log { "Weights, log scale" } else { "Weights" };
    let begun = picture::begin(ui);
    let plot = plots::plot("weights", height)
        .y_axis_label(axis)
        .y_axis_min_width(32.0)
        .y_grid_spacer(plots::round_numbers)
        .x_axis_formatter(|mark, _| figures::error(mark.value));
    let response = plot
        .show(ui, |plot| {
            // More lines than this are a grey smear.
            for level in report.levels.iter().take_while(|_| report.levels.len() <= 64) {
                plot.vline(VLine::new("", f64::from(*level)).color(line).width(1.0).allow_hover(false));
            }
            plot.bar_chart(plots::histogram("before", &report.before, report.absmax, log, plots::sheer(before)));
            if !report.after.is_empty() {
                plot.line(plots::outline("after", &report.after, report.absmax, log).color(after).width(1.5));
            }
        })
        .response;
    let csv = || {
        let width = 2.0 * report.absmax / report.before.len().max(1) as f32;
        let rows = report.before.iter().enumerate().map(|(i, n)| {
            let from = -report.absmax + i as f32 * width;
            format!("{from},{},{n},{}\n", from + width, report.after.get(i).copied().unwrap_or(0))
        });
        format!("from,to,before,after\n{}", rows.collect::<String>())
    };
    ui.horizontal(|ui| {
        swatch(ui, before, "Original");
        if let Some(format) = report.format.filter(|_| !report.after.is_empty()) {
            swatch(ui, after, &format!("As {format}"));
            let lines = if report.levels.len() <= 64 { "lines: the levels of a typical block" } else { "" };
            note(ui, format!("{lines}  {} levels a block", report.levels.len()));
        }
        note(ui, format!("{} weights", figures::count(report.sampled as u64)));
    });
    picture::end(begun, &response, "Weights", ui, outbox, csv);
}

/// A square of a colour and its meaning.
pub fn swatch(ui: &mut Ui, color: egui::Color32, text: &str) {
    let (rect, _) = ui.allocate_exact_size(vec2(10.0, 10.0), Sense::hover());
    ui.painter().rect_filled(rect, 2.0, color);
    ui.label(RichText::new(text).size(SMALL).color(*theme::tokens(ui).dim));
}

fn channels(kind: &str, absmax: Option<&[f32]>, activations: Option<&[f32]>, ui: &mut Ui, outbox: &mut Outbox) {
    let Some(absmax) = absmax.filter(|a| !a.is_empty()) else {
        note(ui, "Reading weights…");
        return;
    };
    let (before, after) = plots::pair(ui);
    let color = *theme::tokens(ui).text;
    let mut largest: Vec<usize> = (0..absmax.len()).collect();
    largest.sort_by(|a, b| absmax[*b].total_cmp(&absmax[*a]));
    largest.truncate(4);
    let series = |values: &[f32]| -> PlotPoints<'static> { values.iter().enumerate().map(|(i, v)| [i as f64, f64::from(*v)]).collect() };
    let label = format!("Largest |w| of each {}", kind.to_lowercase());
    let height = (ui.available_height() - 20.0).max(80.0);
    let begun = picture::begin(ui);
    let response = plots::plot("channels", height)
        .y_axis_min_width(32.0)
        .include_y(f64::from(absmax[largest[0]]) * 1.2)
        .x_axis_label(format!("{kind} number"))
        .x_grid_spacer(plots::round_numbers)
        .show(ui, |plot| {
            plot.line(Line::new("absmax", series(absmax)).color(before).width(1.0).allow_band(false));
            if let Some(activations) = activations.filter(|a| !a.is_empty()) {
                let top = activations.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
                let scale = absmax[largest[0]] / top;
                let scaled: Vec<f32> = activations.iter().map(|a| a * scale).collect();
                plot.line(Line::new("input", series(&scaled)).color(after).width(1.0).allow_band(false));
            }
            for &channel in &largest {
                let at = PlotPoint::new(channel as f64, f64::from(absmax[channel]));
                plot.points(Points::new("", vec![[at.x, at.y]]).radius(2.5).color(color).allow_hover(false));
                plot.text(Text::new("", at, RichText::new(format!(" {channel}")).size(SMALL)).anchor(Align2::LEFT_BOTTOM).color(color).allow_hover(false));
            }
        })
        .response;
    ui.horizontal(|ui| {
        swatch(ui, before, &label);
        if activations.is_some_and(|a| !a.is_empty()) {
            swatch(ui, after, "Strength of its input (rms, scaled to fit)");
        }
    });
    picture::end(begun, &response, "Channels", ui, outbox, || {
        let rows = absmax.iter().enumerate().map(|(i, v)| format!("{i},{v},{}\n", activations.and_then(|a| a.get(i)).map_or(String::new(), f32::to_string)));
        format!("channel,absmax,input_rms\n{}", rows.collect::<String>())
    });
}

fn candidates(row: Option<&Row>, model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    let Some(row) = row else {
        note(ui, "Measure the model to see the error of every candidate");
        return;
    };
    let tokens = theme::tokens(ui);
    let metric = model.session.cost_metric();
    let format = model.selection.cursor.and_then(|t| model.session.allocation.formats.get(t).copied().flatten());
    let weights: usize = row.shape.iter().product();
    let height = ui.available_height();
    ui.horizontal_top(|ui| {
        ui.allocate_ui_with_layout(vec2((ui.available_width() * 0.5).min(280.0), height), Layout::top_down(Align::LEFT), |ui| {
            ScrollArea::vertical().id_salt("candidates").auto_shrink([false, false]).show(ui, |ui| {
                ui.spacing_mut().item_spacing.y = 0.0;
                let head = |ui: &mut Ui| ui.allocate_exact_size(vec2(ui.available_width(), 20.0), Sense::hover()).0;
                let columns = |rect: Rect| [rect.left() + 14.0, rect.left() + rect.width() * 0.62, rect.right() - 4.0];
                let rect = head(ui);
                let [a, b, c] = columns(rect);
                cell(ui, pos2(a, rect.center().y), Align2::LEFT_CENTER, "Stored as", *tokens.dim);
                cell(ui, pos2(b, rect.center().y), Align2::RIGHT_CENTER, "Size", *tokens.dim);
                cell(ui, pos2(c, rect.center().y), Align2::RIGHT_CENTER, "Error", *tokens.dim);
                for candidate in &row.cells {
                    let rect = head(ui);
                    let now = Some(candidate.format) == format || Some(candidate.stored_as) == format;
                    if now {
                        ui.painter().rect_filled(rect, 3.0, *tokens.selection);
                    }
                    ui.painter().circle_filled(pos2(rect.left() + 5.0, rect.center().y), 3.0, tokens.format(candidate.stored_as));
                    let [a, b, c] = columns(rect);
                    let y = rect.center().y;
                    cell(ui, pos2(a, y), Align2::LEFT_CENTER, &candidate.stored_as.to_string(), *tokens.text);
                    cell(ui, pos2(b, y), Align2::RIGHT_CENTER, &figures::bytes(candidate.bytes).to_string(), *tokens.text);
                    let error = candidate.metric(metric).map_or("–".to_owned(), figures::error);
                    cell(ui, pos2(c, y), Align2::RIGHT_CENTER, &error, *tokens.text);
                }
            });
        });
        let bits = |bytes: u64| bytes as f64 * 8.0 / weights.max(1) as f64;
        let points: Vec<([f64; 2], egui::Color32)> =
            row.cells.iter().filter_map(|c| Some(([bits(c.bytes), c.metric(metric)?.max(1e-12).log10()], tokens.format(c.stored_as)))).collect();
        let curve: Vec<[f64; 2]> = points.iter().map(|(p, _)| *p).collect();
        let begun = picture::begin(ui);
        let response = plots::plot("error against bits", (height - 4.0).max(80.0))
            .x_axis_label("Bits per weight")
            .x_grid_spacer(plots::few_whole_numbers)
            .y_grid_spacer(plots::whole_numbers)
            .set_margin_fraction(vec2(0.06, 0.06))
            .y_axis_label(metric.label())
            .y_axis_min_width(40.0)
            .y_axis_formatter(|mark, _| figures::error(10f64.powf(mark.value)))
            .show(ui, |plot| {
                plot.line(Line::new("", curve).color(*tokens.faint).width(1.0).allow_band(false).allow_hover(false));
                for (at, color) in points {
                    plot.points(Points::new("", vec![at]).radius(4.0).color(color));
                }
            })
            .response;
        picture::end(begun, &response, "Error against bits", ui, outbox, || {
            let rows = row.cells.iter().map(|c| format!("{},{},{},{}\n", c.format, c.stored_as, c.bytes, c.metric(metric).unwrap_or(f64::NAN)));
            format!("format,stored_as,bytes,{}\n{}", metric.name(), rows.collect::<String>())
        });
    });
}

fn difference(report: Option<&TensorReport>, ui: &mut Ui, outbox: &mut Outbox) {
    let Some(report) = report.filter(|r| !r.difference.is_empty()) else {
        note(ui, "There is a difference once the tensor has a format");
        return;
    };
    let (rows, columns) = DIFFERENCE_CELLS;
    let Some(scale) = Scale::of(report.difference.iter().map(|v| f64::from(*v)).filter(|v| *v > 0.0)) else { return };
    let size = vec2(ui.available_width(), (ui.available_height() - 24.0).max(60.0));
    let begun = picture::begin(ui);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    let step = vec2(rect.width() / columns as f32, rect.height() / rows as f32);
    let mut mesh = Mesh::default();
    for row in 0..rows {
        for column in 0..columns {
            let min = rect.min + vec2(column as f32 * step.x, row as f32 * step.y);
            mesh.add_colored_rect(Rect::from_min_size(min, step), theme::sequential(scale.position(f64::from(report.difference[row * columns + column]))));
        }
    }
    ui.painter().add(mesh);
    if let Some(pointer) = response.hover_pos() {
        let at = (pointer - rect.min) / step;
        let (row, column) = ((at.y as usize).min(rows - 1), (at.x as usize).min(columns - 1));
        let value = report.difference[row * columns + column];
        response.clone().on_hover_text_at_pointer(format!("Mean |Δ| {} of this patch", figures::error(f64::from(value))));
    }
    ui.horizontal(|ui| {
        note(ui, "Mean |Δ|, rows down, columns across");
        legend(ui, scale, "");
    });
    picture::end(begun, &response, "Difference", ui, outbox, || {
        let line = |row: &[f32]| row.iter().map(f32::to_string).collect::<Vec<_>>().join(",") + "\n";
        report.difference.chunks(columns).map(line).collect()
    });
}
