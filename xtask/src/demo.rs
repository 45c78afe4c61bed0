//! `cargo xtask demo`: from a fresh checkout to the studio on the demo model, which is inside the program.

use crate::command::{Workspace, succeed};
use crate::packages;
use anyhow::{Context, Result};

/// Builds and opens the studio; without a display it goes the whole road on the command line instead.
///
/// # Errors
/// When packages are missing and cannot be installed, or the build or the program fails.
pub fn run(workspace: &Workspace) -> Result<()> {
    let display = cfg!(not(target_os = "linux")) || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()));
    if display {
        packages::ensure(workspace, packages::WINDOW)?;
    }
    println!("building the studio; the first time takes about ten minutes on two cores");
    succeed(workspace.cargo().args(["build", "--release", "--package", "halftone"]))?;
    let mut halftone = workspace.command(workspace.target("release/halftone").with_extension(std::env::consts::EXE_EXTENSION));
    if display {
        return succeed(halftone.arg("--demo")).context("the studio did not open; `cargo xtask demo` without DISPLAY runs on the command line");
    }
    println!("no display: compressing the demo model on the command line (DISPLAY or WAYLAND_DISPLAY opens the studio)");
    let out = workspace.target("demo");
    std::fs::create_dir_all(&out)?;
    succeed(halftone.args(["auto", "--demo", "--bpw", "5", "--to", "gguf", "-o"]).arg(out.join("demo-5bpw.gguf")))
}
