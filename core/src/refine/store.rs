//! Tensors as their formats make them, rounded once for each format and kept in the folder of the search.

use crate::calibrate::Calibration;
use crate::error::{Error, Result};
use crate::job::{Encoder, JobContext, Record, write_record};
use crate::residual::Candidate;
use crate::round::rounder;
use crate::source::Source;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A rounded tensor.
pub(super) trait Rounded: Send + Sync {
    /// What it is stored as.
    fn stored(&self) -> Candidate;

    /// Its encoded bytes: codes, then the residual.
    fn bytes(&self) -> &[u8];
}

/// Where rounded tensors come from.
pub(super) trait Tensors {
    /// A tensor as a candidate.
    ///
    /// # Errors
    /// What reading and rounding say.
    fn get(&self, tensor: &str, candidate: Candidate) -> Result<Arc<dyn Rounded>>;
}

impl Rounded for Record {
    fn stored(&self) -> Candidate {
        self.header.stored()
    }

    fn bytes(&self) -> &[u8] {
        self.bytes()
    }
}

/// Rounded tensors of an opened model.
pub(super) struct Store<'a> {
    source: &'a Source,
    encoder: Encoder<'a>,
    folder: PathBuf,
    /// Parts of the names of files that everything but tensor and format decides.
    salt: String,
    opened: Mutex<HashMap<(String, Candidate), Arc<Record>>>,
}

impl<'a> Store<'a> {
    pub fn new(source: &'a Source, calibration: Option<&'a Calibration>, rounding: &str, folder: &Path, cx: &'a JobContext) -> Result<Self> {
        let rounder = rounder(rounding).ok_or_else(|| Error::unsupported(format!("rounding {rounding}"), "it is not one of the rounders"))?;
        let folder = folder.join("tensors");
        std::fs::create_dir_all(&folder).map_err(Error::io("create the folder of the search", &folder))?;
        let salt = format!("{} {} {rounding} {:?}", crate::round::TOOL, source.fingerprint, calibration.map(Calibration::hash));
        Ok(Self { source, encoder: Encoder::new(source, calibration, rounder, cx), folder, salt, opened: Mutex::default() })
    }
}

impl Tensors for Store<'_> {
    fn get(&self, tensor: &str, candidate: Candidate) -> Result<Arc<dyn Rounded>> {
        let key = (tensor.to_owned(), candidate);
        if let Some(there) = self.opened.lock().get(&key) {
            return Ok(Arc::<Record>::clone(there));
        }
        let name = blake3::hash(format!("{} {tensor} {candidate}", self.salt).as_bytes()).to_hex();
        let path = self.folder.join(format!("{}.rec", &name[..24]));
        // A record that was damaged is made again, as in a job.
        let record = match Record::open(&path) {
            Ok(Some(record)) => record,
            Ok(None) | Err(Error::Malformed { .. }) => {
                let index = self.source.find(tensor).ok_or_else(|| Error::MissingTensor { name: tensor.to_owned() })?;
                let (header, bytes) = self.encoder.encode(index, candidate.format, candidate.residual)?;
                write_record(&path, &header, &bytes)?;
                Record::open(&path)?.ok_or_else(|| Error::malformed("job record", &path, "it is not there after it was written"))?
            }
            Err(other) => return Err(other),
        };
        let record = Arc::new(record);
        self.opened.lock().insert(key, Arc::clone(&record));
        Ok(record)
    }
}
