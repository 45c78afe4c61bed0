//! A second worker for what is too slow for a frame and too small for a job: looking at one tensor, decoding compared tokens, asking
//! writers for their verdict, reading texts. It calls core and hands back `Arc`s; a task is never waited for.

use super::jobs::Wake;
use super::settings::TextChoice;
use crossbeam_channel::{Receiver, Sender, bounded};
use halftone_core::UserMessage;
use halftone_core::calibrate::{Calibration, TextSplit};
use halftone_core::codec::Format;
use halftone_core::compute::Capabilities;
use halftone_core::eval::Comparison;
use halftone_core::export::ExportFormat;
use halftone_core::job::{Unfinished, discard, unfinished};
use halftone_core::recipe::Recipe;
use halftone_core::source::Source;
use std::path::PathBuf;
use std::sync::Arc;

pub use super::files::Place;
use super::files::place;
pub use super::look::{Reading, TensorReport, Verdict};
use super::look::{inspect, read, read_text, verdicts};
use super::pictures::Photo;
use halftone_core::sensitivity::probe_sequences;

/// What a text was read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextUse {
    /// Calibration.
    Calibrate,
    /// Comparison.
    Compare,
}

/// Something to do beside the jobs.
pub enum Task {
    /// Look for devices.
    Devices,
    /// Look for unfinished jobs in this folder.
    Unfinished(PathBuf),
    /// Throw an unfinished job away.
    Discard(PathBuf),
    /// Find what was typed.
    Locate(String),
    /// See what stands where the export is to be written: for a file at the path, or a name beside the model.
    Place(Arc<Source>, ExportFormat, PathBuf),
    /// Save a picture.
    SavePicture(Photo, PathBuf),
    /// Put the demo model where it can be opened.
    UnpackDemo,
    /// Read texts.
    ReadText(TextUse, TextChoice),
    /// Cut sequences for the probe of the measurement.
    Probe(Arc<Source>, Arc<TextSplit>),
    /// Look at one tensor, before and after.
    Inspect {
        /// The model.
        source: Arc<Source>,
        /// Catalog position.
        tensor: usize,
        /// What it will be stored as.
        format: Option<Format>,
        /// For the importance of columns.
        calibration: Option<Arc<Calibration>>,
    },
    /// Make a comparison readable.
    Read(Arc<Source>, Arc<Comparison>),
    /// Ask every writer.
    Verdicts(Arc<Source>, Box<Recipe>),
    /// Save the recipe.
    SaveRecipe(Box<Recipe>, PathBuf),
    /// Load a recipe.
    LoadRecipe(PathBuf),
}

/// What came of a task.
pub enum Reply {
    /// The devices there are.
    Devices(Vec<Capabilities>),
    /// Jobs that can be gone on with.
    Unfinished(Result<Vec<Unfinished>, UserMessage>),
    /// A job was thrown away.
    Discarded(PathBuf, Result<(), UserMessage>),
    /// The path of what was typed.
    Located(Result<PathBuf, UserMessage>),
    /// What stands in the place of the export.
    Place(Result<Place, UserMessage>),
    /// Whether the picture was saved.
    Pictured(Result<PathBuf, UserMessage>),
    /// Path of the demo model.
    Demo(Result<PathBuf, UserMessage>),
    /// A text.
    Text(TextUse, Result<Arc<TextSplit>, UserMessage>),
    /// Sequences for the probe.
    Probe(Result<Vec<Vec<u32>>, UserMessage>),
    /// A looked-at tensor.
    Inspected(Result<Arc<TensorReport>, UserMessage>),
    /// A readable comparison.
    Read(Arc<Reading>),
    /// The writers' verdicts.
    Verdicts(Vec<(ExportFormat, Result<u64, UserMessage>)>),
    /// Whether the recipe was saved.
    Saved(Result<PathBuf, UserMessage>),
    /// A loaded recipe.
    Recipe(Result<Box<Recipe>, UserMessage>),
}

/// The worker's handle and the results that panes look at.
pub struct Background {
    tasks: Sender<Task>,
    replies: Receiver<Reply>,
    /// Devices, once they are known.
    pub devices: Vec<Capabilities>,
    /// Jobs of earlier starts that can be gone on with.
    pub unfinished: Vec<Unfinished>,
    /// The tensor looked at last.
    pub report: Option<Arc<TensorReport>>,
    inspecting: bool,
}

impl Background {
    /// Starts the worker; `wake` is called when a reply is there.
    pub fn new(wake: Wake) -> Self {
        let (tasks, inbox) = bounded::<Task>(64);
        let (outbox, replies) = bounded(64);
        let spawned = std::thread::Builder::new().name("background".to_owned()).spawn(move || {
            for task in inbox {
                let reply = carry_out(task);
                if outbox.send(reply).is_err() {
                    break;
                }
                wake();
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "no background thread");
        }
        Self { tasks, replies, devices: Vec::new(), unfinished: Vec::new(), report: None, inspecting: false }
    }

    /// Hands a task over; dropped when sixty-four wait already (a window that far behind has other worries).
    pub fn ask(&mut self, task: Task) {
        if let Err(error) = self.tasks.try_send(task) {
            tracing::warn!(%error, "background task dropped");
        }
    }

    /// Looks at a tensor unless it is the one that was looked at last, or a look is under way.
    pub fn look_at(&mut self, source: &Arc<Source>, tensor: usize, format: Option<Format>, calibration: Option<&Arc<Calibration>>) {
        let known = self.report.as_ref().is_some_and(|r| r.tensor == tensor && r.format == format && r.model == source.fingerprint);
        if !known && !self.inspecting {
            self.inspecting = true;
            self.ask(Task::Inspect { source: source.clone(), tensor, format, calibration: calibration.cloned() });
        }
    }

    /// Replies since the last call. Never blocks.
    pub fn drain(&mut self) -> Vec<Reply> {
        let replies: Vec<Reply> = self.replies.try_iter().collect();
        if replies.iter().any(|r| matches!(r, Reply::Inspected(_))) {
            self.inspecting = false;
        }
        replies
    }
}

fn carry_out(task: Task) -> Reply {
    match task {
        Task::Devices => Reply::Devices(halftone_core::compute::devices()),
        Task::Unfinished(root) => Reply::Unfinished(unfinished(&root).map_err(|e| e.user_message())),
        Task::Discard(folder) => {
            let done = discard(&folder).map_err(|e| e.user_message());
            Reply::Discarded(folder, done)
        }
        Task::Locate(typed) => Reply::Located(crate::locate::locate(&typed).map_err(|error| UserMessage {
            summary: "There is no such model".to_owned(),
            details: format!("{error:#}"),
            hint: "Check the path; a hub id is looked for in the local cache only".to_owned(),
        })),
        Task::Place(source, format, path) => Reply::Place(place(&source, format, path)),
        Task::SavePicture(photo, path) => Reply::Pictured(photo.save(&path).map(|()| path).map_err(|e| e.user_message())),
        Task::UnpackDemo => Reply::Demo(crate::demo::unpack().map_err(|error| UserMessage {
            summary: "The demo model could not be unpacked".to_owned(),
            details: format!("{error:#}"),
            hint: "Check that the cache folder can be written".to_owned(),
        })),
        Task::ReadText(purpose, choice) => Reply::Text(purpose, read_text(purpose, &choice).map_err(|e| e.user_message())),
        Task::Probe(source, text) => Reply::Probe(probe_sequences(&source, &text.search).map_err(|e| e.user_message())),
        Task::Inspect { source, tensor, format, calibration } => {
            Reply::Inspected(inspect(&source, tensor, format, calibration.as_deref()).map(Arc::new).map_err(|e| e.user_message()))
        }
        Task::Read(source, comparison) => Reply::Read(Arc::new(read(&source, comparison))),
        Task::Verdicts(source, recipe) => Reply::Verdicts(verdicts(&source, &recipe)),
        Task::SaveRecipe(recipe, path) => Reply::Saved(recipe.save(&path).map(|()| path).map_err(|e| e.user_message())),
        Task::LoadRecipe(path) => Reply::Recipe(Recipe::load(&path).map(Box::new).map_err(|e| e.user_message())),
    }
}
