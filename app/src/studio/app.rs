//! The studio's fields, its beginning and its frame. Events are drained in `logic`, commands carried out in `execute`; drawing only
//! reads a [`ViewModel`] and pushes commands.

use super::background::Background;
use super::chrome::{self, Chrome};
use super::command::{Command, Outbox};
use super::dialogs::{Dialogs, Purpose};
use super::dock::{self, Dock, Pane};
use super::jobs::{Jobs, Wake};
use super::messages::Messages;
use super::panes::{Panes, welcome};
use super::pictures::Camera;
use super::selection::Selection;
use super::session::Session;
use super::settings::Settings;
use super::theme;
use super::view_model::ViewModel;
use egui_tiles::Tree;
use std::path::PathBuf;
use std::sync::Arc;

const SETTINGS_KEY: &str = "settings";
const LAYOUT_KEY: &str = "layout";

/// The studio.
pub struct Studio {
    /// The opened model and what was made of it.
    pub session: Session,
    pub(super) selection: Selection,
    pub(super) jobs: Jobs,
    pub(super) background: Background,
    pub(super) dialogs: Box<dyn Dialogs>,
    pub(super) messages: Messages,
    /// Remembered choices.
    pub settings: Settings,
    pub(super) layout: Tree<Pane>,
    pub(super) panes: Panes,
    pub(super) chrome: Chrome,
    pub(super) outbox: Outbox,
    /// The purpose of the last file dialog.
    pub(super) asked: Option<Purpose>,
    /// The job folder to go on with when its model is open.
    pub(super) resuming: Option<PathBuf>,
    pub(super) camera: Camera,
    /// When jobs of earlier starts were looked for (egui's clock).
    pub(super) looked_for_jobs: f64,
}

/// A wake-up call that asks for a frame.
pub fn wake_of(ctx: &egui::Context) -> Wake {
    let ctx = ctx.clone();
    Arc::new(move || ctx.request_repaint())
}

impl Studio {
    /// A studio in its first frame. What was remembered comes from `storage`.
    pub fn new(ctx: &egui::Context, storage: Option<&dyn eframe::Storage>, dialogs: Box<dyn Dialogs>) -> Self {
        theme::install(ctx);
        let settings: Settings = storage.and_then(|s| eframe::get_value(s, SETTINGS_KEY)).unwrap_or_default();
        let layout = storage.and_then(|s| eframe::get_value(s, LAYOUT_KEY)).filter(dock::complete).unwrap_or_else(dock::default_layout);
        ctx.set_theme(settings.theme);
        let wake = wake_of(ctx);
        let mut background = Background::new(wake.clone());
        background.ask(super::background::Task::Devices);
        let mut studio = Self {
            session: Session::default(),
            selection: Selection::default(),
            jobs: Jobs::new(wake),
            background,
            dialogs,
            messages: Messages::default(),
            settings,
            layout,
            panes: Panes::default(),
            chrome: Chrome::default(),
            outbox: Outbox::new(),
            asked: None,
            resuming: None,
            camera: Camera::default(),
            looked_for_jobs: 0.0,
        };
        studio.look_for_unfinished_jobs();
        studio
    }

    /// Queues a command, as a widget would.
    pub fn send(&mut self, command: Command) {
        self.outbox.push(command);
    }

    /// What panes read.
    pub fn view(&self) -> ViewModel<'_> {
        view(&self.session, &self.selection, &self.jobs, &self.settings, &self.messages, &self.background)
    }
}

fn view<'a>(
    session: &'a Session,
    selection: &'a Selection,
    jobs: &'a Jobs,
    settings: &'a Settings,
    messages: &'a Messages,
    background: &'a Background,
) -> ViewModel<'a> {
    ViewModel {
        session,
        selection,
        jobs: jobs.list(),
        settings,
        messages,
        devices: &background.devices,
        unfinished: &background.unfinished,
        report: background.report.as_ref(),
    }
}

impl eframe::App for Studio {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        self.carry_out_commands(ctx);
        self.drain(ctx);
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        let model = view(&self.session, &self.selection, &self.jobs, &self.settings, &self.messages, &self.background);
        chrome::keys(&model, ui.ctx(), &mut self.outbox);
        chrome::top_bar(&model, &self.layout, ui, &mut self.outbox);
        chrome::status_bar(&model, ui, &mut self.outbox);
        let fill = egui::Frame::new().fill(*theme::tokens(ui).surface);
        egui::CentralPanel::default().frame(fill).show(ui, |ui| {
            if self.session.source.is_some() {
                let mut dock = Dock { model, panes: &mut self.panes, outbox: &mut self.outbox };
                self.layout.ui(&mut dock, ui);
            } else {
                welcome::ui(&model, ui, &mut self.outbox);
            }
        });
        self.chrome.overlays(&model, ui, &mut self.outbox);
        if !self.outbox.is_empty() {
            // Commands are carried out at the start of the next frame.
            ui.ctx().request_repaint();
        }
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        eframe::set_value(storage, SETTINGS_KEY, &self.settings);
        eframe::set_value(storage, LAYOUT_KEY, &self.layout);
    }
}
