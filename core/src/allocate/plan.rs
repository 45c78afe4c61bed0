//! A solved allocation in the user's terms, and the whole frontier.

use super::{Budget, Problem};
use crate::codec::Format;
use crate::error::Result;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// A format for every quantizable tensor, and what it costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// "optimal", or a preset's name.
    pub name: String,
    /// Canonical tensor name → candidate.
    pub formats: IndexMap<String, Format>,
    /// Exact bytes of the GGUF.
    pub file_bytes: u64,
    /// Σ metric.
    pub cost: f64,
    /// Average stored bits of the quantizable weights.
    pub bits_per_weight: f64,
    /// Optimality gap, 0 when proven; `None` for presets.
    pub gap: Option<f64>,
}

/// Solves for a budget.
///
/// # Errors
/// `Infeasible` with the nearest feasible figure.
pub fn allocate(problem: &Problem, budget: Budget) -> Result<Plan> {
    let _ = (problem, budget);
    todo!("allocate room")
}

/// The lower convex hull of (file bytes, cost) over all budgets, smallest file first: one Lagrangian sweep, O(N log N).
pub fn frontier(problem: &Problem) -> Vec<(u64, f64)> {
    let _ = problem;
    todo!("allocate room")
}
