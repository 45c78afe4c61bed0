//! The independent programs in `target/clients` that judge our files.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// `tests/interop/SCRIPT` with the clients' Python, not started yet.
///
/// # Panics
/// When the clients are not there: a failure, not a skip.
pub fn command(script: &str) -> Command {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.join(if cfg!(windows) { "../target/clients/Scripts/python.exe" } else { "../target/clients/bin/python" });
    assert!(python.exists(), "{} is missing; `cargo xtask test` makes it", python.display());
    let mut command = Command::new(python);
    command.arg(here.join("interop").join(script));
    command
}

/// Runs `tests/interop/SCRIPT` with the clients' Python and gives what it printed.
///
/// # Panics
/// When the clients are not there or the script fails.
pub fn run<A: AsRef<OsStr>>(script: &str, arguments: &[A]) -> String {
    let output = command(script).args(arguments).output().expect("the clients' Python starts");
    assert!(output.status.success(), "{script} failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}
