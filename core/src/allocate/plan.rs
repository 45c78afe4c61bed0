//! A solved allocation in the user's terms, the whole frontier, and the control that a solver must beat.

use super::hull::{Relaxation, cost_of};
use super::solve::solve_relaxed;
use super::{Budget, Problem, Solution};
use crate::codec::Format;
use crate::error::{Error, Result};
use indexmap::IndexMap;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
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

impl Plan {
    /// The plan of some picks, tensors in the order of the groups.
    pub fn new(name: impl Into<String>, problem: &Problem, picks: &[usize], gap: Option<f64>) -> Self {
        let named = problem.groups.iter().zip(picks).flat_map(|(g, &p)| g.tensors.iter().map(move |t| (t.clone(), g.choices[p].format)));
        let file_bytes = problem.file_bytes(picks);
        Self { name: name.into(), formats: named.collect(), file_bytes, cost: problem.cost(picks), bits_per_weight: bits_per_weight(problem, file_bytes), gap }
    }
}

fn bits_per_weight(problem: &Problem, file_bytes: u64) -> f64 {
    (file_bytes - problem.fixed_bytes) as f64 * 8.0 / problem.weights.max(1) as f64
}

/// Solves for a budget.
///
/// # Errors
/// `Infeasible` with the nearest feasible figure.
pub fn allocate(problem: &Problem, budget: Budget) -> Result<Plan> {
    let relaxation = Relaxation::new(problem);
    let smallest = problem.smallest_bytes();
    let infeasible = |budget: String, why: String| Error::Infeasible { budget, why, smallest_bytes: smallest };
    let solution = match budget {
        Budget::FileBytes(bytes) if bytes < smallest => {
            return Err(infeasible(format!("a file of {bytes} bytes"), format!("the smallest possible file has {smallest} bytes")));
        }
        Budget::FileBytes(bytes) => solve_relaxed(problem, &relaxation, bytes)?,
        Budget::BitsPerWeight(bits) => {
            let least = bits_per_weight(problem, smallest);
            // Not below: a NaN is infeasible too.
            if bits.partial_cmp(&least).is_none_or(std::cmp::Ordering::is_lt) {
                return Err(infeasible(
                    format!("{bits} bits per weight"),
                    format!("the smallest formats have {least:.4} bits per weight ({smallest} bytes in the file)"),
                ));
            }
            let bytes = (bits * problem.weights as f64 / 8.0).floor() as u64;
            solve_relaxed(problem, &relaxation, problem.fixed_bytes.saturating_add(bytes).max(smallest))?
        }
        Budget::MaxCost(cost) => smallest_within(problem, &relaxation, cost)?,
    };
    Ok(Plan::new("optimal", problem, &solution.picks, Some(solution.gap())))
}

/// The smallest file whose cost is at most `max_cost`: the relaxation brackets its size within one step, bisection with the exact
/// solver finds it.
fn smallest_within(problem: &Problem, relaxation: &Relaxation, max_cost: f64) -> Result<Solution> {
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

/// A random allocation of nearly the budget's bytes: every group a random choice, then random groups one choice smaller until it fits,
/// then one larger while any fits. The control for any claim that choosing matters.
///
/// # Errors
/// `Infeasible` with the smallest possible size.
pub fn random_plan(problem: &Problem, budget_bytes: u64, seed: u64) -> Result<Plan> {
    let smallest = problem.smallest_bytes();
    if budget_bytes < smallest {
        let why = format!("the smallest possible file has {smallest} bytes");
        return Err(Error::Infeasible { budget: format!("a file of {budget_bytes} bytes"), why, smallest_bytes: smallest });
    }
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut picks: Vec<usize> = problem.groups.iter().map(|g| rng.random_range(0..g.choices.len())).collect();
    let mut bytes = problem.file_bytes(&picks);
    let mut order: Vec<usize> = (0..picks.len()).collect();
    for direction in [-1isize, 1] {
        let mut moved = true;
        while moved && (direction == 1 || bytes > budget_bytes) {
            moved = false;
            order.shuffle(&mut rng);
            for &group in &order {
                let choices = &problem.groups[group].choices;
                let Some(to) = picks[group].checked_add_signed(direction).filter(|&to| to < choices.len()) else { continue };
                let after = bytes - choices[picks[group]].bytes + choices[to].bytes;
                if (direction == -1 && bytes > budget_bytes) || (direction == 1 && after <= budget_bytes) {
                    (picks[group], bytes, moved) = (to, after, true);
                }
            }
        }
    }
    Ok(Plan::new("random", problem, &picks, None))
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

    #[test]
    fn a_random_plan_fills_the_budget_and_costs_more_than_the_optimum() {
        let problem = random_problem(200, 8, 5);
        let budget = problem.smallest_bytes() * 13 / 10;
        let best = allocate(&problem, Budget::FileBytes(budget)).unwrap();
        for seed in 0..5 {
            let random = random_plan(&problem, budget, seed).unwrap();
            assert!(random.file_bytes <= budget && random.file_bytes as f64 > budget as f64 * 0.99, "{} of {budget}", random.file_bytes);
            assert!(random.cost > best.cost);
            assert_eq!(random, random_plan(&problem, budget, seed).unwrap(), "the seed decides");
        }
        assert!(random_plan(&problem, 10, 0).is_err());
    }
}
