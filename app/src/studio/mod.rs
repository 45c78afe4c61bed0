//! The window. One direction: events come in (`logic`), the frame is drawn from an immutable view (`panes`, `widgets`), what the user did
//! goes out as commands (`command`) and is carried out in one place (`execute`).
//!
//! Invariants: no numerics, no file access, no waiting while drawing; colours come from `theme` alone; widgets push commands and change nothing.

pub mod allocation;
pub mod app;
pub mod background;
mod chrome;
pub mod command;
pub mod dialogs;
pub mod dock;
mod execute;
pub mod figures;
mod files;
pub mod grid;
mod help;
pub mod jobs;
mod logic;
mod look;
pub mod map_metric;
pub mod messages;
mod overlays;
mod palette;
pub mod panes;
mod pictures;
mod prompt;
pub mod selection;
pub mod session;
pub mod settings;
pub mod svg;
pub mod theme;
pub mod view_model;
pub mod widgets;

use anyhow::anyhow;
use app::Studio;
use command::{Action, Command};
use std::path::PathBuf;

/// How the studio begins.
#[derive(Clone, Debug, Default)]
pub struct StudioOptions {
    /// A model to open.
    pub model: Option<PathBuf>,
    /// Open the demo model.
    pub demo: bool,
}

/// Opens the window and stays until it is closed.
///
/// # Errors
/// When there is no display or no way to draw on it.
pub fn run(options: StudioOptions) -> anyhow::Result<()> {
    let viewport =
        egui::ViewportBuilder::default().with_title("Halftone").with_app_id("halftone").with_inner_size([1280.0, 800.0]).with_min_inner_size([960.0, 600.0]);
    let native = eframe::NativeOptions { viewport, renderer: eframe::Renderer::Wgpu, ..Default::default() };
    let create = move |cc: &eframe::CreationContext<'_>| {
        let dialogs = dialogs::Native::new(app::wake_of(&cc.egui_ctx));
        let mut studio = Studio::new(&cc.egui_ctx, cc.storage, Box::new(dialogs));
        match (options.model, options.demo) {
            (Some(path), _) => studio.send(Command::Open(path)),
            (None, true) => studio.send(Command::Do(Action::OpenDemo)),
            (None, false) => {}
        }
        Ok(Box::new(studio) as Box<dyn eframe::App>)
    };
    eframe::run_native("halftone", native, Box::new(create)).map_err(|error| anyhow!("the window could not be opened: {error}"))
}
