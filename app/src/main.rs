//! `halftone`: the studio, or one step of the road when a subcommand is given.

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use halftone::cli::{self, Cli};
use halftone::studio::{self, StudioOptions};
use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "without a window there is nowhere else to say why")]
fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_env("HALFTONE_LOG").unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error")))
        .with_writer(std::io::stderr)
        .init();
    let arguments = Cli::parse();
    if let Ok(folder) = halftone::demo::cache_folder() {
        halftone_core::compute::remember_in(folder.join("device-times.json"));
    }
    if let Some(command) = &arguments.command {
        if arguments.model.is_some() || arguments.demo {
            Cli::command().error(ErrorKind::ArgumentConflict, "the model of a step stands behind it: halftone STEP MODEL").exit();
        }
        return cli::run(&arguments, command);
    }
    match studio::run(StudioOptions { model: arguments.model, demo: arguments.demo }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: the window could not be opened: {error:#}\n  Without a display use a subcommand; see halftone --help");
            ExitCode::FAILURE
        }
    }
}
