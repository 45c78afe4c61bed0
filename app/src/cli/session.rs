//! What every subcommand shares: the job context with progress and Ctrl-C, opening models by path, hub id or `--demo`.

use super::args::{Global, ModelArg};
use super::print;
use super::progress::ProgressLine;
use anyhow::Context as _;
use halftone_core::compute::DeviceChoice;
use halftone_core::job::JobContext;
use halftone_core::source::{self, Source};
use std::path::Path;
use std::sync::Arc;

/// One run of the program.
pub struct Session {
    /// The user's global options.
    pub global: Global,
    /// Context of all its work.
    pub cx: JobContext,
    progress: Arc<ProgressLine>,
}

impl Session {
    /// Sets up threads, progress and Ctrl-C.
    pub fn new(global: &Global) -> Self {
        if let Some(threads) = global.threads
            && let Err(error) = halftone_core::compute::set_threads(threads)
        {
            tracing::warn!("--threads: {error}");
        }
        let progress = Arc::new(ProgressLine::new(global.quiet));
        let listener = Arc::clone(&progress);
        let mut cx = JobContext::new(DeviceChoice::Auto, move |event| listener.event(&event));
        cx.scratch.memory = global.memory;
        cancel_on_interrupt(&cx);
        Self { global: global.clone(), cx, progress }
    }

    /// The same context with its temporary files beside an output: the system's folder for them may be in memory, or on a small disk.
    pub fn beside(&self, output: &Path) -> JobContext {
        let mut cx = self.cx.clone();
        if let Some(folder) = output.parent() {
            cx.scratch.folder = if folder.as_os_str().is_empty() { Path::new(".").to_owned() } else { folder.to_owned() };
        }
        cx
    }

    /// Opens the model that the arguments name.
    pub fn open(&self, arg: &ModelArg) -> anyhow::Result<Source> {
        let path = match (&arg.model, arg.demo) {
            (_, true) => crate::demo::unpack()?,
            (Some(model), false) => crate::locate::locate(model)?,
            (None, false) => anyhow::bail!("name a model, or use --demo"),
        };
        self.open_path(&path)
    }

    /// Opens a model by path.
    pub fn open_path(&self, path: &Path) -> anyhow::Result<Source> {
        Ok(source::open(path, &self.cx.reporter)?)
    }

    /// Ends the progress line and prints the notices.
    pub fn finish(&self) {
        self.progress.finish();
        if !self.global.quiet {
            print::notices(&self.cx.reporter.notices());
        }
    }

    /// Ends the progress line before something is printed on stdout.
    pub fn pause_progress(&self) {
        self.progress.finish();
    }
}

fn cancel_on_interrupt(cx: &JobContext) {
    let cancel = cx.cancel.clone();
    let listen = move || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the signal listener")?;
        runtime.block_on(async {
            tokio::signal::ctrl_c().await?;
            cancel.cancel();
            // A second Ctrl-C does not wait for the next safe point.
            tokio::signal::ctrl_c().await?;
            std::process::exit(130)
        })
    };
    let spawned = std::thread::Builder::new().name("halftone-signals".to_owned()).spawn(move || {
        if let Err(error) = listen() {
            tracing::warn!("{error:#}");
        }
    });
    if let Err(error) = spawned {
        tracing::warn!("Ctrl-C will end the program at once: {error}");
    }
}
