//! A job folder: `job.toml` (recipe and hashes) and one durable record for each finished tensor. What is there after a kill is whole.
//!
//! `job.toml` is written first; `records/NNNN.rec` holds the tensor at position NNNN of the recipe; `lock` is held by the process that
//! works in the folder. Invariant: every file is written beside, synced and renamed, so a file under its own name is whole; whatever else
//! is there was left by a process that was killed, and is removed by the next one.

use super::atomic::TEMPORARY_PREFIX;
use super::record::Record;
use super::write_atomically;
use crate::calibrate::Calibration;
use crate::codec::Format;
use crate::error::{Error, Result};
use crate::recipe::Recipe;
use crate::report::Notice;
use crate::residual::Residual;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// What a record says of its tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordHeader {
    /// Canonical name.
    pub tensor: String,
    /// What it is stored as.
    pub stored_as: Format,
    /// Row length.
    pub columns: usize,
    /// What is kept of the rounding error; its bytes are the last ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<StoredResidual>,
    /// ‖Δ‖²/‖W‖².
    pub weight_error: f64,
    /// blake3 of the bytes.
    pub hash: String,
    /// The GPU whose error feedback chose the codes: another, or the CPU, chooses as good ones that need not be the same. None where the bytes
    /// do not depend on the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Notices about it.
    pub notices: Vec<Notice>,
}

/// A residual in a record.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredResidual {
    /// Which.
    pub kind: Residual,
    /// Its bytes.
    pub bytes: u64,
}

/// What `job.toml` says; with the devices that records name, all of it but the recipe's wording decides their bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Job {
    tool: String,
    recipe_hash: String,
    /// Hash of the calibration that was really used.
    pub(super) calibration: Option<String>,
    pub(super) recipe: Recipe,
}

impl Job {
    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join("job.toml")
    }

    pub(super) fn load(folder: &Path) -> Result<Self> {
        let path = Self::path(folder);
        let text = std::fs::read_to_string(&path).map_err(Error::io("read the job", &path))?;
        toml::from_str(&text).map_err(|e| Error::malformed("job.toml", &path, e.to_string()))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let text = toml::to_string_pretty(self).map_err(|e| Error::Input(format!("write job.toml: {e}")))?;
        write_atomically(&Self::path(folder), text.as_bytes())
    }
}

/// A job folder that this process works in. The lock goes with it.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    _lock: File,
}

impl Journal {
    /// Makes the folder, or goes on in it when it belongs to the same recipe, calibration and program.
    ///
    /// # Errors
    /// `Io`; `Mismatch` for a folder of another job; `Input` when another process works in it.
    pub(super) fn begin(folder: &Path, recipe: &Recipe, calibration: Option<String>) -> Result<Self> {
        let records = folder.join("records");
        std::fs::create_dir_all(&records).map_err(Error::io("create the job folder", folder))?;
        let lock = lock(folder)?;
        let job = Job { tool: crate::round::TOOL.to_owned(), recipe_hash: recipe.hash(), calibration, recipe: recipe.clone() };
        match Job::load(folder) {
            Ok(there) => same_job(&there, &job, folder)?,
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(other) => return Err(other),
        }
        job.save(folder)?;
        for place in [folder, &records] {
            remove_temporaries(place)?;
        }
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    /// The record at this position of the recipe; `None` when there is none yet.
    ///
    /// # Errors
    /// `Malformed` for a damaged one.
    pub(super) fn record(&self, position: usize) -> Result<Option<Record>> {
        Record::open(&record_path(&self.folder, position))
    }

    /// Where the record at this position of the recipe belongs.
    pub(super) fn path(&self, position: usize) -> PathBuf {
        record_path(&self.folder, position)
    }
}

/// A folder's name for this recipe with this calibration by this program, which no other job has: what one made is not in another's way.
pub fn folder_name(recipe: &Recipe, calibration: Option<&Calibration>) -> String {
    let calibration = calibration.map(Calibration::hash).unwrap_or_default();
    blake3::hash(format!("{}\n{calibration}\n{}", recipe.hash(), crate::round::TOOL).as_bytes()).to_hex().chars().take(16).collect()
}

/// A finished quantization: the recipe and the mapped records.
#[derive(Debug)]
pub struct Artifact {
    /// The job folder.
    pub folder: PathBuf,
    /// The recipe it was made with.
    pub recipe: Recipe,
    records: IndexMap<String, Record>,
}

impl Artifact {
    /// Opens a finished job folder, checking every record's hash.
    ///
    /// # Errors
    /// `Io`, `Malformed`; `Input` when tensors are still missing.
    pub fn open(folder: &Path) -> Result<Self> {
        let job = Job::load(folder)?;
        let mut records = IndexMap::new();
        for (position, name) in job.recipe.tensors.keys().enumerate() {
            let path = record_path(folder, position);
            let Some(record) = Record::open(&path)? else {
                let (done, all) = (records.len(), job.recipe.tensors.len());
                return Err(Error::Input(format!(
                    "{} is not finished: {name} is missing ({done} of {all} tensors before it); run quantize again",
                    folder.display()
                )));
            };
            if record.header.tensor != *name {
                return Err(Error::malformed("job record", path, format!("it holds {}, not {name}", record.header.tensor)));
            }
            records.insert(name.clone(), record);
        }
        Ok(Self { folder: folder.to_owned(), recipe: job.recipe, records })
    }

    /// The quantized tensors, in the order of the recipe.
    pub fn tensors(&self) -> impl Iterator<Item = &RecordHeader> {
        self.records.values().map(|r| &r.header)
    }

    /// Header and encoded bytes of a tensor, without its residual, when it was quantized.
    pub fn tensor(&self, name: &str) -> Option<(&RecordHeader, &[u8])> {
        self.records.get(name).map(|r| (&r.header, r.split().0))
    }

    /// What is kept of a tensor's rounding error.
    pub fn residual(&self, name: &str) -> Option<(Residual, &[u8])> {
        let record = self.records.get(name)?;
        Some((record.header.residual?.kind, record.split().1))
    }

    /// What the residual of `stem.weight` adds to `stem.bias`.
    pub fn shift_of_bias(&self, bias: &str) -> Option<Vec<f32>> {
        let weight = format!("{}.weight", bias.strip_suffix(".bias")?);
        let (header, bytes) = self.tensor(&weight)?;
        let (residual, stored) = self.residual(&weight)?;
        residual.shift_of(stored, bytes.len() / header.stored_as.tensor_bytes(1, header.columns).max(1) as usize)
    }

    /// The values of a tensor, residual included.
    pub fn values(&self, name: &str) -> Option<Vec<f32>> {
        let (header, bytes) = self.tensor(name)?;
        let rows = bytes.len() / (header.stored_as.tensor_bytes(1, header.columns).max(1) as usize);
        let mut values = vec![0.0; rows * header.columns];
        header.stored_as.decode(bytes, &mut values);
        if let Some((residual, stored)) = self.residual(name) {
            residual.add(stored, &mut values, header.columns);
        }
        Some(values)
    }
}

pub(super) fn record_path(folder: &Path, position: usize) -> PathBuf {
    folder.join("records").join(format!("{position:04}.rec"))
}

/// Whether another process works in the folder now.
pub(super) fn is_locked(folder: &Path) -> bool {
    File::open(folder.join("lock")).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Takes the folder for this process; the operating system gives it back when the process ends, however it ends.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(Error::io("create the lock of the job folder", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Input(format!("another process works in {}; wait for it, or choose another folder", folder.display()))),
        Err(TryLockError::Error(error)) => Err(Error::io("lock the job folder", path)(error)),
    }
}

fn same_job(there: &Job, wanted: &Job, folder: &Path) -> Result<()> {
    let differs = |what: &str, there: &str, wanted: &str| {
        Err(Error::Mismatch {
            operation: "resume quantization",
            expected: format!("a folder of {what} {wanted}; choose another folder"),
            got: format!("{} of {what} {there}", folder.display()),
        })
    };
    let none = || "none".to_owned();
    if there.recipe_hash != wanted.recipe_hash {
        return differs("recipe", &there.recipe_hash, &wanted.recipe_hash);
    }
    if there.calibration != wanted.calibration {
        return differs("calibration", &there.calibration.clone().unwrap_or_else(none), &wanted.calibration.clone().unwrap_or_else(none));
    }
    if there.tool != wanted.tool {
        return differs("program version", &there.tool, &wanted.tool);
    }
    Ok(())
}

fn remove_temporaries(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io("list the job folder", folder))? {
        let entry = entry.map_err(Error::io("list the job folder", folder))?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            std::fs::remove_file(entry.path()).map_err(Error::io("remove an unfinished file", entry.path()))?;
        }
    }
    Ok(())
}
