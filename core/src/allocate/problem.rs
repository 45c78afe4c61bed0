//! The knapsack: groups, choices, what is fixed. Built from a table, a target's rules and the user's pins.

use crate::codec::Format;
use crate::sensitivity::{Metric, Table};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// The runtime the file is for; its rules are hard constraints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// llama.cpp: any tensor any ggml type.
    #[default]
    LlamaCpp,
    /// vLLM: q, k and v share a format; gate and up share a format.
    Vllm,
}

/// One way to store a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The format of all its tensors (the candidate, before the fallback for short rows).
    pub format: Format,
    /// Bytes of all its tensors in the file, each padded to the file's alignment.
    pub bytes: u64,
    /// Sum of the metric over its tensors.
    pub cost: f64,
}

/// Tensors that get one format together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Canonical tensor names.
    pub tensors: Vec<String>,
    /// At least one; by rising bytes. A pinned group has exactly one.
    pub choices: Vec<Choice>,
}

/// A multiple-choice knapsack.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The groups.
    pub groups: Vec<Group>,
    /// Bytes that are in the file whatever is chosen.
    pub fixed_bytes: u64,
    /// Number of weights in all groups.
    pub weights: u64,
}

impl Problem {
    /// Builds the problem. `pins` maps canonical tensor names to formats.
    pub fn new(table: &Table, metric: Metric, target: Target, pins: &IndexMap<String, Format>) -> Self {
        let _ = (table, metric, target, pins);
        todo!("allocate room")
    }
}
