//! How fast a move of the budget slider is answered: 1,000 tensors with 12 candidates each.

use halftone_core::allocate::{Budget, Choice, Group, Problem, allocate, frontier, solve};
use halftone_core::codec::Format;
use rand::{Rng as _, SeedableRng as _};

fn main() {
    divan::main();
}

fn problem() -> Problem {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut weights = 0;
    let groups = (0..1000)
        .map(|g| {
            let values = [4096u64 * 4096, 4096 * 1024, 4096 * 14336][g % 3];
            weights += values;
            let sensitivity = 10f64.powf(rng.random_range(-3.0..0.0));
            let choices = (0..12).map(|f| {
                let bits = 2.5 + f64::from(f) * 0.5;
                Choice {
                    format: Format::F16,
                    residual: None,
                    bytes: (values as f64 * bits / 8.0) as u64,
                    cost: sensitivity * 4f64.powf(-bits) * rng.random_range(0.7..1.4),
                }
            });
            Group { choices: choices.collect(), ..Group::new(vec![format!("t{g}")], values) }
        })
        .collect();
    Problem { groups, fixed_bytes: 4096, weights }
}

/// The exact optimum, over many budgets.
#[divan::bench(args = [3.0, 3.5, 4.25, 4.5, 5.0, 6.0])]
fn exact(bencher: divan::Bencher<'_, '_>, bits: f64) {
    let problem = problem();
    let budget = problem.fixed_bytes + (problem.weights as f64 * bits / 8.0) as u64;
    bencher.bench(|| solve(&problem, budget));
}

/// The hull over all budgets.
#[divan::bench]
fn whole_frontier(bencher: divan::Bencher<'_, '_>) {
    let problem = problem();
    bencher.bench(|| frontier(&problem));
}

/// The smallest file within a cost.
#[divan::bench]
fn max_cost(bencher: divan::Bencher<'_, '_>) {
    let problem = problem();
    bencher.bench(|| allocate(&problem, Budget::MaxCost(0.3)));
}

/// A thousand equal tensors: the degenerate case, in which every hull step has the same efficiency.
#[divan::bench(args = [3.3, 4.6])]
fn equal_tensors(bencher: divan::Bencher<'_, '_>, bits: f64) {
    let mut problem = problem();
    for g in 1..problem.groups.len() {
        problem.groups[g].choices = problem.groups[0].choices.clone();
    }
    problem.weights = 1000 * 4096 * 4096;
    let budget = problem.fixed_bytes + (problem.weights as f64 * bits / 8.0) as u64 + 12345;
    bencher.bench(|| solve(&problem, budget));
}

/// Costs that fall linearly with the bytes, give or take a little: the case that is hard for knapsack solvers.
#[divan::bench(args = [3.3, 4.6])]
fn correlated(bencher: divan::Bencher<'_, '_>, bits: f64) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(2);
    let mut problem = problem();
    for choice in problem.groups.iter_mut().flat_map(|g| &mut g.choices) {
        choice.bytes = (choice.bytes as f64 * rng.random_range(0.95..1.05)) as u64 / 32 * 32;
        choice.cost = 1.0 - choice.bytes as f64 * 1e-8 + rng.random_range(0.0..1e-4);
    }
    for group in &mut problem.groups {
        group.choices.sort_by_key(|c| c.bytes);
    }
    let budget = problem.fixed_bytes + (problem.weights as f64 * bits / 8.0) as u64;
    bencher.bench(|| solve(&problem, budget));
}
