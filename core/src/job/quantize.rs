//! The quantization itself: tensor by tensor, round ∘ codec, each made durable before it is reported.

use super::durable::{Finished, write_beside};
use super::encode::Encoder;
use super::journal::Journal;
use super::record::Record;
use super::{Artifact, JobContext};
use crate::calibrate::Calibration;
use crate::codec::Format;
use crate::error::{Error, Result};
use crate::recipe::Recipe;
use crate::report::NoticeKind;
use crate::residual::Residual;
use crate::round::{Rounder, rounder, rounder_names};
use crate::source::Source;
use std::path::PathBuf;

/// Where and how.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizeOptions {
    /// The job folder; what is there is resumed when the recipe's hash is the same.
    pub folder: PathBuf,
}

/// One tensor to be done.
pub(super) struct Task {
    /// Position in the recipe.
    pub(super) position: usize,
    /// Position in the catalog.
    pub(super) index: usize,
    pub(super) format: Format,
    pub(super) residual: Option<Residual>,
}

/// Quantizes every tensor of the recipe. Running again resumes; a folder of another recipe is refused.
///
/// # Errors
/// `Mismatch` for a recipe of another model, `Io`, `Cancelled` (finished tensors stay).
pub fn quantize(source: &Source, calibration: Option<&Calibration>, recipe: &Recipe, options: &QuantizeOptions, cx: &JobContext) -> Result<Artifact> {
    let rounder = check(source, calibration, recipe)?;
    let tasks = tasks(source, recipe)?;
    tell_differences(calibration, recipe, cx);
    let journal = Journal::begin(&options.folder, recipe, calibration.map(Calibration::hash))?;
    let encoder = Encoder::new(source, calibration, rounder, cx);
    let total = tasks.iter().map(|t| source.tensors[t.index].size_bytes).sum();
    write_beside(total, cx, |hand_over| tasks.iter().try_for_each(|task| hand_over(finish(task, source, &journal, &encoder, cx)?)))?;
    Artifact::open(&options.folder)
}

/// The record of a task: an earlier run's, or a new one.
pub(super) fn finish(task: &Task, source: &Source, journal: &Journal, encoder: &Encoder<'_>, cx: &JobContext) -> Result<Finished> {
    cx.checkpoint()?;
    let entry = &source.tensors[task.index];
    let source_bytes = entry.size_bytes;
    let finished = match earlier(task, source, journal, cx) {
        Some(record) => Finished { bytes: record.bytes().len() as u64, header: record.header, source_bytes, write: None },
        None => {
            let (header, bytes) = encoder.encode(task.index, task.format, task.residual)?;
            Finished { bytes: bytes.len() as u64, header, source_bytes, write: Some((journal.path(task.position), bytes)) }
        }
    };
    for notice in &finished.header.notices {
        cx.reporter.notice(notice.tensor.as_deref(), notice.kind.clone());
    }
    Ok(finished)
}

/// What an earlier run has made durable of a task; a damaged record is told and counts as none.
pub(super) fn earlier(task: &Task, source: &Source, journal: &Journal, cx: &JobContext) -> Option<Record> {
    let entry = &source.tensors[task.index];
    let record = journal.record(task.position).unwrap_or_else(|damaged| {
        let text = format!("the record of an earlier run is not usable and is made again: {damaged}");
        cx.reporter.notice(Some(&entry.name), NoticeKind::Other { text });
        None
    });
    let stored_as = task.format.for_columns(entry.columns());
    let same = |r: &Record| r.header.tensor == entry.name && r.header.stored_as == stored_as && r.header.residual.map(|kept| kept.kind) == task.residual;
    record.filter(same)
}

/// The recipe's tensors in the order of the catalog, which is the order of the file.
pub(super) fn tasks(source: &Source, recipe: &Recipe) -> Result<Vec<Task>> {
    if let Some(name) = recipe.residuals.keys().find(|name| !recipe.tensors.contains_key(*name)) {
        return Err(Error::Input(format!("the recipe keeps a residual of {name}, which it does not quantize")));
    }
    let mut tasks = Vec::with_capacity(recipe.tensors.len());
    for (position, (name, &format)) in recipe.tensors.iter().enumerate() {
        let index = source.find(name).ok_or_else(|| Error::MissingTensor { name: name.clone() })?;
        let entry = &source.tensors[index];
        if !entry.quantizable() {
            let why = format!("{name} is a {} of shape {:?}; only weight matrices are", entry.role.label(), entry.shape);
            return Err(Error::unsupported(format!("quantizing {name}"), why));
        }
        let stored_as = format.for_columns(entry.columns());
        if !stored_as.can_encode() {
            return Err(Error::unsupported(format!("encoding {stored_as}"), format!("{name} is to be {stored_as}, which can only be read")));
        }
        let residual = recipe.residuals.get(name).copied();
        if residual.is_some_and(|r| r.shift) && (entry.block.is_none() || entry.shape.len() != 2) {
            return Err(Error::unsupported(format!("shifting the bias of {name}"), "only the linears of blocks have one, and experts in a stack have none"));
        }
        tasks.push(Task { position, index, format, residual });
    }
    tasks.sort_by_key(|t| t.index);
    Ok(tasks)
}

/// What must fit before any work; gives the rounder.
pub(super) fn check(source: &Source, calibration: Option<&Calibration>, recipe: &Recipe) -> Result<&'static dyn Rounder> {
    for (what, model) in [("recipe", Some(&recipe.model)), ("calibration", calibration.map(|c| &c.model))] {
        if let Some(got) = model.filter(|m| **m != source.fingerprint) {
            let expected = format!("a {what} of the model {} ({})", source.path.display(), source.fingerprint);
            return Err(Error::Mismatch { operation: "quantize", expected, got: format!("one of the model {got}") });
        }
    }
    rounder(&recipe.rounding).ok_or_else(|| Error::unsupported(format!("rounding {}", recipe.rounding), format!("known are {}", rounder_names())))
}

/// Tells what is done otherwise than asked, for the job as a whole.
fn tell_differences(calibration: Option<&Calibration>, recipe: &Recipe, cx: &JobContext) {
    match (&recipe.calibration, calibration) {
        (Some(_), None) => cx.reporter.notice(None, NoticeKind::NoStatistics),
        (Some(wanted), Some(given)) if *wanted != given.hash() => {
            let text = "the calibration is another than the one the recipe was made with".to_owned();
            cx.reporter.notice(None, NoticeKind::Other { text });
        }
        _ => {}
    }
}
