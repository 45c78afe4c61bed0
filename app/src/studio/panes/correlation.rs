//! Prediction against measurement: the button that measures, one point a probed cell, the diagonal where both agree, and how well each metric ranks them.

use super::run;
use crate::studio::command::{Action, Outbox};
use crate::studio::figures;
use crate::studio::session::Probed;
use crate::studio::theme;
use crate::studio::view_model::ViewModel;
use crate::studio::widgets::buttons::text_button;
use crate::studio::widgets::labels::{note, text_line};
use crate::studio::widgets::{picture, plots};
use egui::Ui;
use egui_plot::{HoverPosition, Line, Points};
use halftone_core::numeric::metric::rank_correlation;
use halftone_core::sensitivity::Trust;

/// Draws the section.
pub fn ui(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    let points = &model.session.correlation;
    let trust = model.session.table.as_ref().and_then(|table| table.evidence.trust.as_ref());
    if points.is_empty() {
        note(ui, "Which metric can be trusted on this model? A few candidates, measured at its output, say it");
    } else {
        let metric = trust.map_or_else(|| model.session.cost_metric(), |trust| trust.best);
        plot(points, metric.label(), ui, outbox);
    }
    if let Some(trust) = trust {
        evidence(trust, ui);
    }
    ui.add_space(4.0);
    text_button(ui, model, Action::Judge, outbox);
    if let Some(job) = model.jobs.iter().rfind(|job| job.label == "Judge metrics" && job.active()) {
        run::progress(job, ui, outbox);
    }
}

/// Every metric with its rank correlation, best first, and how tensors add up.
fn evidence(trust: &Trust, ui: &mut Ui) {
    for correlation in &trust.correlations {
        let used = if correlation.metric == trust.best { ", used" } else { "" };
        text_line(ui, correlation.metric.label(), &format!("{:.2}{used}", correlation.spearman))
            .on_hover_text(format!("Kendall's tau {:.2}, over {} cells", correlation.kendall, correlation.cells));
    }
    let joint = &trust.all_together;
    text_line(ui, "All tensors together / sum of each alone", &format!("{:.2}", joint.ratio()))
        .on_hover_text(format!("{:.4} ± {:.4} nats against {:.4}; costs are scaled by it", joint.together, joint.error, joint.separately));
}

fn plot(points: &[Probed], metric: &str, ui: &mut Ui, outbox: &mut Outbox) {
    let tokens = theme::tokens(ui);
    let log = |value: f64| value.max(1e-9).log10();
    let ends = points.iter().flat_map(|p| [log(p.predicted), log(p.measured)]);
    let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let label = |position: &HoverPosition<'_>| match position {
        HoverPosition::NearDataPoint { plot_name, position, .. } if !plot_name.is_empty() => {
            Some(format!("{plot_name}\n{} predicted, {} measured", figures::error(10f64.powf(position.x)), figures::error(10f64.powf(position.y))))
        }
        _ => None,
    };
    let begun = picture::begin(ui);
    let plot = plots::plot("correlation", 180.0)
        .show_grid([true, true])
        .set_margin_fraction(egui::vec2(0.06, 0.08))
        .x_axis_label(metric)
        .y_axis_label("Measured KL")
        .y_axis_min_width(44.0)
        .x_grid_spacer(plots::few_whole_numbers)
        .y_grid_spacer(plots::whole_numbers)
        .x_axis_formatter(|mark, _| figures::error(10f64.powf(mark.value)))
        .y_axis_formatter(|mark, _| figures::error(10f64.powf(mark.value)))
        .label_formatter(label);
    let response = plot
        .show(ui, |plot| {
            plot.line(Line::new("", vec![[low, low], [high, high]]).color(*tokens.faint).width(1.0).allow_hover(false));
            for point in points {
                let x = log(point.predicted);
                let bar = vec![[x, log(point.measured - point.error)], [x, log(point.measured + point.error)]];
                plot.line(Line::new("", bar).color(*tokens.warn).width(1.0).allow_hover(false));
                plot.points(Points::new(&point.name, vec![[x, log(point.measured)]]).radius(3.5).color(*tokens.accent));
            }
        })
        .response;
    picture::end(begun, &response, "Correlation", ui, outbox, || {
        let rows = points.iter().map(|p| format!("{},{},{},{}\n", p.name, p.predicted, p.measured, p.error));
        format!("name,predicted,measured,error\n{}", rows.collect::<String>())
    });
    let (predicted, measured): (Vec<f64>, Vec<f64>) = points.iter().map(|p| (p.predicted, p.measured)).unzip();
    note(ui, format!("{} probes; rank correlation {:.2}", points.len(), rank_correlation(&predicted, &measured)));
}
