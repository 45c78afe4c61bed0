//! Which changes to try: one tensor up and one or two down so that the bytes stay within the budget, or one to another format of its size.
//! Of many drawn at random the one that the prediction holds for the best is tried first: the optimum is surrounded by allocations that
//! are predicted to be nearly as good, and measurement decides between them.

use crate::allocate::Problem;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;

/// Allocations drawn for each that is tried.
const DRAWN: usize = 48;
/// Draws of partners for a tensor that goes up.
const PARTNERS: usize = 24;

/// A group that gets another choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Change {
    pub group: usize,
    pub to: usize,
}

/// Proposes changes, none twice.
pub(super) struct Mover<'a> {
    problem: &'a Problem,
    budget_bytes: u64,
    /// Groups that have a choice.
    free: Vec<usize>,
    tried: HashSet<Vec<Change>>,
}

impl<'a> Mover<'a> {
    pub fn new(problem: &'a Problem, budget_bytes: u64) -> Self {
        let free = (0..problem.groups.len()).filter(|&g| problem.groups[g].choices.len() > 1).collect();
        Self { problem, budget_bytes, free, tried: HashSet::new() }
    }

    /// Remembers what was tried. Sorted by group, as everything that is proposed.
    pub fn tried(&mut self, changes: &[Change]) {
        let mut changes = changes.to_vec();
        changes.sort_unstable();
        self.tried.insert(changes);
    }

    /// The most promising of some random changes that were not tried yet; `None` when there seems to be none left.
    pub fn propose(&self, picks: &[usize], rng: &mut ChaCha8Rng) -> Option<Vec<Change>> {
        let drawn = (0..DRAWN).filter_map(|_| self.draw(picks, rng)).filter(|changes| !self.tried.contains(changes));
        drawn.min_by(|a, b| self.predicted(picks, a).total_cmp(&self.predicted(picks, b)))
    }

    /// Predicted change of the cost.
    fn predicted(&self, picks: &[usize], changes: &[Change]) -> f64 {
        let cost = |group: usize, choice: usize| self.problem.groups[group].choices[choice].cost;
        changes.iter().map(|c| cost(c.group, c.to) - cost(c.group, picks[c.group])).sum()
    }

    fn bytes(&self, group: usize, choice: usize) -> i64 {
        self.problem.groups[group].choices[choice].bytes as i64
    }

    /// One random change that keeps the budget, sorted by group.
    fn draw(&self, picks: &[usize], rng: &mut ChaCha8Rng) -> Option<Vec<Change>> {
        let any = |rng: &mut ChaCha8Rng| self.free.get(rng.random_range(0..self.free.len().max(1))).copied();
        let first = any(rng)?;
        let to = rng.random_range(0..self.problem.groups[first].choices.len());
        let grown = |group: usize, to: usize| self.bytes(group, to) - self.bytes(group, picks[group]);
        if to == picks[first] || grown(first, to) < 0 {
            return None;
        }
        let mut left = self.budget_bytes as i64 - self.problem.file_bytes(picks) as i64 - grown(first, to);
        let mut changes = vec![Change { group: first, to }];
        for _ in 0..PARTNERS {
            if left >= 0 || changes.len() == 3 {
                break;
            }
            let group = any(rng)?;
            if changes.iter().any(|c| c.group == group) || picks[group] == 0 {
                continue;
            }
            let to = rng.random_range(0..picks[group]);
            // The last partner must make room for all that is missing.
            if changes.len() < 2 || left - grown(group, to) >= 0 {
                left -= grown(group, to);
                changes.push(Change { group, to });
            }
        }
        changes.sort_unstable();
        (left >= 0).then_some(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocate::{Choice, Group};
    use crate::codec::Format;
    use rand::SeedableRng as _;

    fn problem(groups: usize) -> Problem {
        let group = |g: usize| {
            let choices =
                (0..5u64).map(|c| Choice { format: Format::F16, residual: None, bytes: 100 * (c + 2) * (1 + g as u64 % 3), cost: 0.1 / (c + 1) as f64 });
            Group { choices: choices.collect(), ..Group::new(vec![format!("t{g}")], 100) }
        };
        Problem { groups: (0..groups).map(group).collect(), fixed_bytes: 10, weights: 100 }
    }

    #[test]
    fn every_proposal_keeps_the_budget_changes_something_and_comes_once() {
        let problem = problem(12);
        let picks = vec![2; 12];
        let budget = problem.file_bytes(&picks) + 50;
        let mut mover = Mover::new(&problem, budget);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut seen = HashSet::new();
        for _ in 0..200 {
            let changes = mover.propose(&picks, &mut rng).unwrap();
            let mut after = picks.clone();
            changes.iter().for_each(|c| after[c.group] = c.to);
            assert!(after != picks && problem.file_bytes(&after) <= budget && changes.len() <= 3, "{changes:?}");
            assert!(changes.is_sorted_by(|a, b| a.group < b.group), "each group once");
            assert!(seen.insert(changes.clone()), "twice: {changes:?}");
            mover.tried(&changes);
        }
        assert!(seen.iter().any(|c| c.len() == 3) && seen.iter().any(|c| c.len() == 2), "pairs and triples");
    }

    #[test]
    fn nothing_is_proposed_where_nothing_can_change() {
        let mut problem = problem(3);
        problem.groups.iter_mut().for_each(|g| g.choices.truncate(1));
        let mover = Mover::new(&problem, problem.file_bytes(&[0, 0, 0]));
        assert_eq!(mover.propose(&[0, 0, 0], &mut ChaCha8Rng::seed_from_u64(1)), None);
    }
}
