//! What can go wrong, with the operands in the message, and how a person is told.

use std::path::PathBuf;

/// The result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A typed failure. Messages begin with the operation and name the operands; paths come last.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation on a file.
    #[error("{operation} failed: {source} ({})", path.display())]
    Io {
        /// What was being done, for example "write tensor record".
        operation: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
        /// The file it was done to.
        path: PathBuf,
    },
    /// A file is not what its format says it must be.
    #[error("{format}: {detail} ({})", path.display())]
    Malformed {
        /// Name of the format, for example "GGUF" or "safetensors".
        format: &'static str,
        /// What is wrong, with the offending and the permitted value.
        detail: String,
        /// The file.
        path: PathBuf,
    },
    /// Something well-formed that this program does not do.
    #[error("{what} is not supported: {why}")]
    Unsupported {
        /// The thing asked for.
        what: String,
        /// Why it cannot be done.
        why: String,
    },
    /// Two operands do not fit each other.
    #[error("{operation}: expected {expected}, got {got}")]
    Mismatch {
        /// The operation that checked.
        operation: &'static str,
        /// What it needed.
        expected: String,
        /// What it was given.
        got: String,
    },
    /// A tensor that the operation needs is not in the model.
    #[error("the model has no tensor {name}")]
    MissingTensor {
        /// Its canonical name.
        name: String,
    },
    /// No allocation fits the constraints.
    #[error("no allocation fits {budget}: {why}")]
    Infeasible {
        /// The budget in words.
        budget: String,
        /// Why, with the nearest feasible figure.
        why: String,
        /// Smallest file that can be made, bytes.
        smallest_bytes: u64,
    },
    /// Bad text, tokens or options handed in by the user.
    #[error("{0}")]
    Input(String),
    /// A compute device failed; the caller may go on with the CPU.
    #[error("device {device}: {detail}")]
    Device {
        /// Name of the adapter.
        device: String,
        /// What happened.
        detail: String,
    },
    /// The tensor library failed.
    #[error("forward pass: {0}")]
    Candle(#[from] candle_core::Error),
    /// The user cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A job panicked; the panic was caught at the thread's edge.
    #[error("internal error: {0}")]
    Panic(String),
}

impl Error {
    /// Wraps an I/O error with what was being done and to which file.
    pub fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, source, path }
    }

    /// A malformed file.
    pub fn malformed(format: &'static str, path: impl Into<PathBuf>, detail: impl Into<String>) -> Self {
        Self::Malformed { format, detail: detail.into(), path: path.into() }
    }

    /// Something this program does not do.
    pub fn unsupported(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), why: why.into() }
    }

    /// How this error is told to a person.
    pub fn user_message(&self) -> UserMessage {
        let (summary, hint) = match self {
            Self::Io { operation, source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                (format!("The disk is full: {operation} stopped"), "Free some space and run again; finished tensors are kept")
            }
            Self::Io { operation, source, .. } if source.kind() == std::io::ErrorKind::NotFound => (format!("File not found: {operation}"), "Check the path"),
            Self::Io { operation, .. } => (format!("Could not {operation}"), "Check that the file exists and may be accessed"),
            Self::Malformed { format, .. } => (format!("This is not a whole {format} file"), "Download or copy it again; it may be cut short"),
            Self::Unsupported { what, .. } => (format!("{what} is not supported"), ""),
            Self::Mismatch { operation, .. } => (format!("{operation} does not fit"), "Use a calibration, table or recipe made from this model"),
            Self::MissingTensor { name } => {
                (format!("The model has no tensor {name}"), "The file may be incomplete, or of an architecture that opens weight-only")
            }
            Self::Infeasible { budget, .. } => (format!("No allocation fits {budget}"), "Raise the budget, or unpin tensors"),
            Self::Input(text) => (text.clone(), ""),
            Self::Device { device, .. } => (format!("The device {device} failed"), "Run with the CPU: --device cpu"),
            Self::Candle(_) => ("The forward pass failed".to_owned(), ""),
            Self::Cancelled => ("Cancelled".to_owned(), "Run again to go on where it stopped"),
            Self::Panic(_) => ("Something went wrong inside Halftone".to_owned(), "Please report this with the details"),
        };
        UserMessage { summary, details: self.to_string(), hint: hint.to_owned() }
    }
}

/// An error as a person meets it: one line, the whole story, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct UserMessage {
    /// One sentence without a full stop.
    pub summary: String,
    /// Everything known, fit to be copied into a report.
    pub details: String,
    /// What the user can do; may be empty.
    pub hint: String,
}
