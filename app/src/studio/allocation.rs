//! The recipe being edited, and what the solver makes of it: problem, plan, frontier, presets. Every edit goes through [`Allocation::edit`],
//! which solves again at once; undo goes back over a whole drag.

use halftone_core::UserMessage;
use halftone_core::allocate::{Budget, DEFAULT_SOLVER, Group, Plan, Problem, RandomControl, allocate, baselines, frontier, random_control};
use halftone_core::codec::Format;
use halftone_core::recipe::{Edit, History, Recipe};
use halftone_core::sensitivity::{Metric, Row, Table};
use halftone_core::source::Source;
use std::collections::{BTreeSet, HashSet};

/// A recipe under edit.
#[derive(Clone, Debug, Default)]
pub struct Allocation {
    history: History,
    open: bool,
    /// The metric that the solver adds up.
    pub metric: Option<Metric>,
    /// The knapsack under the present pins and target.
    pub problem: Option<Problem>,
    /// Lower hull of (file bytes, cost).
    pub frontier: Vec<(u64, f64)>,
    /// What the runtime's presets would cost.
    pub presets: Vec<Plan>,
    /// What was solved last.
    pub plan: Option<Plan>,
    /// What chance costs, at sizes along the frontier.
    pub chance: Vec<RandomControl>,
    /// Why the last edit has no solution.
    pub refusal: Option<UserMessage>,
    /// Why the rules leave no problem to solve.
    conflict: Option<UserMessage>,
    /// Format by catalog position.
    pub formats: Vec<Option<Format>>,
    /// Pinned tensors, as catalog positions.
    pub pinned: BTreeSet<usize>,
    /// Tensors that stay as they are in the model: by the user, or by the rules of the runtime; as catalog positions.
    pub staying: BTreeSet<usize>,
    /// Tensors whose format changed last, and when (egui's clock).
    pub changed: (BTreeSet<usize>, f64),
}

impl Allocation {
    /// A fresh recipe for a table, solved for an eighth of the way from the smallest file to the largest.
    pub fn new(table: &Table, source: &Source, now: f64) -> Self {
        let recipe = Recipe { model_path: source.path.clone(), solver: DEFAULT_SOLVER.to_owned(), ..Recipe::on(table, 0) };
        let mut allocation = Self { history: History::new(recipe), metric: Some(table.best_metric()), ..Self::default() };
        allocation.rebuild(table);
        if let Some((least, most)) = allocation.byte_range() {
            let bytes = least + (most - least) / 8;
            // The first allocation is where editing starts, not a step of it.
            allocation.history.apply(Edit::SetBudget(Budget::FileBytes(bytes)));
            allocation.solve(table, source, now);
            allocation.history = History::new(allocation.history.recipe().clone());
        }
        allocation
    }

    /// The recipe as it is.
    pub fn recipe(&self) -> &Recipe {
        self.history.recipe()
    }

    /// Whether there is a step to take back, and one to do again.
    pub fn can(&self) -> (bool, bool) {
        if self.problem.is_some() { self.history.can() } else { (false, false) }
    }

    /// Smallest and largest file that can be made, bytes.
    pub fn byte_range(&self) -> Option<(u64, u64)> {
        let problem = self.problem.as_ref()?;
        let sum = |pick: fn(&Group) -> Option<u64>| -> Option<u64> { problem.groups.iter().map(pick).sum() };
        let least = sum(|g| g.choices.first().map(|c| c.bytes))?;
        let most = sum(|g| g.choices.last().map(|c| c.bytes))?;
        Some((problem.fixed_bytes + least, problem.fixed_bytes + most))
    }

    /// What chance costs at a size, between the sizes at which it was tried.
    pub fn chance_at(&self, bytes: u64) -> Option<f64> {
        let right = self.chance.iter().position(|c| c.file_bytes >= bytes)?;
        let (a, b) = (self.chance.get(right.checked_sub(1)?)?, &self.chance[right]);
        let share = (bytes - a.file_bytes) as f64 / (b.file_bytes - a.file_bytes).max(1) as f64;
        // Costs fall by a factor for each bit.
        Some((a.cost_mean.max(1e-12).ln() * (1.0 - share) + b.cost_mean.max(1e-12).ln() * share).exp())
    }

    /// Opens a step that lasts as long as a drag.
    pub fn begin(&mut self) {
        if !self.open {
            self.history.begin();
            self.open = true;
        }
    }

    /// Closes it.
    pub fn end(&mut self) {
        if self.open {
            self.history.end();
            self.open = false;
        }
    }

    /// Applies an edit and solves again.
    pub fn edit(&mut self, edit: Edit, table: &Table, source: &Source, now: f64) {
        let structural = !matches!(edit, Edit::SetBudget(_) | Edit::SetRounding(_));
        self.history.apply(edit);
        if structural {
            self.rebuild(table);
        }
        self.solve(table, source, now);
    }

    /// Takes a step back (or does it again) and shows what was.
    pub fn step(&mut self, back: bool, table: &Table, source: &Source, now: f64) {
        self.end();
        let moved = if back { self.history.undo() } else { self.history.redo() };
        if moved {
            self.rebuild(table);
            // The recipe says which formats; solving again only says how good they are.
            self.solve_plan();
            if self.plan_is_another() {
                self.plan = self.as_it_is();
            }
            self.show(source, now);
        }
    }

    /// Takes a whole recipe in as one step.
    pub fn adopt(&mut self, recipe: &Recipe, table: &Table, source: &Source, now: f64) {
        self.begin();
        for (tensor, stored) in recipe.tensors.keys().filter_map(|tensor| Some((tensor, recipe.candidate(tensor)?))) {
            self.history.apply(Edit::Paint { tensors: vec![tensor.clone()], stored });
        }
        if let Some(budget) = recipe.budget {
            self.history.apply(Edit::SetBudget(budget));
        }
        self.history.apply(Edit::SetTarget(recipe.target));
        self.history.apply(Edit::Exclude(recipe.excluded.iter().cloned().collect()));
        for (tensor, limits) in &recipe.limits {
            self.history.apply(Edit::Limit { tensors: vec![tensor.clone()], limits: *limits });
        }
        self.rebuild(table);
        self.solve(table, source, now);
        self.end();
    }

    /// Another metric for the solver to add up, or the same one calibrated; what it changes is one step. Nats are nats by any metric; another largest
    /// cost means nothing in the new one, and becomes the size that it came to, which is given.
    pub fn set_metric(&mut self, metric: Metric, table: &Table, source: &Source, now: f64) -> Option<u64> {
        self.begin();
        let before = self.metric.replace(metric);
        let comparable = before == Some(metric) || metric.is_kl() && before.is_some_and(Metric::is_kl);
        let bytes = match (self.recipe().budget, &self.plan) {
            (Some(Budget::MaxCost(_)), Some(plan)) if !comparable => Some(plan.file_bytes),
            _ => None,
        };
        if let Some(bytes) = bytes {
            self.history.apply(Edit::SetBudget(Budget::FileBytes(bytes)));
        }
        self.rebuild(table);
        self.solve(table, source, now);
        self.end();
        bytes
    }

    /// Takes in what a search from `began` found, as one step; what it had found before it went on is part of it. The formats stay until the next
    /// edit that is solved for.
    pub fn take_searched(&mut self, began: &Recipe, found: Edit, source: &Source, now: f64) {
        self.end();
        if self.recipe() != began && self.history.undo() && self.recipe() != began {
            self.history.redo();
        }
        self.history.apply(found);
        self.solve_plan();
        // A search that found nothing leaves the solver's plan with its proof.
        if self.plan_is_another() {
            self.plan = self.as_it_is();
            self.refusal = None;
        }
        self.show(source, now);
    }

    fn rebuild(&mut self, table: &Table) {
        let rules = self.history.recipe().rules();
        match Problem::new(table, self.metric.unwrap_or_else(|| table.best_metric()), &rules) {
            Ok(problem) => {
                self.frontier = frontier(&problem);
                self.presets = baselines(table, &problem);
                self.chance = chance(&problem, &self.frontier);
                self.problem = Some(problem);
                self.conflict = None;
            }
            // The last problem stays on the screen, with the reason why it is not this one.
            Err(error) => self.conflict = Some(error.user_message()),
        }
    }

    fn solve(&mut self, _table: &Table, source: &Source, now: f64) {
        self.solve_plan();
        if self.refusal.is_none()
            && let Some(plan) = &self.plan
        {
            let pins = &self.history.recipe().pins;
            let free = plan.formats.keys().filter(|name| !pins.contains_key(*name));
            let answer = free.filter_map(|name| Some((name.clone(), plan.candidate(name)?))).collect();
            self.history.apply(Edit::Solved(answer));
        }
        self.show(source, now);
    }

    fn solve_plan(&mut self) {
        if let Some(conflict) = self.conflict.clone() {
            self.refusal = Some(conflict);
            return;
        }
        let (Some(problem), Some(budget)) = (&self.problem, self.history.recipe().budget) else { return };
        match allocate(problem, budget) {
            Ok(plan) => {
                self.plan = Some(plan);
                self.refusal = None;
            }
            Err(error) => {
                self.refusal = Some(error.user_message());
                self.plan = self.as_it_is().or_else(|| self.plan.take());
            }
        }
    }

    /// Whether the plan says otherwise than the recipe.
    fn plan_is_another(&self) -> bool {
        let recipe = self.history.recipe();
        self.plan.as_ref().is_some_and(|plan| (&plan.formats, &plan.residuals) != (&recipe.tensors, &recipe.residuals))
    }

    /// The recipe's formats with their figures, whatever the budget.
    fn as_it_is(&self) -> Option<Plan> {
        let problem = self.problem.as_ref()?;
        let recipe = self.history.recipe();
        // What has no choice, or stays as it is and so is not in the recipe, is as it must be.
        let pick = |group: &Group| {
            let stored = || recipe.candidate(group.tensors.first()?);
            if group.choices.len() == 1 { Some(0) } else { stored().and_then(|stored| group.choices.iter().position(|c| c.candidate() == stored)) }
        };
        let picks: Vec<usize> = problem.groups.iter().map(pick).collect::<Option<_>>()?;
        Some(Plan::new("recipe", problem, &picks, None))
    }

    /// Copies the recipe's formats to catalog positions and remembers which changed.
    fn show(&mut self, source: &Source, now: f64) {
        let recipe = self.history.recipe();
        let formats: Vec<_> = source.tensors.iter().map(|t| recipe.tensors.get(&t.name).or_else(|| recipe.pins.get(&t.name)).copied()).collect();
        let changed: BTreeSet<usize> = (0..formats.len()).filter(|&i| self.formats.get(i).is_some_and(|old| *old != formats[i])).collect();
        self.pinned = source.tensors.iter().enumerate().filter(|(_, t)| recipe.pins.contains_key(&t.name)).map(|(i, _)| i).collect();
        let groups = self.problem.iter().flat_map(|p| &p.groups).filter(|g| g.stays());
        let stays: HashSet<&str> = groups.flat_map(|g| &g.tensors).map(String::as_str).collect();
        self.staying = source.tensors.iter().enumerate().filter(|(_, t)| stays.contains(t.name.as_str())).map(|(i, _)| i).collect();
        self.formats = formats;
        if !changed.is_empty() {
            self.changed = (changed, now);
        }
    }
}

/// Sizes along the frontier at which chance is tried, and how often.
const CHANCE: (usize, usize) = (10, 4);

/// What random allocations cost between the smallest file and the largest.
fn chance(problem: &Problem, frontier: &[(u64, f64)]) -> Vec<RandomControl> {
    let (Some((least, _)), Some((most, _))) = (frontier.first(), frontier.last()) else { return Vec::new() };
    let sizes = (1..CHANCE.0 as u64).map(|i| least + (most - least) * i / CHANCE.0 as u64);
    sizes.filter_map(|bytes| random_control(problem, bytes, CHANCE.1, 1).ok()).collect()
}

/// The measured candidate of a tensor nearest to a number of bits: those named for it first (K blocks before plain ones), else the nearest in size.
pub fn format_for_bits(row: &Row, bits: u8) -> Option<Format> {
    let named = |f: Format| f.to_string().chars().find(char::is_ascii_digit).and_then(|c| c.to_digit(10)) == Some(u32::from(bits));
    let rank = |f: Format| (!named(f), !f.to_string().contains("_K"), ((f.bits() - f64::from(bits)).abs() * 1000.0) as u64);
    let nearest = |f: Format| ((f.bits() - f64::from(bits)).abs() * 1000.0) as u64;
    let formats = || row.cells.iter().map(|c| c.format);
    formats().filter(|f| named(*f)).min_by_key(|f| rank(*f)).or_else(|| formats().min_by_key(|f| nearest(*f)))
}

/// How good a plan is, in words.
pub fn gap_in_words(gap: Option<f64>, searched: bool) -> String {
    match gap {
        None if searched => "solved, then searched on by measured KL".to_owned(),
        None => "as it is, not solved for".to_owned(),
        Some(gap) if gap <= 0.0 => "proven optimal".to_owned(),
        Some(gap) if gap < 0.0001 => "within 0.01 % of the optimum".to_owned(),
        Some(gap) => format!("within {:.2} % of the optimum", gap * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use halftone_core::sensitivity::Cell;
    use halftone_core::source::Role;

    fn row(formats: &[&str]) -> Row {
        let cells = formats
            .iter()
            .map(|name| {
                let format: Format = name.parse().expect("a format");
                Cell::new(format.into(), format.into(), format.tensor_bytes(256, 256), 0.1)
            })
            .collect();
        Row { tensor: "t".into(), role: Role::Up, block: Some(0), fused: None, shape: vec![256, 256], source_bytes: 262_144, cells }
    }

    #[test]
    fn bits_keys_choose_the_k_block_of_that_width_and_else_the_nearest_size() {
        let row = row(&["Q4_0", "Q4_K", "Q5_0", "Q6_K", "Q8_0"]);
        let chosen = |bits| format_for_bits(&row, bits).expect("a candidate").to_string();
        assert_eq!(chosen(4), "Q4_K", "K before plain");
        assert_eq!(chosen(5), "Q5_0", "the only one of five bits");
        assert_eq!(chosen(8), "Q8_0", "eight");
        assert_eq!(chosen(7), "Q6_K", "6.56 bits is nearer to 7 than 8.5");
        assert_eq!(chosen(1), "Q4_0", "the smallest there is");
    }
}
