//! The one place where commands are carried out, between frames.

use super::allocation::format_for_bits;
use super::app::Studio;
use super::background::{Task, TextUse};
use super::command::{Action, Command};
use super::dialogs::Purpose;
use super::dock;
use super::figures;
use super::messages::Level;
use super::selection::SelectMode;
use super::session::Session;
use super::settings::TextChoice;
use egui::{ThemePreference, ViewportCommand};
use halftone_core::allocate::Target;
use halftone_core::codec::Format;
use halftone_core::compute::DeviceChoice;
use halftone_core::job::{JobKind, QuantizeOptions, folder_name};
use halftone_core::recipe::{Edit, Recipe};
use halftone_core::refine::RefineOptions;
use std::sync::Arc;
use std::time::Duration;

/// Cells that are measured where metrics are judged; the action's text says the number.
const JUDGED_CELLS: usize = 24;
/// How the search finds what to try.
pub(super) const SEARCHER: &str = "swaps";

impl Studio {
    pub(super) fn carry_out_commands(&mut self, ctx: &egui::Context) {
        if ctx.input(|i| i.viewport().close_requested()) && !self.chrome.may_close && self.view().busy() {
            ctx.send_viewport_cmd(ViewportCommand::CancelClose);
            self.chrome.asks_to_close = true;
        }
        for command in std::mem::take(&mut self.outbox) {
            tracing::debug!(?command, "command");
            self.carry_out(command, ctx);
        }
    }

    fn carry_out(&mut self, command: Command, ctx: &egui::Context) {
        let now = ctx.input(|i| i.time);
        match command {
            Command::Do(action) => {
                if action.enabled(&self.view()).is_ok() {
                    self.act(action, ctx, now);
                }
            }
            Command::Open(path) => self.open(&path),
            Command::OpenTyped(typed) => self.background.ask(Task::Locate(typed)),
            Command::Entered(purpose, text) => self.entered(purpose, &text),
            Command::Resume(job) => {
                self.resuming = Some(job.folder);
                self.open(&job.model_path);
            }
            Command::Discard(folder) => self.background.ask(Task::Discard(folder)),
            Command::Picked(purpose, paths) => self.picked(purpose, paths),
            Command::Select { tensors, cursor, mode } => self.selection.apply(&tensors, cursor, mode),
            Command::Paint(format) => self.paint(&self.selected(), |_| Some(format), now),
            Command::PaintTensors(tensors, format) => self.paint(&tensors, |_| Some(format), now),
            Command::BudgetBegin => self.session.allocation.begin(),
            Command::SetBudget(budget) => self.edit(Edit::SetBudget(budget), now),
            Command::BudgetEnd => {
                self.session.allocation.end();
                self.ask_verdicts();
            }
            Command::SetBudgetUnit(unit) => self.settings.budget_unit = unit,
            Command::SetMemory(context, cache) => (self.settings.memory_context, self.settings.memory_cache) = (context, cache),
            Command::SetTarget(target) => self.set_target(target, now),
            Command::SetCostMetric(metric) => {
                if let (Some(table), Some(source)) = (self.session.table.clone(), self.session.source.clone()) {
                    let became = self.session.allocation.set_metric(metric, &table, &source, now);
                    self.session.refresh_map();
                    self.tell_budget(became, now);
                }
            }
            Command::SetRounding(name) => self.edit(Edit::SetRounding(name), now),
            Command::SetMapMetric(metric) => self.set_map_metric(metric),
            Command::SetCalibrationText(choice) => self.settings.calibration_text = choice,
            Command::SetCalibrationTokens(tokens) => self.settings.calibration.tokens = tokens,
            Command::SetProbe(probe) => self.settings.probe = probe,
            Command::SetSearchMinutes(minutes) => self.settings.search_minutes = minutes,
            Command::SetHeldOutText(choice) => self.settings.held_out_text = choice,
            Command::SetChunks(chunks) => self.settings.compare.chunks = chunks,
            Command::SetContext(context) => self.settings.compare.context = context,
            Command::SetDevice(device) => self.settings.device = device,
            Command::Ask(purpose) => self.ask(purpose),
            Command::SetExportFormat(format) => self.session.set_export_format(format),
            Command::SetExportPath(path) => {
                self.session.export_path = Some(path);
                self.session.occupied = None;
            }
            Command::Replace(replace) => {
                if let Some((path, _)) = self.session.occupied.take().filter(|_| replace) {
                    self.export(path);
                }
            }
            Command::SetPrompt(prompt) => self.settings.prompt = prompt,
            Command::SetGeneration(options) => self.settings.generation = options,
            Command::TakePicture { name, picture } => self.take_picture(name, picture, ctx),
            Command::Cancel(id) => self.jobs.cancel(id),
            Command::Pause(id, paused) => self.jobs.pause(id, paused),
            Command::Copy(text) => ctx.copy_text(text),
            Command::Dismiss(id) => self.messages.dismiss(id),
            Command::SetTheme(theme) => self.set_theme(theme, ctx),
            Command::ConfirmClose(close) => {
                self.chrome.asks_to_close = false;
                self.chrome.may_close = close;
                if close {
                    self.jobs.cancel_all();
                    ctx.send_viewport_cmd(ViewportCommand::Close);
                }
            }
        }
    }

    fn act(&mut self, action: Action, ctx: &egui::Context, now: f64) {
        match action {
            Action::OpenFile => self.ask(Purpose::ModelFile),
            Action::OpenFolder => self.ask(Purpose::ModelFolder),
            Action::OpenPath => self.chrome.ask_path(Purpose::ModelFile, String::new()),
            Action::OpenDemo => self.background.ask(Task::UnpackDemo),
            Action::CloseModel => {
                self.jobs.cancel_all();
                self.session = Session::default();
                self.selection.clear();
                self.look_for_unfinished_jobs();
            }
            Action::LoadRecipe => self.ask(Purpose::LoadRecipe),
            Action::SaveRecipe => self.ask(Purpose::SaveRecipe),
            Action::Undo | Action::Redo => self.step(action == Action::Undo, now),
            Action::SelectAll => {
                let all: Vec<usize> = self.session.grid.cells.iter().copied().flatten().collect();
                self.selection.apply(&all, self.selection.cursor.or(all.first().copied()), SelectMode::Replace);
            }
            Action::ClearSelection => self.selection.clear(),
            Action::Bits(bits) => self.paint_bits(bits, now),
            Action::Pin => self.edit(Edit::Pin(self.names(&self.selected())), now),
            Action::Unpin | Action::HandBack => self.edit(Edit::Unpin(self.names(&self.selected())), now),
            Action::Exclude => self.edit(Edit::Exclude(self.names(&self.selected())), now),
            Action::Measure => self.measure(),
            Action::Judge => self.judge(),
            Action::Refine => self.refine(now),
            Action::Quantize => self.quantize(now),
            Action::Compare => {
                let choice = match &self.settings.held_out_text {
                    TextChoice::None => TextChoice::Bundled,
                    other => other.clone(),
                };
                self.background.ask(Task::ReadText(TextUse::Compare, choice));
            }
            Action::Generate => self.generate(),
            Action::Export => self.ask(Purpose::ExportFile),
            Action::Write => self.ask_place(crate::locate::expand(&self.session.path_to_export())),
            Action::PauseJob | Action::CancelJob => self.hold_or_stop(action == Action::PauseJob),
            Action::Show(pane) => dock::show(&mut self.layout, pane),
            Action::ResetLayout => self.layout = dock::default_layout(),
            Action::Palette => self.chrome.toggle_palette(),
            Action::Help => self.chrome.toggle_help(),
            Action::ZoomIn => ctx.set_zoom_factor((ctx.zoom_factor() + 0.1).min(3.0)),
            Action::ZoomOut => ctx.set_zoom_factor((ctx.zoom_factor() - 0.1).max(0.6)),
            Action::ZoomReset => ctx.set_zoom_factor(1.0),
            Action::ThemeLight => self.set_theme(ThemePreference::Light, ctx),
            Action::ThemeDark => self.set_theme(ThemePreference::Dark, ctx),
            Action::ThemeSystem => self.set_theme(ThemePreference::System, ctx),
            Action::Quit => ctx.send_viewport_cmd(ViewportCommand::Close),
        }
    }

    fn set_theme(&mut self, theme: ThemePreference, ctx: &egui::Context) {
        self.settings.theme = theme;
        ctx.set_theme(theme);
    }

    fn measure(&mut self) {
        self.session.calibration = None;
        if self.session.can_run() && self.settings.calibration_text != TextChoice::None {
            self.background.ask(Task::ReadText(TextUse::Calibrate, self.settings.calibration_text.clone()));
        } else {
            self.start_measurement(Vec::new());
        }
    }

    fn quantize(&mut self, now: f64) {
        let Some(source) = self.session.source.clone() else { return };
        let recipe = self.session.allocation.recipe().clone();
        match self.settings.job_folder() {
            Some(root) => {
                self.session.drop_derived();
                self.session.quantized_bytes = self.session.allocation.plan.as_ref().map_or(0, |p| p.file_bytes);
                // Running the same job again resumes it; after another calibration, or by another version of the program, it is another job.
                let calibration = self.session.calibration.clone();
                let folder = root.join(folder_name(&recipe, calibration.as_deref()));
                self.jobs.start(JobKind::Quantize { source, calibration, recipe, options: QuantizeOptions { folder } }, self.settings.device.clone());
            }
            None => self.no_folder("Quantize", now),
        }
    }

    fn no_folder(&mut self, origin: &'static str, now: f64) {
        let message = halftone_core::UserMessage {
            summary: "There is no folder for the job".to_owned(),
            details: "The system names no cache folder (is HOME set?)".to_owned(),
            hint: "Choose a job folder in the Quantize pane".to_owned(),
        };
        self.messages.tell(Level::Error, origin, message, now);
    }

    /// Has metrics held against measured cells.
    fn judge(&mut self) {
        let session = &self.session;
        if let (Some(source), Some(table), Some(text)) = (session.source.clone(), session.table.clone(), &session.text) {
            let (calibration, text) = (session.calibration.clone(), text.search.clone());
            self.jobs.start(JobKind::Judge { source, calibration, table, text, cells: JUDGED_CELLS }, self.settings.device.clone());
        }
    }

    /// Searches on from the recipe; asked again before it is edited, goes on where the search ended.
    fn refine(&mut self, now: f64) {
        let Some(root) = self.settings.job_folder() else { return self.no_folder("Search", now) };
        let session = &self.session;
        if let (Some(source), Some(problem), Some(text)) = (session.source.clone(), session.allocation.problem.clone(), &session.text) {
            let (calibration, text, recipe) = (session.calibration.clone(), text.search.clone(), session.search_start().clone());
            let options = RefineOptions {
                folder: root.join("searches"),
                searcher: SEARCHER.to_owned(),
                time: Some(Duration::from_secs_f64(self.settings.search_minutes * 60.0)),
                trials: None,
                seed: recipe.seed,
            };
            self.jobs.start(JobKind::Refine { source, calibration, problem, recipe, text, options }, self.settings.device.clone());
        }
    }

    fn generate(&mut self) {
        if let (Some(source), Some(artifact)) = (self.session.source.clone(), self.session.artifact.clone()) {
            let (prompt, options) = (Arc::from(self.settings.prompt.as_str()), self.settings.generation);
            self.jobs.start(JobKind::Generate { source, artifact, prompt, options }, DeviceChoice::Cpu);
        }
    }

    fn hold_or_stop(&mut self, hold: bool) {
        let Some((id, paused)) = self.view().active_job().map(|j| (j.id, j.state == super::jobs::JobState::Paused)) else { return };
        if hold { self.jobs.pause(id, !paused) } else { self.jobs.cancel(id) }
    }

    fn selected(&self) -> Vec<usize> {
        self.selection.tensors.iter().copied().collect()
    }

    fn names(&self, tensors: &[usize]) -> Vec<String> {
        let source = self.session.source.as_ref();
        tensors
            .iter()
            .filter_map(|t| Some(source?.tensors.get(*t)?.name.clone()))
            .filter(|n| self.session.table.as_ref().is_some_and(|t| t.row(n).is_some()))
            .collect()
    }

    fn edit(&mut self, edit: Edit, now: f64) {
        if let (Some(table), Some(source)) = (self.session.table.clone(), self.session.source.clone()) {
            self.session.allocation.edit(edit, &table, &source, now);
            self.session.refresh_map();
        }
    }

    fn step(&mut self, back: bool, now: f64) {
        if let (Some(table), Some(source)) = (self.session.table.clone(), self.session.source.clone()) {
            self.session.allocation.step(back, &table, &source, now);
            self.session.refresh_map();
            self.ask_verdicts();
        }
    }

    pub(super) fn adopt(&mut self, recipe: &Recipe, now: f64) {
        if let (Some(table), Some(source)) = (self.session.table.clone(), self.session.source.clone()) {
            self.session.allocation.adopt(recipe, &table, &source, now);
            self.session.refresh_map();
            self.ask_verdicts();
        }
    }

    /// A largest cost became a size with another metric.
    pub(super) fn tell_budget(&mut self, became: Option<u64>, now: f64) {
        let Some(bytes) = became else { return };
        let message = halftone_core::UserMessage {
            summary: format!("The budget is now a size, {}", figures::bytes(bytes)),
            details: format!("What was the largest cost means nothing in {}", self.session.cost_metric().label().to_lowercase()),
            hint: "Undo, or set another largest cost".to_owned(),
        };
        self.messages.tell(Level::Warning, "Allocate", message, now);
    }

    fn set_target(&mut self, target: Target, now: f64) {
        self.edit(Edit::SetTarget(target), now);
        self.ask_verdicts();
    }

    fn paint_bits(&mut self, bits: u8, now: f64) {
        let chosen: Vec<(usize, Format)> = self.selected().into_iter().filter_map(|t| Some((t, format_for_bits(self.session.row(t)?, bits)?))).collect();
        let tensors: Vec<usize> = chosen.iter().map(|(t, _)| *t).collect();
        self.paint(&tensors, |t| chosen.iter().find(|(tensor, _)| *tensor == t).map(|(_, f)| *f), now);
    }

    /// Pins tensors at formats, as one step.
    fn paint(&mut self, tensors: &[usize], format: impl Fn(usize) -> Option<Format>, now: f64) {
        let mut groups: Vec<(Format, Vec<usize>)> = Vec::new();
        for &tensor in tensors {
            let Some(format) = format(tensor) else { continue };
            match groups.iter_mut().find(|(f, _)| *f == format) {
                Some((_, group)) => group.push(tensor),
                None => groups.push((format, vec![tensor])),
            }
        }
        self.session.allocation.begin();
        for (format, group) in groups {
            self.edit(Edit::Paint { tensors: self.names(&group), stored: format.into() }, now);
        }
        self.session.allocation.end();
        self.ask_verdicts();
    }
}
