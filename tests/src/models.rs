//! The real models that `cargo xtask test` fetches.

use std::path::{Path, PathBuf};

/// Path of `target/models/NAME`.
///
/// # Panics
/// When the file is not there: a missing model is a failure, not a skip.
pub fn model(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/models").join(name);
    assert!(path.exists(), "{} is missing; `cargo xtask test` fetches the models that the tests need", path.display());
    path
}
