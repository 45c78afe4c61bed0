//! What happens between frames: events of jobs, replies of the background worker, answers of dialogs.

use super::app::Studio;
use super::background::{Reply, Task, TextUse};
use super::command::Command;
use super::dock::{self, Pane};
use super::execute::SEARCHER;
use super::jobs::News;
use super::messages::Level;
use super::session::{Measured, Session};
use super::{figures, map_metric::MapMetric};
use halftone_core::calibrate::{CalibrationOptions, DEFAULT_MEMORY, TextSplit, gram_columns};
use halftone_core::compute::DeviceChoice;
use halftone_core::error::UserMessage;
use halftone_core::job::{JobKind, Product};
use halftone_core::sensitivity::MeasureOptions;
use halftone_core::source::Source;
use std::sync::Arc;

impl Studio {
    pub(super) fn drain(&mut self, ctx: &egui::Context) {
        let now = ctx.input(|i| i.time);
        for news in self.jobs.drain() {
            match news {
                News::Statistics(index, statistics) => {
                    if let Some(slot) = self.session.statistics.get_mut(index) {
                        *slot = Some(Arc::from(statistics));
                    }
                    self.session.refresh_map();
                }
                News::Row(row) => self.session.take_row(row),
                News::Product(product) => self.receive(product, now),
                News::Failed(origin, message) => {
                    self.session.opening = None;
                    self.resuming = None;
                    self.messages.tell(Level::Error, origin, message, now);
                }
            }
        }
        for reply in self.background.drain() {
            self.take(reply, now);
        }
        let answers = self.dialogs.answers();
        self.outbox.extend(answers.into_iter().filter(|(_, paths)| !paths.is_empty()).map(|(purpose, paths)| Command::Picked(purpose, paths)));
        if self.dialogs.missing() {
            self.ask_without_dialog();
        }
        self.develop(ctx);
        self.look_again_for_unfinished_jobs(ctx, now);
        self.open_dropped(ctx);
        self.look();
        self.messages.age(now);
        if self.jobs.list().iter().any(super::jobs::Job::active) {
            // Rates and times left move on while no event comes.
            ctx.request_repaint_after(std::time::Duration::from_millis(250));
        }
    }

    fn receive(&mut self, product: Product, now: f64) {
        match product {
            Product::Source(source) => self.opened(source, now),
            Product::Statistics(all) => {
                for (slot, statistics) in self.session.statistics.iter_mut().zip(all.iter()) {
                    if slot.is_none() {
                        *slot = statistics.clone().map(Arc::new);
                    }
                }
                self.session.refresh_map();
            }
            Product::Calibration(calibration) => {
                self.session.calibration = Some(calibration);
                self.time_calibration();
                if !self.settings.probe {
                    self.start_measurement(Vec::new());
                } else if let (Some(source), Some(text)) = (self.session.source.clone(), self.session.text.clone()) {
                    self.background.ask(Task::Probe(source, text));
                }
            }
            Product::Table(table) => {
                self.session.set_table(table, now);
                self.ask_verdicts();
                dock::show(&mut self.layout, Pane::Allocate);
            }
            Product::Judged(table) => {
                if let Some(trust) = &table.evidence.trust {
                    let best = trust.of(trust.best).map_or(0.0, |c| c.spearman);
                    let text = format!("{} cells measured; {} ranks them best, rank correlation {best:.2}", trust.cells.len(), trust.best.label());
                    self.messages.news("Judge metrics", text, now);
                }
                let became = self.session.take_judged(table, now);
                self.tell_budget(became, now);
                self.ask_verdicts();
                dock::show(&mut self.layout, Pane::Allocate);
            }
            Product::Refined(found, began) => {
                if !self.session.take_searched(found, &began, SEARCHER, now) {
                    let message = UserMessage {
                        summary: "The recipe was edited while it was searched, so it stays as it is".to_owned(),
                        details: "What the search found belongs to the recipe that it began with".to_owned(),
                        hint: "Undo to that recipe and search again: it goes on where it ended".to_owned(),
                    };
                    self.messages.tell(Level::Warning, "Search", message, now);
                }
                self.ask_verdicts();
            }
            Product::Artifact(artifact) => {
                self.messages.news("Quantize", format!("{} tensors quantized", artifact.tensors().count()), now);
                self.session.artifact = Some(artifact);
                self.session.show_artifact();
                self.ask_verdicts();
            }
            Product::Comparison(comparison) => {
                let bytes = self.session.quantized_bytes;
                self.session.measured.push(Measured { bytes, kl: comparison.kl_mean, error: comparison.kl_error });
                if let Some(source) = self.session.source.clone() {
                    self.background.ask(Task::Read(source, comparison.clone()));
                }
                self.session.comparison = Some(comparison);
                dock::show(&mut self.layout, Pane::Compare);
            }
            Product::Generated(generated) => {
                self.session.generated = Some(generated);
                dock::show(&mut self.layout, Pane::Compare);
            }
            Product::Exported(exported) => {
                let size = figures::bytes(exported.bytes);
                self.messages.news("Export", format!("{size} written and checked: {}", figures::short_path(&exported.path, 48)), now);
                self.session.exported = Some(exported);
            }
        }
    }

    fn opened(&mut self, source: Arc<Source>, now: f64) {
        self.settings.remember(&source.path);
        self.selection.clear();
        self.panes.reset();
        self.session = Session::open(source.clone());
        self.session.refresh_map();
        if let Err(error) = source.config.forward_supported() {
            self.messages.tell(Level::Warning, "Open", error.user_message(), now);
        }
        self.jobs.start(JobKind::Statistics { source: source.clone() }, DeviceChoice::Cpu);
        dock::show(&mut self.layout, Pane::Map);
        dock::show(&mut self.layout, Pane::Measure);
        self.go_on(&source);
    }

    fn take(&mut self, reply: Reply, now: f64) {
        let failed = match reply {
            Reply::Devices(devices) => {
                self.background.devices = devices;
                None
            }
            Reply::Demo(Ok(path)) => {
                self.outbox.push(Command::Open(path));
                None
            }
            Reply::Text(TextUse::Calibrate, Ok(text)) => {
                self.start_calibration(text, now);
                None
            }
            Reply::Text(TextUse::Compare, Ok(text)) => {
                self.start_comparison(&text);
                None
            }
            Reply::Probe(Ok(probe)) => {
                self.start_measurement(probe);
                None
            }
            Reply::Probe(Err(error)) => {
                // Without a text to probe on, the other metrics are still worth having.
                self.start_measurement(Vec::new());
                Some(("Probe", error))
            }
            Reply::Unfinished(Ok(jobs)) => {
                self.background.unfinished = jobs;
                None
            }
            Reply::Discarded(folder, Ok(())) => {
                self.background.unfinished.retain(|job| job.folder != folder);
                None
            }
            Reply::Located(Ok(path)) => {
                self.open(&path);
                None
            }
            Reply::Place(Ok(place)) => {
                self.placed(place);
                None
            }
            Reply::Pictured(Ok(path)) => {
                self.messages.news("Picture", format!("Picture saved to {}", figures::short_path(&path, 48)), now);
                None
            }
            Reply::Inspected(Ok(report)) => {
                self.background.report = Some(report);
                None
            }
            Reply::Read(reading) => {
                self.session.reading = Some(reading);
                None
            }
            Reply::Verdicts(verdicts) => {
                self.session.verdicts = verdicts;
                if let (0, Some((_, Ok(bytes)))) = (self.session.quantized_bytes, self.session.verdicts.first()) {
                    self.session.quantized_bytes = *bytes;
                }
                None
            }
            Reply::Saved(Ok(path)) => {
                self.messages.news("Recipe", format!("Recipe saved to {}", figures::short_path(&path, 48)), now);
                None
            }
            Reply::Recipe(Ok(recipe)) => {
                self.adopt(&recipe, now);
                None
            }
            Reply::Demo(Err(error)) => Some(("Demo", error)),
            Reply::Unfinished(Err(error)) | Reply::Discarded(_, Err(error)) => Some(("Quantize", error)),
            Reply::Located(Err(error)) => Some(("Open", error)),
            Reply::Place(Err(error)) => Some(("Export", error)),
            Reply::Pictured(Err(error)) => Some(("Picture", error)),
            Reply::Text(_, Err(error)) => Some(("Text", error)),
            Reply::Inspected(Err(error)) => Some(("Inspector", error)),
            Reply::Saved(Err(error)) | Reply::Recipe(Err(error)) => Some(("Recipe", error)),
        };
        if let Some((origin, error)) = failed {
            self.messages.tell(Level::Error, origin, error, now);
        }
    }

    /// Starts measuring; without a probe the predicted KL is left out.
    pub(super) fn start_measurement(&mut self, probe: Vec<Vec<u32>>) {
        let Some(source) = self.session.source.clone() else { return };
        let options = MeasureOptions { probe, ..MeasureOptions::default() };
        self.jobs.start(JobKind::Measure { source, calibration: self.session.calibration.clone(), options }, self.settings.device.clone());
    }

    fn start_calibration(&mut self, text: Arc<TextSplit>, now: f64) {
        let Some(source) = self.session.source.clone() else { return };
        self.session.text = Some(text.clone());
        let (gram_columns, left_out) = gram_columns(&source.config, DEFAULT_MEMORY);
        if let Some(summary) = left_out {
            self.messages.tell(Level::Warning, "Calibrate", UserMessage { summary, details: String::new(), hint: String::new() }, now);
        }
        let options = CalibrationOptions { gram_columns, ..self.settings.calibration.clone() };
        let text = text.calibration.clone();
        self.jobs.start(JobKind::Calibrate { source, text, options }, self.settings.device.clone());
    }

    /// What the calibration took says how fast this machine is.
    fn time_calibration(&mut self) {
        let took = self.jobs.list().iter().rev().find(|j| j.label == "Calibrate").and_then(|j| j.elapsed_secs);
        let tokens = self.session.calibration.as_ref().map(|c| c.tokens()).filter(|tokens| *tokens > 0);
        if let (Some(secs), Some(tokens)) = (took.filter(|secs| *secs > 0.5), tokens) {
            self.settings.flops_per_sec = Some(self.session.token_work * tokens as f64 / secs);
        }
    }

    fn start_comparison(&mut self, text: &TextSplit) {
        let (Some(source), Some(artifact)) = (self.session.source.clone(), self.session.artifact.clone()) else { return };
        let options = self.settings.compare;
        let text = text.hold_out.clone();
        self.jobs.start(JobKind::Compare { source, artifact, text, options }, self.settings.device.clone());
    }

    pub(super) fn ask_verdicts(&mut self) {
        if let Some(source) = self.session.source.clone() {
            self.background.ask(Task::Verdicts(source, Box::new(self.session.recipe().clone())));
        }
    }

    fn open_dropped(&mut self, ctx: &egui::Context) {
        let dropped = ctx.input(|i| i.raw.dropped_files.first().map(|f| f.path().to_owned()));
        if let Some(path) = dropped {
            self.outbox.push(Command::Open(path));
        }
    }

    /// Has the tensor under the cursor looked at.
    fn look(&mut self) {
        if let (Some(source), Some(tensor)) = (&self.session.source, self.selection.cursor) {
            let format = self.session.allocation.formats.get(tensor).copied().flatten();
            self.background.look_at(source, tensor, format, self.session.calibration.as_ref());
        }
    }

    /// Shows another metric on the map.
    pub(super) fn set_map_metric(&mut self, metric: MapMetric) {
        self.session.map_metric = Some(metric);
        self.session.refresh_map();
    }
}
