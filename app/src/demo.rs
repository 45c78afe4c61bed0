//! The demo model that is part of the program: a small llama that tells stories, made by `cargo xtask train-demo`. The studio and the
//! command line unpack it into the cache folder and open it from there like any other model.

use anyhow::Context;
use halftone_core::calibrate::{HoldOutText, SearchText, TextSplit};
use std::path::{Path, PathBuf};

/// Text of the same kind as the demo model's, for calibration.
pub const CALIBRATION_TEXT: &str = include_str!("../../assets/demo/calibration.txt");
/// Text that neither training nor calibration saw, for comparison.
pub const HELD_OUT_TEXT: &str = include_str!("../../assets/demo/heldout.txt");

const FILES: [(&str, &[u8]); 3] = [
    ("model.safetensors", include_bytes!("../../assets/demo/model.safetensors")),
    ("config.json", include_bytes!("../../assets/demo/config.json")),
    ("tokenizer.json", include_bytes!("../../assets/demo/tokenizer.json")),
];

/// The program's cache folder.
///
/// # Errors
/// When the system names none.
pub fn cache_folder() -> anyhow::Result<PathBuf> {
    let folders = directories::ProjectDirs::from("", "", "halftone").context("the system names no cache folder (is HOME set?)")?;
    Ok(folders.cache_dir().to_owned())
}

/// Writes the demo model into the cache folder unless it is there already, and returns the folder.
///
/// # Errors
/// When the cache folder cannot be written.
pub fn unpack() -> anyhow::Result<PathBuf> {
    unpack_into(&cache_folder()?.join("demo"))
}

fn unpack_into(folder: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    for (name, bytes) in FILES {
        let path = folder.join(name);
        if std::fs::read(&path).ok().as_deref() != Some(bytes) {
            halftone_core::job::write_atomically(&path, bytes)?;
        }
    }
    Ok(folder.to_owned())
}

/// The texts that belong to the demo model: the calibration text cut in two, and what was held out.
pub fn text() -> TextSplit {
    let TextSplit { calibration, search, hold_out: rest } = TextSplit::new(CALIBRATION_TEXT);
    let search = SearchText::new([search.as_str(), rest.as_str()].concat());
    TextSplit { calibration, search, hold_out: HoldOutText::new(HELD_OUT_TEXT) }
}
