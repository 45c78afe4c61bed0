//! How many threads the CPU paths use.

use crate::error::{Error, Result};

/// Limits every parallel loop of this process to `threads`; before the first of them runs.
///
/// # Errors
/// `Input` for zero, or when the pool is already running.
pub fn set_threads(threads: usize) -> Result<()> {
    if threads == 0 {
        return Err(Error::Input("at least one thread is needed".to_owned()));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(|e| Error::Input(format!("the number of threads cannot be changed any more: {e}")))
}
