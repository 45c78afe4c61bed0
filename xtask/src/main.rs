//! The project's own commands. `cargo xtask` alone lists them.
//!
//! Starts in seconds: only training needs numeric crates, and those are behind the feature `train`, which `train-demo` turns on for itself.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program talks to its terminal")]

mod clients;
mod command;
mod demo;
mod models;
mod packages;
mod test;
#[cfg(feature = "train")]
mod train;

use anyhow::{Context, Result, bail};
use command::Workspace;
use std::process::ExitCode;

const HELP: &str = "\
The project's own commands:

  cargo xtask demo                  build the studio and open it on the demo model (without a display: the whole road on the command line)
  cargo xtask test [--only STEP]    the whole check: packages, clients, models, fmt, clippy, tests, doc tests
  cargo xtask train-demo            make the demo model again from seeds: text, tokenizer, weights, figures
                [--steps N]         fewer or more steps than the default
                [--samples]         only print stories of the grammar
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = args.split_first() else {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    };
    let workspace = Workspace::find()?;
    match (name.as_str(), rest) {
        ("help" | "--help" | "-h", _) => print!("{HELP}"),
        ("demo", []) => demo::run(&workspace)?,
        ("test", []) => return test::run(&workspace, None),
        ("test", [only, step]) if only == "--only" => return test::run(&workspace, Some(step)),
        ("train-demo", args) => train_demo(&workspace, args)?,
        _ => bail!("there is no command `{}`; `cargo xtask` lists them", args.join(" ")),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "train")]
fn train_demo(workspace: &Workspace, args: &[String]) -> Result<()> {
    train::run(workspace.root(), args).context("training the demo model")
}

/// Builds this program again, optimised and with what training needs, and hands over.
#[cfg(not(feature = "train"))]
fn train_demo(workspace: &Workspace, args: &[String]) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--release", "--package", "xtask", "--features", "train", "--", "train-demo"]).args(args);
    // Shards of the batch are the threads. Inside, one thread each: candle's own pool spins at every small operation.
    cargo.envs([("RAYON_NUM_THREADS", "1"), ("CANDLE_NUM_THREADS", "1")]);
    // glibc would give every freed tensor back to the system and fault it in again, a third of the time of a step.
    cargo.envs([("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "4000000000"), ("MALLOC_TRIM_THRESHOLD_", "8000000000")]);
    command::succeed(&mut cargo).context("training the demo model")
}
