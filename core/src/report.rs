//! Partial problems: what did not go as asked but did not stop the work. Collected, counted, shown after the job; never only logged.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a notice was raised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NoticeKind {
    /// The row length is not a multiple of the wanted block, so the runtime's fallback format was used.
    RowFallback {
        /// Format asked for.
        wanted: crate::codec::Format,
        /// Format used.
        used: crate::codec::Format,
        /// Row length.
        columns: usize,
    },
    /// NaN or infinity among the weights.
    NonFinite {
        /// How many.
        count: u64,
        /// Flat index of the first.
        first: usize,
    },
    /// The GPU was asked for and the CPU did it.
    DeviceFallback {
        /// Why.
        reason: String,
    },
    /// No activation statistics for this tensor, so its weights alone were used.
    NoStatistics,
    /// Anything else worth telling.
    Other {
        /// The sentence.
        text: String,
    },
}

/// One partial problem, about one tensor or about the whole job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The tensor's name, when it is about one.
    pub tensor: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub kind: NoticeKind,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tensor) = &self.tensor {
            write!(f, "{tensor}: ")?;
        }
        match &self.kind {
            NoticeKind::RowFallback { wanted, used, columns } => {
                write!(f, "{used} instead of {wanted}, because {columns} columns are not a multiple of {}", wanted.block_columns())
            }
            NoticeKind::NonFinite { count, first } => write!(f, "{count} values are NaN or infinite (the first at index {first})"),
            NoticeKind::DeviceFallback { reason } => write!(f, "done on the CPU: {reason}"),
            NoticeKind::NoStatistics => write!(f, "no activation statistics; weights alone were used"),
            NoticeKind::Other { text } => f.write_str(text),
        }
    }
}

/// Where partial problems are put. Cheap to share between threads.
#[derive(Clone, Debug, Default)]
pub struct Reporter {
    notices: std::sync::Arc<parking_lot::Mutex<Vec<Notice>>>,
}

impl Reporter {
    /// Adds a notice; exact repetitions are kept once.
    pub fn notice(&self, tensor: Option<&str>, kind: NoticeKind) {
        let notice = Notice { tensor: tensor.map(str::to_owned), kind };
        tracing::debug!(%notice, "notice");
        let mut notices = self.notices.lock();
        if !notices.contains(&notice) {
            notices.push(notice);
        }
    }

    /// All notices so far, in the order they were raised.
    pub fn notices(&self) -> Vec<Notice> {
        self.notices.lock().clone()
    }
}
