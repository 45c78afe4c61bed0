//! The road without a window: one subcommand a step, JSON on stdout when asked, progress on stderr.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong use, 130 cancelled. A subcommand is one file; what it prints is made from the same typed
//! values that the studio shows.

mod allocate;
mod args;
mod auto;
mod bench_device;
mod calibrate;
mod choice_args;
mod compare;
mod export;
mod inputs;
mod inspect;
mod measure;
mod print;
mod progress;
mod quantize;
mod recipe;
mod refine;
mod rules;
mod session;
mod text;
mod transform;
mod transform_args;
mod verify;

pub use args::{Cli, Command};
pub use session::Session;

use halftone_core::Error;
use std::process::ExitCode;

/// Runs a subcommand and turns its end into an exit code; errors are told as summary, details, hint.
pub fn run(cli: &Cli, command: &Command) -> ExitCode {
    let mut session = Session::new(&cli.global);
    if let Some(device) = command.device() {
        session.cx.device = device.clone();
    }
    let result = inputs::keep(command).and_then(|()| match command {
        Command::Devices => inspect::devices(&session),
        Command::BenchDevice(args) => bench_device::run(&session, args),
        Command::Inspect(args) => inspect::inspect(&session, args),
        Command::Transform(args) => transform::run(&session, args),
        Command::Calibrate(args) => calibrate::run(&session, args),
        Command::Measure(args) => measure::run(&session, args),
        Command::Allocate(args) => allocate::run(&session, args),
        Command::Recipe(command) => recipe::run(&session, command),
        Command::Quantize(args) => quantize::run(&session, args),
        Command::Compare(args) => compare::run(&session, args),
        Command::Export(args) => export::run(&session, args),
        Command::Verify(args) => verify::run(&session, args),
        Command::Auto(args) => auto::run(&session, args),
    });
    session.finish();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cancelled = matches!(error.downcast_ref::<Error>(), Some(Error::Cancelled));
            print::error(&error, cli.global.json);
            ExitCode::from(if cancelled { 130 } else { 1 })
        }
    }
}
