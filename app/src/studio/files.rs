//! Everything that begins with a path: opening, the answers of file dialogs and of the window's own prompt, where the export goes, and
//! jobs of earlier starts. Whether something is there is looked up by the background worker, never while drawing.

use super::app::Studio;
use super::background::Task;
use super::dialogs::Purpose;
use super::dock::{self, Pane};
use super::session::extension;
use super::settings::TextChoice;
use super::widgets::path_field::split;
use halftone_core::UserMessage;
use halftone_core::compute::DeviceChoice;
use halftone_core::export::ExportFormat;
use halftone_core::job::JobKind;
use halftone_core::source::Source;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where an export will be written, and the bytes of the file that stands there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path, absolute.
    pub path: PathBuf,
    /// What is there.
    pub occupied: Option<u64>,
}

/// Looks where an export is to be written. A bare name goes beside the model, a missing extension is the format's.
///
/// # Errors
/// A folder, a folder that is not there, a file of the model itself.
pub(super) fn place(source: &Source, format: ExportFormat, typed: PathBuf) -> Result<Place, UserMessage> {
    let refuse =
        |summary: &str, details: String| Err(UserMessage { summary: summary.to_owned(), details, hint: "Change the path in the Export pane".to_owned() });
    let mut path = source.path.parent().unwrap_or(Path::new("")).join(typed);
    if path.is_dir() {
        return refuse("The path of the export is a folder", format!("{} is a folder; add a file name", path.display()));
    }
    if path.extension().is_none() {
        path.set_extension(extension(format));
    }
    let path = std::path::absolute(&path).unwrap_or(path);
    let Some(folder) = path.parent().filter(|folder| folder.is_dir()) else {
        return refuse("There is no such folder for the export", format!("{} is not in a folder that exists", path.display()));
    };
    let real = |path: &Path| path.canonicalize().ok();
    if real(&path).is_some_and(|there| source.files().any(|file| real(file).is_some_and(|file| file == there))) {
        return refuse("That file is the model itself", format!("{} is being read; choose another name in {}", path.display(), folder.display()));
    }
    let occupied = std::fs::metadata(&path).ok().map(|there| there.len());
    Ok(Place { path, occupied })
}

impl Studio {
    pub(super) fn open(&mut self, path: &Path) {
        // A recipe that is gone on with from another folder must still find its model.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.session.opening = Some(path.clone());
        self.jobs.start(JobKind::Open { path }, DeviceChoice::Cpu);
    }

    pub(super) fn look_for_unfinished_jobs(&mut self) {
        if let Some(root) = self.settings.job_folder() {
            self.background.ask(Task::Unfinished(root));
        }
    }

    /// A job that some process still works in may be free a little later.
    pub(super) fn look_again_for_unfinished_jobs(&mut self, ctx: &egui::Context, now: f64) {
        const EVERY_SECS: f64 = 3.0;
        if self.session.source.is_some() || !self.background.unfinished.iter().any(|job| job.busy) {
            return;
        }
        if now - self.looked_for_jobs >= EVERY_SECS {
            self.looked_for_jobs = now;
            self.look_for_unfinished_jobs();
        }
        ctx.request_repaint_after(std::time::Duration::from_secs_f64(EVERY_SECS));
    }

    pub(super) fn ask(&mut self, purpose: Purpose) {
        self.asked = Some(purpose);
        let suggestion = match purpose {
            Purpose::SaveRecipe => self.session.suggested_name("toml"),
            Purpose::ExportFile | Purpose::ExportPlace => self.session.suggested_name(extension(self.session.format_to_export())),
            Purpose::Picture => self.camera.suggested_name(),
            _ => String::new(),
        };
        self.dialogs.ask(purpose, &suggestion);
    }

    /// The system has no file dialog: the path is asked for in the window.
    pub(super) fn ask_without_dialog(&mut self) {
        let Some(purpose) = self.asked.take() else { return };
        let beside = |name: String| {
            let folder = self.session.source.as_ref().and_then(|s| s.path.parent().map(Path::to_owned)).unwrap_or_default();
            folder.join(name).display().to_string()
        };
        let suggestion = match purpose {
            Purpose::ExportFile | Purpose::ExportPlace => {
                dock::show(&mut self.layout, Pane::Export);
                self.session.path_to_export()
            }
            Purpose::SaveRecipe => beside(self.session.suggested_name("toml")),
            Purpose::Picture => beside(self.camera.suggested_name()),
            _ => String::new(),
        };
        self.chrome.ask_path(purpose, suggestion);
    }

    /// An answer of the window's own prompt. Unlike a system's dialog it has not asked about a file that is there already.
    pub(super) fn entered(&mut self, purpose: Purpose, text: &str) {
        match purpose {
            Purpose::ModelFile | Purpose::ModelFolder => self.background.ask(Task::Locate(text.to_owned())),
            Purpose::CalibrationText | Purpose::HeldOutText => self.picked(purpose, split(text)),
            Purpose::ExportFile => {
                self.session.export_path = Some(text.to_owned());
                self.ask_place(crate::locate::expand(text));
            }
            other => self.picked(other, vec![crate::locate::expand(text)]),
        }
    }

    pub(super) fn picked(&mut self, purpose: Purpose, mut paths: Vec<PathBuf>) {
        match purpose {
            Purpose::CalibrationText => return self.settings.calibration_text = TextChoice::Files(paths),
            Purpose::HeldOutText => return self.settings.held_out_text = TextChoice::Files(paths),
            _ => {}
        }
        let Some(path) = paths.pop() else { return };
        match purpose {
            Purpose::ModelFile | Purpose::ModelFolder => self.open(&path),
            Purpose::JobRoot => {
                self.settings.job_root = Some(path);
                self.look_for_unfinished_jobs();
            }
            Purpose::LoadRecipe => self.background.ask(Task::LoadRecipe(path)),
            Purpose::SaveRecipe => self.background.ask(Task::SaveRecipe(Box::new(self.session.allocation.recipe().clone()), path)),
            Purpose::ExportFile => self.export(path),
            Purpose::ExportPlace => self.session.export_path = Some(path.display().to_string()),
            Purpose::Picture => {
                if let Some(photo) = self.camera.photo.take() {
                    self.background.ask(Task::SavePicture(photo, path));
                }
            }
            Purpose::CalibrationText | Purpose::HeldOutText => {}
        }
    }

    /// Has the place of the export looked at; [`Self::placed`] goes on.
    pub(super) fn ask_place(&mut self, path: PathBuf) {
        if let Some(source) = self.session.source.clone() {
            self.session.occupied = None;
            self.background.ask(Task::Place(source, self.session.format_to_export(), path));
        }
    }

    /// Writes to a free place; asks about one that is not.
    pub(super) fn placed(&mut self, place: Place) {
        match place.occupied {
            None => self.export(place.path),
            Some(bytes) => {
                self.session.occupied = Some((place.path, bytes));
                dock::show(&mut self.layout, Pane::Export);
            }
        }
    }

    pub(super) fn export(&mut self, path: PathBuf) {
        if let (Some(source), Some(artifact)) = (self.session.source.clone(), self.session.artifact.clone()) {
            let format = self.session.format_to_export();
            self.jobs.start(JobKind::Export { source, artifact, format, path }, self.settings.device.clone());
        }
    }

    /// The model of a resumed job is open.
    pub(super) fn go_on(&mut self, source: &Arc<Source>) {
        if let Some(folder) = self.resuming.take() {
            self.background.unfinished.retain(|job| job.folder != folder);
            self.jobs.start(JobKind::Resume { source: source.clone(), folder }, self.settings.device.clone());
            dock::show(&mut self.layout, Pane::Run);
        }
    }
}
