//! Independent programs that judge our files: a Python environment in `target/clients` with llama.cpp and gguf-py at pinned versions.

use crate::command::{Workspace, succeed};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

const REQUIREMENTS: &str = "tests/interop/requirements.txt";

/// The environment's Python.
pub fn python(workspace: &Workspace) -> PathBuf {
    workspace.target(if cfg!(windows) { "clients/Scripts/python.exe" } else { "clients/bin/python" })
}

/// Makes the environment, or leaves it when it was made from the same requirements.
///
/// # Errors
/// When Python is missing or the package index cannot be reached.
pub fn ensure(workspace: &Workspace) -> Result<()> {
    let wanted = fs::read_to_string(workspace.root().join(REQUIREMENTS)).with_context(|| format!("reading {REQUIREMENTS}"))?;
    let stamp = workspace.target("clients/requirements.txt");
    if python(workspace).exists() && fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        println!("clients: there");
        return Ok(());
    }
    let system = if cfg!(windows) { "python" } else { "python3" };
    succeed(workspace.command(system).args(["-m", "venv", "--clear"]).arg(workspace.target("clients")))?;
    let mut install = workspace.command(python(workspace));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--requirement", REQUIREMENTS]);
    succeed(&mut install).context("the clients come from Python's package index, which has to be reachable once")?;
    fs::write(stamp, wanted)?;
    Ok(())
}
