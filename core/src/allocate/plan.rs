//! A solved allocation in the user's terms, the whole frontier, and the control that a solver must beat.

use super::hull::{Relaxation, cost_of};
use super::solver::{DEFAULT_SOLVER, solve_relaxed, solver};
use super::{Budget, Problem, Solution};
use crate::codec::Format;
use crate::error::{Error, Result};
use crate::residual::{Candidate, Residual};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// A format for every quantizable tensor, and what it costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// "optimal", or the name of a preset or of another solver.
    pub name: String,
    /// Canonical tensor name → candidate; a tensor that stays as it is in the source is not here.
    pub formats: IndexMap<String, Format>,
    /// What is kept of the rounding error of some of them.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub residuals: IndexMap<String, Residual>,
    /// Exact bytes of the GGUF; with residuals, which it cannot hold, of one that could.
    pub file_bytes: u64,
    /// Σ metric.
    pub cost: f64,
    /// Average stored bits of the quantizable weights.
    pub bits_per_weight: f64,
    /// Optimality gap, 0 when proven; `None` for presets.
    pub gap: Option<f64>,
}

impl Plan {
    /// The plan of some picks, tensors in the order of the groups.
    pub fn new(name: impl Into<String>, problem: &Problem, picks: &[usize], gap: Option<f64>) -> Self {
        let chosen = problem.groups.iter().zip(picks).filter(|(g, _)| !g.stays());
        let named = || chosen.clone().flat_map(|(g, &p)| g.tensors.iter().map(move |t| (t.clone(), g.choices[p])));
        let formats = named().map(|(tensor, choice)| (tensor, choice.format)).collect();
        let residuals = named().filter_map(|(tensor, choice)| Some((tensor, choice.residual?))).collect();
        let file_bytes = problem.file_bytes(picks);
        Self { name: name.into(), formats, residuals, file_bytes, cost: problem.cost(picks), bits_per_weight: bits_per_weight(problem, file_bytes), gap }
    }
}

impl Plan {
    /// What a tensor becomes.
    pub fn candidate(&self, tensor: &str) -> Option<Candidate> {
        Some(Candidate { format: *self.formats.get(tensor)?, residual: self.residuals.get(tensor).copied() })
    }
}

pub(super) fn bits_per_weight(problem: &Problem, file_bytes: u64) -> f64 {
    (file_bytes - problem.fixed_bytes) as f64 * 8.0 / problem.weights.max(1) as f64
}

/// Solves for a budget, to the optimum.
///
/// # Errors
/// `Infeasible` with the nearest feasible figure.
pub fn allocate(problem: &Problem, budget: Budget) -> Result<Plan> {
    let relaxation = Relaxation::new(problem);
    let solution = match budget.file_bytes(problem)? {
        Some(bytes) => solve_relaxed(problem, &relaxation, bytes)?,
        None => smallest_within(problem, &relaxation, budget)?,
    };
    Ok(Plan::new("optimal", problem, &solution.picks, Some(solution.gap())))
}

/// Solves for a budget with the solver of a name.
///
/// # Errors
/// As [`allocate`]; `Unsupported` for a name that is none, and for a largest cost with another solver than the exact one.
pub fn allocate_with(problem: &Problem, budget: Budget, name: &str, seed: u64) -> Result<Plan> {
    let solver = solver(name)?;
    if name == DEFAULT_SOLVER {
        return allocate(problem, budget);
    }
    let why = "the smallest file that keeps a cost is found by proven optima; give a size, or leave the solver out";
    let bytes = budget.file_bytes(problem)?.ok_or_else(|| Error::unsupported(format!("a largest cost with the solver {name}"), why))?;
    let solution = solver.solve(problem, bytes, seed)?;
    let gap = (solution.lower_bound > 0.0).then(|| solution.gap());
    let name = if name == "random" { format!("random {seed}") } else { name.to_owned() };
    Ok(Plan::new(name, problem, &solution.picks, gap))
}

/// The smallest file whose cost is at most `max_cost`: the relaxation brackets its size within one step, bisection with the exact
/// solver finds it.
fn smallest_within(problem: &Problem, relaxation: &Relaxation, budget: Budget) -> Result<Solution> {
    let Budget::MaxCost(max_cost) = budget else { return Err(Error::Input(format!("{budget:?} is not a largest cost"))) };
    let mut picks = relaxation.start.clone();
    let mut low = problem.file_bytes(&picks);
    let mut cost = problem.cost(&picks);
    let mut steps = relaxation.steps.iter();
    // Also goes on where the cost is not a number.
    while cost.partial_cmp(&max_cost).is_none_or(std::cmp::Ordering::is_gt) {
        let Some(step) = steps.next() else {
            return Err(Error::Infeasible {
                budget: format!("a predicted cost of {max_cost}"),
                why: format!("the largest formats cost {cost:.3e} in {} bytes", problem.file_bytes(&picks)),
                smallest_bytes: problem.smallest_bytes(),
            });
        };
        // The last corner above the cost, and the part of this step that the relaxed optimum takes at least.
        let part = ((cost - max_cost) / step.efficiency).clamp(0.0, step.bytes as f64);
        low = problem.file_bytes(&picks) + part.floor() as u64;
        picks[step.group] = step.to;
        cost = problem.cost(&picks);
    }
    let mut best = Solution::new(problem, picks, None);
    while low < best.bytes {
        let middle = low + (best.bytes - low) / 2;
        let solution = solve_relaxed(problem, relaxation, middle)?;
        if solution.cost <= max_cost {
            best = solution;
        } else {
            low = middle + 1;
        }
    }
    Ok(best)
}

/// The lower convex hull of (file bytes, cost) over all budgets, smallest file first: one Lagrangian sweep, O(N log N).
pub fn frontier(problem: &Problem) -> Vec<(u64, f64)> {
    let Relaxation { start, steps } = Relaxation::new(problem);
    let mut bytes = problem.file_bytes(&start);
    let mut cost: f64 = problem.groups.iter().zip(&start).map(|(g, &p)| cost_of(&g.choices[p])).sum();
    let mut points = vec![(bytes, cost)];
    points.extend(steps.iter().map(|step| {
        bytes += step.bytes;
        // Rounding of the sum must not take the cheapest corner below nothing.
        cost = (cost - step.efficiency * step.bytes as f64).max(0.0);
        (bytes, cost)
    }));
    points
}

#[cfg(test)]
mod tests {
    use super::super::testing::{brute_force, random_problem, small_problem};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn max_cost_gives_the_smallest_file_that_keeps_it(problem in small_problem(), share in 0.0f64..1.0) {
            let cheapest = brute_force(&problem, |_, _| true, |_, cost| cost).unwrap();
            let dearest: f64 = problem.groups.iter().map(|g| g.choices.iter().map(|c| c.cost).fold(0.0, f64::max)).sum();
            let limit = cheapest + (dearest - cheapest) * share + 1e-9;
            let plan = allocate(&problem, Budget::MaxCost(limit)).unwrap();
            let want = brute_force(&problem, |_, cost| cost <= limit, |bytes, _| bytes as f64).unwrap();
            prop_assert!(plan.cost <= limit);
            prop_assert_eq!(plan.file_bytes as f64, want);
        }

        #[test]
        fn the_frontier_is_monotone_convex_and_below_every_solution(problem in small_problem(), share in 0.0f64..1.0) {
            let points = frontier(&problem);
            prop_assert_eq!(points[0].0, problem.smallest_bytes());
            for pair in points.windows(2) {
                prop_assert!(pair[1].0 > pair[0].0 && pair[1].1 <= pair[0].1, "{:?}", pair);
            }
            let budget = points[0].0 + ((points[points.len() - 1].0 - points[0].0) as f64 * share) as u64;
            let cost = allocate(&problem, Budget::FileBytes(budget)).unwrap().cost;
            let right = points.iter().position(|p| p.0 >= budget).unwrap();
            let relaxed = match right {
                0 => points[0].1,
                _ => {
                    let ((b0, c0), (b1, c1)) = (points[right - 1], points[right]);
                    c0 + (c1 - c0) * (budget - b0) as f64 / (b1 - b0) as f64
                }
            };
            prop_assert!(cost >= relaxed - 1e-9, "{} below the hull's {}", cost, relaxed);
        }
    }

    #[test]
    fn budgets_in_bits_count_the_quantizable_weights_only() {
        let problem = random_problem(50, 6, 9);
        let plan = allocate(&problem, Budget::BitsPerWeight(5.0)).unwrap();
        assert!(plan.bits_per_weight <= 5.0 && plan.bits_per_weight > 4.9, "{}", plan.bits_per_weight);
        assert_eq!(plan.gap, Some(0.0));
    }

    #[test]
    fn an_infeasible_budget_names_the_nearest_feasible_figure() {
        let problem = random_problem(50, 6, 9);
        let smallest = problem.smallest_bytes();
        for budget in [Budget::FileBytes(10), Budget::BitsPerWeight(0.5), Budget::BitsPerWeight(f64::NAN), Budget::MaxCost(-1.0), Budget::MaxCost(f64::NAN)] {
            match allocate(&problem, budget) {
                Err(Error::Infeasible { smallest_bytes, why, .. }) => {
                    assert_eq!(smallest_bytes, smallest);
                    assert!(why.contains("bytes"), "{why}");
                }
                other => panic!("{budget:?}: {other:?}"),
            }
        }
    }
}
