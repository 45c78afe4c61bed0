//! Jobs that were begun and not finished: finding them, and going on from the last durable tensor with nothing but the folder and the model.
//!
//! What a folder needs for that is its `job.toml` and, when the job was weighted by a calibration, the calibration itself, which is kept
//! beside the records for as long as the job lasts. Its Gram matrices can be larger than the model, so a finished job does not keep it.

use super::journal::{self, Job};
use super::{Artifact, JobContext, QuantizeOptions, quantize};
use crate::calibrate::Calibration;
use crate::error::{Error, Result};
use crate::recipe::Recipe;
use crate::source::Source;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A job folder that can be finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The folder.
    pub folder: PathBuf,
    /// Where its model was.
    pub model_path: PathBuf,
    /// Fingerprint of that model.
    pub model: String,
    /// Durable tensors.
    pub done: usize,
    /// Tensors of the recipe.
    pub total: usize,
    /// When it was begun, or gone on with.
    pub begun: SystemTime,
    /// A process works in the folder now, or has not quite ended; it can be gone on with when that is over.
    pub busy: bool,
}

/// The unfinished jobs in the folders under `root`, the latest first. Left out are folders whose model is not there any
/// more, or whose calibration was not kept; a root that does not exist has none.
///
/// # Errors
/// `Io` when the root cannot be listed.
pub fn unfinished(root: &Path) -> Result<Vec<Unfinished>> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list the job folders", root)(error)),
    };
    let mut found: Vec<Unfinished> = entries.filter_map(|entry| look(&entry.ok()?.path())).collect();
    found.sort_by(|a, b| b.begun.cmp(&a.begun).then_with(|| a.folder.cmp(&b.folder)));
    Ok(found)
}

fn look(folder: &Path) -> Option<Unfinished> {
    let begun = std::fs::metadata(Job::path(folder)).ok()?.modified().ok()?;
    // A folder that is not a job of ours, or of another version, is not offered; opening it by hand says why.
    let job = Job::load(folder).ok()?;
    let total = job.recipe.tensors.len();
    let done = (0..total).filter(|&position| journal::record_path(folder, position).is_file()).count();
    let whole = job.calibration.is_none() || kept_calibration(folder).is_file();
    let open = done < total && whole && job.recipe.model_path.exists();
    let busy = journal::is_locked(folder);
    open.then(|| Unfinished { folder: folder.to_owned(), model_path: job.recipe.model_path, model: job.recipe.model, done, total, begun, busy })
}

/// Quantizes as [`quantize`] does, with the calibration kept in the folder until the job is finished, so that [`resume`] needs nothing else.
///
/// # Errors
/// As [`quantize`].
pub(super) fn quantize_durably(
    source: &Source,
    calibration: Option<&Calibration>,
    recipe: &Recipe,
    options: &QuantizeOptions,
    cx: &JobContext,
) -> Result<Artifact> {
    let kept = kept_calibration(&options.folder);
    if let Some(calibration) = calibration.filter(|_| !kept.exists()) {
        std::fs::create_dir_all(&options.folder).map_err(Error::io("create the job folder", &options.folder))?;
        calibration.save(&kept)?;
    }
    let artifact = quantize(source, calibration, recipe, options, cx)?;
    forget_calibration(&options.folder)?;
    Ok(artifact)
}

/// Goes on with the job in `folder`: what is durable stays, the rest is quantized as its recipe says.
///
/// # Errors
/// As [`quantize`]; `Malformed` for a damaged `job.toml` or calibration.
pub fn resume(source: &Source, folder: &Path, cx: &JobContext) -> Result<Artifact> {
    let job = Job::load(folder)?;
    let calibration = job.calibration.as_ref().map(|_| Calibration::load(&kept_calibration(folder))).transpose()?;
    quantize_durably(source, calibration.as_ref(), &job.recipe, &QuantizeOptions { folder: folder.to_owned() }, cx)
}

/// Throws an unfinished job away: its folder with everything that a job puts there, and nothing else.
///
/// # Errors
/// `Input` for a folder that holds no job, or that another process works in; `Io`.
pub fn discard(folder: &Path) -> Result<()> {
    if !Job::path(folder).is_file() || journal::is_locked(folder) {
        return Err(Error::Input(format!("{} holds no job that waits", folder.display())));
    }
    forget_calibration(folder)?;
    let records = folder.join("records");
    std::fs::remove_dir_all(&records).map_err(Error::io("remove the records of a job", &records))?;
    for name in ["lock", "job.toml"] {
        std::fs::remove_file(folder.join(name)).map_err(Error::io("remove a job", folder))?;
    }
    std::fs::remove_dir(folder).map_err(Error::io("remove the job folder", folder))
}

/// Where a job keeps the calibration that it was begun with.
fn kept_calibration(folder: &Path) -> PathBuf {
    folder.join("kept-calibration.safetensors")
}

/// A finished job needs it no more.
fn forget_calibration(folder: &Path) -> Result<()> {
    let path = kept_calibration(folder);
    for path in [path.with_extension("imatrix.gguf"), path] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove the kept calibration", &path)(error)),
            _ => {}
        }
    }
    Ok(())
}
