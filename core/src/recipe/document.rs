//! The saved truth of an allocation: a TOML file that a person can read, edit and keep in version control.
//!
//! Absent on purpose: scores, sizes and anything else that can be computed again from the model and its sensitivity table.

use crate::allocate::{Budget, Limits, Rules, Target};
use crate::codec::Format;
use crate::error::{Error, Result};
use crate::residual::{Candidate, Residual};
use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const HEADER: &str = "\
# Halftone recipe: which format each tensor of a model gets.
# [tensors] is what will be written; [pins] are the tensors that the solver must leave alone.

";

/// A recipe. Unknown keys are refused on reading, so that a misspelt one is never silently without effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Version of the program that wrote it.
    pub tool: String,
    /// Fingerprint of the model it is for.
    pub model: String,
    /// Where that model was.
    pub model_path: PathBuf,
    /// Hash of the calibration behind it.
    pub calibration: Option<String>,
    /// Hash of the table that it was solved on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Rounder.
    pub rounding: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Runtime it is for.
    pub target: Target,
    /// Solver that chose; empty where nobody did.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub solver: String,
    /// Tensors that stay as they are in the source.
    #[serde(skip_serializing_if = "IndexSet::is_empty")]
    pub excluded: IndexSet<String>,
    /// Budget it was solved for.
    pub budget: Option<Budget>,
    /// Tensors the solver must leave alone, and what they are.
    pub pins: IndexMap<String, Format>,
    /// Fewest and most bits of tensors that the solver may choose for.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub limits: IndexMap<String, Limits>,
    /// The format of every quantizable tensor.
    pub tensors: IndexMap<String, Format>,
    /// What is kept of the rounding error of some of them.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub residuals: IndexMap<String, Residual>,
}

impl Recipe {
    /// What a tensor becomes; none for one that stays as it is.
    pub fn candidate(&self, tensor: &str) -> Option<Candidate> {
        Some(Candidate { format: *self.tensors.get(tensor)?, residual: self.residuals.get(tensor).copied() })
    }

    /// What the user decided before the solver did.
    pub fn rules(&self) -> Rules {
        Rules { target: self.target, pins: self.pins.clone(), residuals: self.residuals.clone(), excluded: self.excluded.clone(), limits: self.limits.clone() }
    }

    /// blake3 of what decides the quantized bytes: model, calibration, rounding, seed, tensors. The order of the tensors, the budget
    /// and the pins do not enter: they say how the formats were found, not what they are.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        // Lengths before the strings, so that no two different recipes give the same stream of bytes.
        let mut field = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        field("halftone recipe 1");
        field(&self.model);
        field(self.calibration.as_deref().unwrap_or_default());
        field(&self.rounding);
        field(&self.seed.to_string());
        let mut tensors: Vec<_> = self.tensors.iter().collect();
        tensors.sort();
        for (name, format) in tensors {
            field(name);
            field(&format.to_string());
        }
        let mut residuals: Vec<_> = self.residuals.iter().collect();
        residuals.sort();
        for (name, residual) in residuals {
            field(name);
            field(&residual.to_string());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Writes it as TOML.
    ///
    /// # Errors
    /// `Io`; `Input` for what TOML cannot hold (a seed above 2⁶³ − 1, a path that is not Unicode).
    pub fn save(&self, path: &Path) -> Result<()> {
        let body = toml::to_string(self).map_err(|e| Error::Input(format!("the recipe cannot be written as TOML: {e}")))?;
        crate::job::write_atomically(path, format!("{HEADER}{body}").as_bytes())
    }

    /// Reads what [`Self::save`] wrote.
    ///
    /// # Errors
    /// `Io`, `Malformed` with line and column.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read recipe", path))?;
        toml::from_str(&text).map_err(|e| Error::malformed("recipe", path, e.to_string().trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocate::{CacheType, Overhead};
    use crate::codec::GgmlType;

    fn recipe() -> Recipe {
        let format = |t| Format::Ggml(t);
        Recipe {
            tool: "0.1.0".into(),
            model: "abc".into(),
            model_path: "models/a b.gguf".into(),
            calibration: Some("def".into()),
            table: Some("123".into()),
            rounding: "nearest".into(),
            seed: 7,
            target: Target::Vllm,
            budget: Some(Budget::FileBytes(90_000_000)),
            solver: "exact".into(),
            excluded: ["output.weight".to_owned()].into(),
            limits: [("blk.0.attn_v.weight".to_owned(), Limits { min: Some(5.0), max: None })].into(),
            pins: [("token_embd.weight".to_owned(), format(GgmlType::Q8_0))].into(),
            tensors: [("token_embd.weight".to_owned(), format(GgmlType::Q8_0)), ("blk.0.attn_q.weight".to_owned(), Format::F16)].into(),
            residuals: [("token_embd.weight".to_owned(), "o0.5%+r16".parse().unwrap())].into(),
        }
    }

    #[test]
    fn a_saved_recipe_is_read_back_equal_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        let overhead = Overhead { context: 8192, cache: CacheType::Q8_0, cache_bytes: 5, compute_bytes: 6 };
        let memory = Budget::Memory { bytes: 6_000_000_000, overhead };
        for budget in [None, Some(Budget::BitsPerWeight(4.5)), Some(Budget::MaxCost(0.1)), Some(Budget::FileBytes(1)), Some(memory)] {
            let recipe = Recipe { budget, ..recipe() };
            recipe.save(&path).unwrap();
            let back = Recipe::load(&path).unwrap();
            assert_eq!(back, recipe);
            assert!(back.tensors.keys().eq(recipe.tensors.keys()), "file order is kept");
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with('#') && text.contains("\"blk.0.attn_q.weight\" = \"F16\""), "readable: {text}");
    }

    #[test]
    fn a_broken_recipe_names_line_and_column() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        for bad in ["rounding = \"nearest\"\nseed = \"x\"\n", "[tensors]\na = \"Q4_9\"\n", "\nsead = 3\n"] {
            std::fs::write(&path, bad).unwrap();
            let message = Recipe::load(&path).unwrap_err().to_string();
            assert!(message.contains("line 2, column"), "{message}");
        }
    }

    #[test]
    fn the_hash_is_of_what_decides_the_bytes() {
        let (first, mut other) = (recipe(), recipe());
        other.tool = "9".into();
        other.budget = None;
        other.pins.clear();
        other.tensors.reverse();
        assert_eq!(first.hash(), other.hash(), "provenance and order do not enter");
        for change in [
            (|r: &mut Recipe| r.seed = 8) as fn(&mut Recipe),
            |r| r.model.push('x'),
            |r| r.calibration = None,
            |r| r.rounding = "gptq".into(),
            |r| r.tensors[0] = Format::F16,
            |r| r.residuals.clear(),
        ] {
            let mut changed = recipe();
            change(&mut changed);
            assert_ne!(first.hash(), changed.hash());
        }
    }
}
