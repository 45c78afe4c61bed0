//! Native file dialogs behind a trait, so that a test can answer them. A dialog never blocks the window: it is made on the main
//! thread (macOS asks for that), awaited on a thread of its own, and its answer arrives as a message.

use super::jobs::Wake;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What a dialog is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A model file.
    ModelFile,
    /// A model folder.
    ModelFolder,
    /// Calibration texts.
    CalibrationText,
    /// Held-out texts.
    HeldOutText,
    /// Where job folders go.
    JobRoot,
    /// A recipe to load.
    LoadRecipe,
    /// Where to save the recipe.
    SaveRecipe,
    /// Where to write the export; it is written at once.
    ExportFile,
    /// Where the export will be written.
    ExportPlace,
    /// Where to save a picture.
    Picture,
}

/// An answer: what was asked, and what the user chose (nothing when the dialog was closed).
pub type Picked = (Purpose, Vec<PathBuf>);

/// Asks for paths.
pub trait Dialogs {
    /// Opens a dialog; `suggestion` is a file name for the ones that save.
    fn ask(&mut self, purpose: Purpose, suggestion: &str);

    /// Answers since the last call. Never blocks.
    fn answers(&mut self) -> Vec<Picked>;

    /// Whether, since the last call, the system closed a dialog faster than a person could: it has none.
    fn missing(&mut self) -> bool {
        false
    }
}

/// No person closes a dialog in less time than this.
const REACTION: std::time::Duration = std::time::Duration::from_millis(250);

/// The system's own dialogs.
pub struct Native {
    wake: Wake,
    sender: Sender<Picked>,
    receiver: Receiver<Picked>,
    missing: Arc<AtomicBool>,
}

impl Native {
    /// `wake` is called when an answer is there.
    pub fn new(wake: Wake) -> Self {
        let (sender, receiver) = bounded(8);
        Self { wake, sender, receiver, missing: Arc::default() }
    }

    fn answer_from<F>(&self, purpose: Purpose, future: F)
    where
        F: Future<Output = Vec<PathBuf>> + Send + 'static,
    {
        let (sender, wake, missing) = (self.sender.clone(), self.wake.clone(), Arc::clone(&self.missing));
        let spawned = std::thread::Builder::new().name("file dialog".to_owned()).spawn(move || {
            let asked = Instant::now();
            let paths = pollster::block_on(future);
            if paths.is_empty() && asked.elapsed() < REACTION {
                missing.store(true, Ordering::Release);
            }
            // The window may be gone by now; then nobody wants the answer.
            if sender.send((purpose, paths)).is_ok() {
                wake();
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for a file dialog");
        }
    }
}

impl Dialogs for Native {
    fn ask(&mut self, purpose: Purpose, suggestion: &str) {
        let dialog = rfd::AsyncFileDialog::new();
        let one = |file: Option<rfd::FileHandle>| file.map(|f| f.path().to_owned()).into_iter().collect();
        match purpose {
            Purpose::ModelFile => {
                let pick = dialog.set_title("Open a model").add_filter("Models", &["gguf", "safetensors", "json"]).pick_file();
                self.answer_from(purpose, async move { one(pick.await) });
            }
            Purpose::ModelFolder | Purpose::JobRoot => {
                let title = if purpose == Purpose::ModelFolder { "Open a model folder" } else { "Folder for quantization jobs" };
                let pick = dialog.set_title(title).pick_folder();
                self.answer_from(purpose, async move { one(pick.await) });
            }
            Purpose::CalibrationText | Purpose::HeldOutText => {
                let pick = dialog.set_title("Choose text files").pick_files();
                self.answer_from(purpose, async move { pick.await.unwrap_or_default().iter().map(|f| f.path().to_owned()).collect() });
            }
            Purpose::LoadRecipe => {
                let pick = dialog.set_title("Load a recipe").add_filter("Recipes", &["toml"]).pick_file();
                self.answer_from(purpose, async move { one(pick.await) });
            }
            Purpose::SaveRecipe | Purpose::ExportFile | Purpose::ExportPlace | Purpose::Picture => {
                let title = match purpose {
                    Purpose::SaveRecipe => "Save the recipe",
                    Purpose::Picture => "Save the picture",
                    _ => "Write the model",
                };
                let save = dialog.set_title(title).set_file_name(suggestion).save_file();
                self.answer_from(purpose, async move { one(save.await) });
            }
        }
    }

    fn answers(&mut self) -> Vec<Picked> {
        self.receiver.try_iter().collect()
    }

    fn missing(&mut self) -> bool {
        self.missing.swap(false, Ordering::AcqRel)
    }
}

/// Answers every dialog at once with prepared paths.
#[derive(Debug, Default)]
pub struct Scripted {
    replies: Vec<Picked>,
    asked: Vec<Purpose>,
    none: bool,
}

impl Scripted {
    /// Answers with these; a purpose that is not among them is answered as a closed dialog.
    pub fn new(replies: Vec<Picked>) -> Self {
        Self { replies, asked: Vec::new(), none: false }
    }

    /// A system that has no dialogs.
    pub fn none() -> Self {
        Self { none: true, ..Self::default() }
    }
}

impl Dialogs for Scripted {
    fn ask(&mut self, purpose: Purpose, _suggestion: &str) {
        self.asked.push(purpose);
    }

    fn answers(&mut self) -> Vec<Picked> {
        let asked = std::mem::take(&mut self.asked);
        if self.none {
            self.asked = asked;
            return Vec::new();
        }
        asked.into_iter().map(|purpose| self.replies.iter().find(|(p, _)| *p == purpose).cloned().unwrap_or((purpose, Vec::new()))).collect()
    }

    fn missing(&mut self) -> bool {
        self.none && !std::mem::take(&mut self.asked).is_empty()
    }
}
