//! Drives the studio in a test: frames, waiting for jobs, screenshots.

use egui_kittest::Harness;
use halftone::studio::app::Studio;
use halftone::studio::command::{Action, Command};
use halftone::studio::dialogs::{Picked, Scripted};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A studio without a window.
pub struct Driver {
    /// The harness around it.
    pub harness: Harness<'static, Studio>,
}

impl Driver {
    /// A studio of this size whose file dialogs answer with `replies`.
    pub fn new(size: [f32; 2], replies: Vec<Picked>) -> Self {
        Self::with_dialogs(size, Scripted::new(replies))
    }

    /// A studio of this size with these file dialogs.
    pub fn with_dialogs(size: [f32; 2], dialogs: Scripted) -> Self {
        let build = move |cc: &mut eframe::CreationContext<'static>| Studio::new(&cc.egui_ctx, None, Box::new(dialogs));
        Self { harness: Harness::builder().with_size(size).with_max_steps(24).wgpu().build_eframe(build) }
    }

    /// Sends a command as a widget would, and draws until it is carried out.
    pub fn send(&mut self, command: Command) {
        self.harness.state_mut().send(command);
        self.frames(3);
    }

    /// Draws some frames.
    pub fn frames(&mut self, count: usize) {
        self.harness.run_steps(count);
    }

    /// Draws frames until something holds.
    ///
    /// # Panics
    /// When it does not within the time.
    #[track_caller]
    pub fn wait(&mut self, what: &str, secs: u64, holds: impl Fn(&Studio) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(secs);
        while !holds(self.harness.state()) {
            assert!(Instant::now() < deadline, "waited {secs} s for: {what}; messages: {:?}", self.messages());
            std::thread::sleep(Duration::from_millis(10));
            self.frames(1);
        }
        self.frames(3);
    }

    /// What the studio has told so far.
    pub fn messages(&self) -> Vec<String> {
        self.harness.state().view().messages.all().iter().map(|m| format!("{}: {} ({})", m.origin, m.message.summary, m.message.details)).collect()
    }

    /// Opens a model and waits for it.
    pub fn open(&mut self, path: &Path) {
        self.send(Command::Open(path.to_owned()));
        self.wait("the model opens", 60, |studio| studio.session.source.is_some());
    }

    /// Opens the demo model and waits for it.
    pub fn demo(&mut self) {
        self.send(Command::Do(Action::OpenDemo));
        self.wait("the demo model opens", 60, |studio| studio.session.source.is_some());
    }

    /// A screenshot in each theme.
    pub fn both(&mut self, name: &str) {
        for (theme, suffix) in [(Action::ThemeLight, "light"), (Action::ThemeDark, "dark")] {
            self.send(Command::Do(theme));
            self.screenshot(&format!("{name}-{suffix}"));
        }
    }

    /// Renders the window into `target/screenshots`.
    ///
    /// # Panics
    /// Without an adapter, or when the picture cannot be written.
    pub fn screenshot(&mut self, name: &str) {
        self.frames(4);
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
        std::fs::create_dir_all(&folder).expect("a folder for screenshots");
        let picture = self.harness.render().expect("an adapter (Mesa lavapipe) to draw on");
        picture.save(folder.join(format!("{name}.png"))).expect("the picture can be written");
    }
}
