//! Quantization: what will come out, on which device, how far it is, what fell back.

use super::stale_note;
use crate::studio::command::{Action, Command, Outbox};
use crate::studio::dialogs::Purpose;
use crate::studio::figures;
use crate::studio::jobs::{Job, JobState};
use crate::studio::theme;
use crate::studio::view_model::ViewModel;
use crate::studio::widgets::buttons::primary_button;
use crate::studio::widgets::labels::{line, note, section, text_line};
use crate::studio::widgets::{picture, plots};
use egui::{Button, CollapsingHeader, ComboBox, Grid, ProgressBar, RichText, Role, ScrollArea, Ui, WidgetInfo};
use egui_plot::Points;
use halftone_core::compute::DeviceChoice;
use halftone_core::job::TensorDone;

/// Draws the pane.
pub fn ui(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| {
        section(ui, "Before");
        before(model, ui);
        devices(model, ui, outbox);
        ui.horizontal(|ui| {
            let color = *theme::tokens(ui).dim;
            ui.label(RichText::new("Job folder").color(color));
            let shown = model.settings.job_root.as_deref().map_or("in the cache".to_owned(), |p| figures::short_path(p, 28));
            if ui.button(format!("{shown}…")).on_hover_text("Choose where finished tensors are kept").clicked() {
                outbox.push(Command::Ask(Purpose::JobRoot));
            }
        });
        ui.add_space(12.0);
        primary_button(ui, model, Action::Quantize, outbox);
        if let Some(job) = model.jobs.iter().rev().find(|j| j.label == "Quantize") {
            section(ui, "Progress");
            stale_note(model, ui);
            progress(job, ui, outbox);
            live_errors(&job.tensors, ui, outbox);
            after(job, ui);
        }
    });
}

fn before(model: &ViewModel<'_>, ui: &mut Ui) {
    let Some(plan) = &model.session.allocation.plan else {
        let resumed = model.session.artifact.is_some() || model.jobs.iter().any(|j| j.label == "Quantize");
        note(ui, if resumed { "The recipe of an earlier start, gone on with" } else { "There is no allocation yet" });
        return;
    };
    line(ui, "File to come", &figures::exact_bytes(plan.file_bytes));
    line(ui, "Tensors", &figures::Figure { value: plan.formats.len().to_string(), unit: "" });
    text_line(ui, "Rounding", &model.session.allocation.recipe().rounding);
    let calibrated = if model.session.calibration.is_some() { "weighted by the calibration" } else { "weights alone" };
    text_line(ui, "Scale search", calibrated);
}

fn devices(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    ui.horizontal(|ui| {
        let color = *theme::tokens(ui).dim;
        ui.label(RichText::new("Device").color(color));
        let name = match &model.settings.device {
            DeviceChoice::Auto => "Automatic".to_owned(),
            DeviceChoice::Cpu => "CPU".to_owned(),
            DeviceChoice::Gpu => "First GPU".to_owned(),
            DeviceChoice::Named(name) => name.clone(),
        };
        let combo = ComboBox::from_id_salt("device").selected_text(name).width(200.0).show_ui(ui, |ui| {
            let mut option = |text: &str, hint: &str, choice: DeviceChoice| {
                if ui.add(Button::selectable(model.settings.device == choice, text)).on_hover_text(hint).clicked() {
                    outbox.push(Command::SetDevice(choice));
                }
            };
            option("Automatic", "A hardware GPU if there is one, else the CPU", DeviceChoice::Auto);
            option("CPU", "Always the same bytes", DeviceChoice::Cpu);
            for device in model.devices.iter().skip(1) {
                let hint = std::iter::once(device.driver.as_str()).chain(device.extensions.iter().copied()).collect::<Vec<_>>().join(", ");
                option(&device.name, &hint, DeviceChoice::Named(device.name.clone()));
            }
        });
        combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Device"));
    });
}

/// Bars, rates and times of a job's stages.
pub fn progress(job: &Job, ui: &mut Ui, outbox: &mut Outbox) {
    let tokens = theme::tokens(ui);
    for stage in &job.stages {
        let progress = stage.progress;
        ui.horizontal(|ui| {
            ui.label(progress.stage.label());
            let done = match progress.stage.unit() {
                "B" => format!("{} of {}", figures::bytes(progress.done), figures::bytes(progress.total)),
                "" => String::new(),
                unit => format!("{} of {} {unit}s", progress.done, progress.total),
            };
            note(ui, done);
        });
        let fraction = if job.active() {
            stage.fraction().unwrap_or(0.0)
        } else if job.state == JobState::Done {
            1.0
        } else {
            stage.fraction().unwrap_or(0.0)
        };
        ui.add(ProgressBar::new(fraction).desired_height(6.0).fill(*tokens.accent));
        let at_work = job.active() && stage.progress.stage == job.stages[job.stages.len() - 1].progress.stage;
        if at_work {
            let rate = stage.rate().map_or(String::new(), |r| figures::rate(r, progress.stage.unit()).to_string());
            let left = stage.remaining_secs().map_or(String::new(), |s| format!("{} left", figures::duration(s)));
            note(ui, format!("{rate}   {left}"));
        }
    }
    stage_times(job, ui);
    ui.horizontal(|ui| match &job.state {
        JobState::Queued => drop(note(ui, "Waiting")),
        JobState::Running | JobState::Paused => {
            let paused = job.state == JobState::Paused;
            if ui.button(if paused { "Resume" } else { "Pause" }).clicked() {
                outbox.push(Command::Pause(job.id, !paused));
            }
            let kept = match job.label {
                "Quantize" => "Finished tensors are kept",
                "Search" => "The best so far is kept",
                _ => "What it did so far is lost",
            };
            if ui.button("Cancel").on_hover_text(kept).clicked() {
                outbox.push(Command::Cancel(job.id));
            }
        }
        JobState::Done => {
            let secs = job.elapsed_secs.unwrap_or(0.0);
            ui.label(RichText::new(format!("Done in {}", figures::duration(secs))).color(*tokens.good));
        }
        JobState::Cancelled => {
            ui.label(RichText::new("Cancelled; run again to go on").color(*tokens.warn));
        }
        JobState::Failed(message) => {
            ui.label(RichText::new(&message.summary).color(*tokens.bad)).on_hover_text(&message.details);
        }
    });
}

/// Where the time went, stage by stage, and what the device did in it.
fn stage_times(job: &Job, ui: &mut Ui) {
    if job.stages.is_empty() {
        return;
    }
    let used = job.device.as_ref();
    let title = used.map_or_else(|| "Time by stage".to_owned(), |used| format!("Time by stage · {}", used.device));
    CollapsingHeader::new(title).id_salt(("stage times", job.id)).default_open(used.is_some()).show(ui, |ui| {
        let columns: &[(&str, &str)] = &[
            ("Stage", "What was done"),
            ("Time", "By the clock"),
            ("Busy", "Share of that time in which the device's kernels ran: an estimate of its utilisation"),
            ("GB/s", "Bytes that the kernels had to read and write, over the time that they ran"),
            ("GFLOP/s", "Arithmetic operations over the time that the kernels ran"),
        ];
        let columns = &columns[..if used.is_some() { 5 } else { 2 }];
        Grid::new(("stages", job.id)).num_columns(columns.len()).spacing([14.0, 4.0]).striped(true).show(ui, |ui| {
            let dim = *theme::tokens(ui).dim;
            for (name, hint) in columns {
                ui.label(RichText::new(*name).color(dim)).on_hover_text(*hint);
            }
            ui.end_row();
            for stage in &job.stages {
                let (wall, device) = (stage.elapsed_secs(), stage.device);
                ui.label(stage.progress.stage.label());
                ui.label(figures::duration(wall).to_string());
                if used.is_some() {
                    let per_second = |amount: f64| if device.secs > 0.0 { format!("{:.1}", amount / device.secs / 1e9) } else { "–".to_owned() };
                    ui.label(if device.secs > 0.0 { format!("{:.0} %", 100.0 * (device.secs / wall.max(1e-9)).min(1.0)) } else { "–".to_owned() });
                    ui.label(per_second(device.bytes));
                    ui.label(per_second(device.operations));
                }
                ui.end_row();
            }
        });
        if used.is_some_and(|used| !used.timestamps) {
            note(ui, "This device has no timestamps: its times are those of whole submits");
        }
    });
}

fn live_errors(tensors: &[TensorDone], ui: &mut Ui, outbox: &mut Outbox) {
    if tensors.is_empty() {
        return;
    }
    let tokens = theme::tokens(ui);
    let height = |error: f64| error.max(1e-9).log10();
    let begun = picture::begin(ui);
    let response = plots::plot("live errors", 150.0)
        .x_axis_label("Tensor")
        .y_axis_label("Relative error")
        .y_axis_min_width(44.0)
        .y_grid_spacer(plots::whole_numbers)
        .y_axis_formatter(|mark, _| figures::error(10f64.powf(mark.value)))
        .show(ui, |plot| {
            for (i, done) in tensors.iter().enumerate() {
                plot.points(Points::new(&done.tensor, vec![[i as f64, height(done.weight_error)]]).radius(3.0).color(tokens.format(done.stored_as)));
            }
        })
        .response;
    picture::end(begun, &response, "Tensor errors", ui, outbox, || {
        let rows = tensors.iter().map(|t| format!("{},{},{},{}\n", t.tensor, t.stored_as, t.bytes, t.weight_error));
        format!("tensor,stored_as,bytes,relative_error\n{}", rows.collect::<String>())
    });
    let resumed = tensors.iter().filter(|t| t.resumed).count();
    if resumed > 0 {
        note(ui, format!("{resumed} of {} were there from an earlier run", tensors.len()));
    }
}

fn after(job: &Job, ui: &mut Ui) {
    if job.active() {
        return;
    }
    section(ui, "What did not go as asked");
    if job.notices.is_empty() {
        note(ui, "Nothing: every tensor is stored as the recipe says");
    }
    for notice in job.notices.iter().take(200) {
        note(ui, notice.to_string());
    }
}
