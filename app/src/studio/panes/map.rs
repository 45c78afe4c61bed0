//! The map: where the bits matter, and what they are.

use crate::studio::command::{Action, Command, Outbox};
use crate::studio::figures;
use crate::studio::map_metric::MapMetric;
use crate::studio::theme::{self, SMALL};
use crate::studio::view_model::ViewModel;
use crate::studio::widgets::buttons::{icon, icon_button};
use crate::studio::widgets::labels::text_line;
use crate::studio::widgets::legend::{Scale, legend};
use crate::studio::widgets::matrix::{Matrix, MatrixOutput};
use egui::{Align, Button, ComboBox, Layout, RichText, Role, Ui, WidgetInfo, vec2};
use egui_material_icons::icons as i;
use halftone_core::codec::Format;
use halftone_core::source::TensorEntry;

/// The brush.
#[derive(Default)]
pub struct MapPane {
    brush: Option<Format>,
}

impl MapPane {
    /// Draws the pane.
    pub fn ui(&mut self, model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
        let session = model.session;
        let metric = session.metric_shown();
        let scale = Scale::of(session.map_values.iter().copied().flatten());
        ui.horizontal(|ui| {
            metric_choice(metric, model, ui, outbox);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    if let Some(scale) = scale {
                        legend(ui, scale, metric.unit());
                    }
                });
            });
        });
        self.paint_bar(model, ui, outbox);
        ui.add_space(4.0);
        let matrix = Matrix {
            grid: &session.grid,
            values: &session.map_values,
            scale,
            formats: &session.allocation.formats,
            by_format: metric == MapMetric::Bits && session.table.is_some(),
            pinned: &session.allocation.pinned,
            staying: &session.allocation.staying,
            changed: &session.allocation.changed,
            selection: model.selection,
        };
        let output = matrix.show(ui);
        self.answer(output, model, outbox);
    }

    fn paint_bar(&mut self, model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
        let Some(table) = &model.session.table else { return };
        let tokens = theme::tokens(ui);
        let mut formats: Vec<Format> = Vec::new();
        for cell in table.rows.iter().flat_map(|r| &r.cells) {
            if !formats.contains(&cell.format) {
                formats.push(cell.format);
            }
        }
        formats.sort_by(|a, b| a.bits().total_cmp(&b.bits()).then_with(|| a.cmp(b)));
        // Wrapped, because a row that is wider than the pane would make the map under it as wide.
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(2.0, 0.0);
            for action in [Action::Pin, Action::Unpin, Action::HandBack, Action::Exclude] {
                icon_button(ui, model, action, outbox);
            }
            ui.add_space(8.0);
            let on = self.brush.is_some();
            let response = ui.add(Button::new(icon(i::ICON_BRUSH)).selected(on).frame_when_inactive(on).min_size(vec2(26.0, 26.0)));
            response.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, on, "Brush"));
            if response.on_hover_text("Brush: clicking and dragging on the map paints the chosen format").clicked() {
                self.brush = if on { None } else { formats.first().copied() };
            }
            for format in formats {
                let text = RichText::new(format.to_string()).size(SMALL);
                let chosen = self.brush == Some(format);
                let response = ui.add(Button::new(text).selected(chosen).frame_when_inactive(chosen));
                response.widget_info(|| WidgetInfo::selected(Role::Button, true, chosen, format!("Paint {format}")));
                let under = response.rect;
                ui.painter().hline(under.shrink(6.0).x_range(), under.bottom() - 1.0, egui::Stroke::new(2.0, tokens.format(format)));
                let hint = if on { "Paint with this" } else { "Pin the selected tensors at this format" };
                if response.on_hover_text(format!("{hint}: {:.2} bits per weight", format.bits())).clicked() {
                    if on {
                        self.brush = Some(format);
                    } else {
                        outbox.push(Command::Paint(format));
                    }
                }
            }
        });
    }

    fn answer(&self, output: MatrixOutput, model: &ViewModel<'_>, outbox: &mut Outbox) {
        if let Some((tensors, cursor, mode)) = output.select {
            if let Some(format) = self.brush {
                outbox.push(Command::PaintTensors(tensors.clone(), format));
            }
            outbox.push(Command::Select { tensors, cursor, mode });
        }
        if let (Some(response), Some(tensor)) = (output.response, output.hovered)
            && let Some(entry) = model.session.source.as_ref().and_then(|s| s.tensors.get(tensor))
        {
            response.on_hover_ui_at_pointer(|ui| tooltip(tensor, entry, model, ui));
        }
    }
}

fn metric_choice(metric: MapMetric, model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    let combo = ComboBox::from_id_salt("map metric").selected_text(metric.label()).width(190.0).show_ui(ui, |ui| {
        for choice in MapMetric::ALL {
            let enabled = choice.available(model.session);
            if ui.add_enabled(enabled, Button::selectable(choice == metric, choice.label())).clicked() {
                outbox.push(Command::SetMapMetric(choice));
            }
        }
    });
    combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Colour of the map"));
}

fn tooltip(tensor: usize, entry: &TensorEntry, model: &ViewModel<'_>, ui: &mut Ui) {
    let session = model.session;
    ui.set_width(300.0);
    ui.label(RichText::new(&entry.name).strong());
    text_line(ui, "Shape", &figures::shape(&entry.shape));
    text_line(ui, "In the file", &format!("{}, {}", entry.dtype, figures::bytes(entry.size_bytes)));
    if let Some(statistics) = session.statistics.get(tensor).and_then(Option::as_ref) {
        text_line(ui, "Kurtosis", &format!("{:.1}", statistics.kurtosis));
    }
    let Some(row) = session.row(tensor) else { return };
    let format = session.allocation.formats.get(tensor).copied().flatten();
    let Some(at) = row.cells.iter().position(|c| Some(c.format) == format || Some(c.stored_as) == format) else { return };
    let metric = session.cost_metric();
    let cell = &row.cells[at];
    let cost = |at: usize| row.cells[at].metric(metric).unwrap_or(0.0);
    let pin = if session.allocation.pinned.contains(&tensor) { ", pinned" } else { "" };
    text_line(ui, "Now", &format!("{}{pin}, {}", cell.stored_as, figures::bytes(cell.bytes)));
    text_line(ui, metric.label(), &figures::error(cost(at)));
    let mut step = |name: &str, other: usize| {
        let bytes = i128::from(row.cells[other].bytes) - i128::from(cell.bytes);
        let sign = if bytes < 0 { "−" } else { "+" };
        let size = figures::bytes(bytes.unsigned_abs() as u64);
        text_line(ui, name, &format!("{}: {sign}{size}, {}", row.cells[other].stored_as, figures::error(cost(other))));
    };
    if at + 1 < row.cells.len() {
        step("One step up", at + 1);
    }
    if at > 0 {
        step("One step down", at - 1);
    }
}
