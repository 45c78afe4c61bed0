//! The saved truth of an allocation.

use crate::allocate::{Budget, Target};
use crate::codec::Format;
use crate::error::Result;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recipe {
    /// Version of the program that wrote it.
    pub tool: String,
    /// Fingerprint of the model it is for.
    pub model: String,
    /// Where that model was.
    pub model_path: PathBuf,
    /// Hash of the calibration behind it.
    pub calibration: Option<String>,
    /// Rounder.
    pub rounding: String,
    /// Runtime it is for.
    pub target: Target,
    /// Budget it was solved for.
    pub budget: Option<Budget>,
    /// Seed of everything random.
    pub seed: u64,
    /// Tensors the solver must leave alone, and what they are.
    pub pins: IndexMap<String, Format>,
    /// The format of every quantizable tensor.
    pub tensors: IndexMap<String, Format>,
}

impl Recipe {
    /// blake3 of what decides the quantized bytes: model, calibration, rounding, seed, tensors.
    pub fn hash(&self) -> String {
        todo!("recipe room")
    }

    /// Writes it as TOML.
    ///
    /// # Errors
    /// `Io`.
    pub fn save(&self, path: &Path) -> Result<()> {
        let _ = path;
        todo!("recipe room")
    }

    /// Reads what [`Self::save`] wrote.
    ///
    /// # Errors
    /// `Io`, `Malformed` with line and column.
    pub fn load(path: &Path) -> Result<Self> {
        let _ = path;
        todo!("recipe room")
    }
}
