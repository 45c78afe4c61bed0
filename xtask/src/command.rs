//! Runs other programs: where, with which surroundings, and with errors that name the command line.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The checkout, and the environment its commands run in.
pub struct Workspace {
    root: PathBuf,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Workspace {
    /// The checkout this program was built from. Sets `XDG_RUNTIME_DIR` and `LANG` for commands where they are missing: Mesa and Python
    /// want them, and bare containers have neither.
    ///
    /// # Errors
    /// When the checkout was moved, or its target folder cannot be written.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let root = root.canonicalize().with_context(|| format!("no checkout at {}", root.display()))?;
        let mut environment = Vec::new();
        if std::env::var_os("LANG").is_none() {
            environment.push(("LANG", PathBuf::from("C.UTF-8")));
        }
        if cfg!(unix) && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
            let folder = root.join("target/run");
            create_private(&folder)?;
            environment.push(("XDG_RUNTIME_DIR", folder));
        }
        Ok(Self { root, environment })
    }

    /// The checkout's folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder or file below `target/`.
    #[must_use]
    pub fn target(&self, path: &str) -> PathBuf {
        self.root.join("target").join(path)
    }

    /// A command that will run in the checkout.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The cargo that started this program.
    #[must_use]
    pub fn cargo(&self) -> Command {
        self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }
}

/// Runs to the end with this program's own input and output.
///
/// # Errors
/// When the program cannot be started or reports failure.
pub fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// True when the program starts and reports success. Its output is not shown: this is a question, not a step.
pub fn answers(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The command line as one would type it, programs given as an argument left out.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_string_lossy());
    words.map(|word| if word.contains('\n') { "…".into() } else { word }).collect::<Vec<_>>().join(" ")
}

/// A folder only its owner may enter, as `XDG_RUNTIME_DIR` has to be.
fn create_private(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}
