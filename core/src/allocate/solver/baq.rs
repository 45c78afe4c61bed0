//! Reverse water-filling in closed form (the rate–distortion optimum of independent Gaussians; for weights: BAQ, Zhang et al. 2025).
//!
//! If the cost of a group is s·4^(−b) at b bits a weight, the best bits for n weights are b = b̄ + ½·log2(σ² / geometric mean), with
//! σ² = s/n. Here s is the geometric mean of cost·4^b over the candidates. The bits are clipped to what the candidates reach (the level
//! of the water is found again by bisection), rounded to the nearest candidate, and repaired to the budget by the cheapest steps.

use super::super::hull::{cost_of, efficient};
use super::{Problem, Solution, Solver, smallest_picks};
use crate::error::Result;

/// The closed form, rounded and repaired.
pub(super) struct WaterFilling;

/// What the closed form knows of a group.
struct Curve {
    weights: f64,
    /// ½·log2 σ²: what the group's bits are above the level.
    height: f64,
    /// Fewest and most bits of its candidates.
    range: (f64, f64),
}

impl Curve {
    fn bits(&self, level: f64) -> f64 {
        (level + self.height).clamp(self.range.0, self.range.1)
    }
}

impl Solver for WaterFilling {
    fn name(&self) -> &'static str {
        "baq"
    }

    fn about(&self) -> &'static str {
        "reverse water-filling in closed form, rounded to the candidates and repaired to the budget"
    }

    fn solve(&self, problem: &Problem, budget_bytes: u64, _seed: u64) -> Result<Solution> {
        smallest_picks(problem, budget_bytes)?;
        let ladders: Vec<Vec<usize>> = problem.groups.iter().map(|g| efficient(&g.choices)).collect();
        let bits_of = |group: usize, choice: usize| problem.groups[group].choices[choice].bytes as f64 * 8.0 / problem.groups[group].weights.max(1) as f64;
        let curves: Vec<Curve> = (0..ladders.len()).map(|g| curve(problem, g, &ladders[g], &bits_of)).collect();
        let level = level(&curves, (budget_bytes - problem.fixed_bytes) as f64 * 8.0);
        let mut rungs: Vec<usize> = (0..ladders.len())
            .map(|g| {
                let wanted = curves[g].bits(level);
                let distance = |rung: usize| (bits_of(g, ladders[g][rung]) - wanted).abs();
                (0..ladders[g].len()).min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
            })
            .collect();
        repair(problem, &ladders, &mut rungs, budget_bytes);
        let picks = rungs.iter().enumerate().map(|(g, &rung)| ladders[g][rung]).collect();
        Ok(Solution::bounded(problem, picks, budget_bytes))
    }
}

fn curve(problem: &Problem, group: usize, ladder: &[usize], bits_of: &dyn Fn(usize, usize) -> f64) -> Curve {
    let g = &problem.groups[group];
    // A candidate that costs nothing says nothing of the scale.
    let logs: Vec<f64> = ladder
        .iter()
        .map(|&c| (cost_of(&g.choices[c]), bits_of(group, c)))
        .filter(|(cost, _)| *cost > 0.0)
        .map(|(cost, bits)| cost.log2() + 2.0 * bits)
        .collect();
    let weights = g.weights.max(1) as f64;
    let range = (bits_of(group, ladder[0]), bits_of(group, ladder[ladder.len() - 1]));
    let height = if logs.is_empty() { f64::NEG_INFINITY } else { 0.5 * (logs.iter().sum::<f64>() / logs.len() as f64 - weights.log2()) };
    Curve { weights, height, range }
}

/// The level at which the groups' bits add up to the budget.
fn level(curves: &[Curve], budget_bits: f64) -> f64 {
    let spent = |level: f64| curves.iter().map(|c| c.weights * c.bits(level)).sum::<f64>();
    let heights = || curves.iter().map(|c| c.height).filter(|h| h.is_finite());
    let (highest, lowest) = (heights().fold(f64::NEG_INFINITY, f64::max), heights().fold(f64::INFINITY, f64::min));
    if !highest.is_finite() {
        return 0.0;
    }
    // Below the first every group has its fewest bits, above the second its most.
    let (mut low, mut high) = (-highest - 1.0, 65.0 - lowest);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if spent(middle) > budget_bits { high = middle } else { low = middle }
    }
    low
}

/// Down where it costs least for the bytes until the budget holds, then up where it saves most while anything fits.
fn repair(problem: &Problem, ladders: &[Vec<usize>], rungs: &mut [usize], budget_bytes: u64) {
    let choice = |g: usize, rung: usize| &problem.groups[g].choices[ladders[g][rung]];
    let mut used = problem.fixed_bytes + rungs.iter().enumerate().map(|(g, &rung)| choice(g, rung).bytes).sum::<u64>();
    let price = |g: usize, low: usize| {
        let (small, large) = (choice(g, low), choice(g, low + 1));
        (cost_of(small) - cost_of(large)) / (large.bytes - small.bytes).max(1) as f64
    };
    while used > budget_bytes {
        let cheapest = (0..rungs.len()).filter(|&g| rungs[g] > 0).min_by(|&a, &b| price(a, rungs[a] - 1).total_cmp(&price(b, rungs[b] - 1)));
        let Some(g) = cheapest else { return };
        used -= choice(g, rungs[g]).bytes - choice(g, rungs[g] - 1).bytes;
        rungs[g] -= 1;
    }
    loop {
        let step = |g: usize| choice(g, rungs[g] + 1).bytes - choice(g, rungs[g]).bytes;
        let fits = (0..rungs.len()).filter(|&g| rungs[g] + 1 < ladders[g].len() && used + step(g) <= budget_bytes);
        let Some(g) = fits.max_by(|&a, &b| price(a, rungs[a]).total_cmp(&price(b, rungs[b]))) else { return };
        used += step(g);
        rungs[g] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Choice, Group};
    use super::*;
    use crate::codec::Format;

    /// Groups that obey the law exactly, with a candidate for every eighth of a bit.
    fn lawful(sensitivities: &[f64], weights: &[u64]) -> Problem {
        let groups = sensitivities.iter().zip(weights).enumerate().map(|(g, (&s, &n))| {
            let choices = (64..256u32).map(|parts| {
                let bits = f64::from(parts) / 32.0;
                Choice { format: Format::F16, residual: None, bytes: n * u64::from(parts) / 256, cost: s * 4f64.powf(-bits) }
            });
            Group { choices: choices.collect(), ..Group::new(vec![format!("t{g}")], n) }
        });
        Problem { groups: groups.collect(), fixed_bytes: 0, weights: weights.iter().sum() }
    }

    #[test]
    fn where_the_law_holds_the_closed_form_is_the_optimum() {
        let problem = lawful(&[1e-3, 1e-2, 0.3, 1.0], &[64_000, 6_400, 640_000, 64_000]);
        for bits in [3.0, 4.0, 5.5] {
            let budget = (problem.weights as f64 * bits / 8.0) as u64;
            let (closed, best) = (WaterFilling.solve(&problem, budget, 0).unwrap(), super::super::solve(&problem, budget).unwrap());
            assert!(closed.cost < best.cost * 1.03, "{bits} bits: {} and {}", closed.cost, best.cost);
            // Two groups of as many weights whose sensitivities differ by 4^k differ by k bits.
            let bits_of = |g: usize| problem.groups[g].choices[closed.picks[g]].bytes as f64 * 8.0 / problem.groups[g].weights as f64;
            let apart = 0.5 * (1.0f64 / 1e-3).log2();
            if bits_of(3) < 7.8 && bits_of(0) > 2.1 {
                assert!((bits_of(3) - bits_of(0) - apart).abs() < 0.3, "{bits} bits: {} and {} are not {apart} apart", bits_of(3), bits_of(0));
            }
        }
    }
}
