//! The exact solver.

use super::Problem;
use crate::error::Result;

/// The answer for one byte budget.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// Index into each group's choices.
    pub picks: Vec<usize>,
    /// Bytes of the whole file.
    pub bytes: u64,
    /// Σ cost.
    pub cost: f64,
    /// No allocation within the budget costs less than this (LP bound, or the cost itself when proven optimal).
    pub lower_bound: f64,
}

impl Solution {
    /// (cost − bound) / cost: 0 when proven optimal.
    pub fn gap(&self) -> f64 {
        if self.cost <= self.lower_bound { 0.0 } else { (self.cost - self.lower_bound) / self.cost }
    }
}

/// Minimises cost within `budget_bytes` for the whole file.
///
/// # Errors
/// `Infeasible` with the smallest possible size.
pub fn solve(problem: &Problem, budget_bytes: u64) -> Result<Solution> {
    let _ = (problem, budget_bytes);
    todo!("allocate room")
}
