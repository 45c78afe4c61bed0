//! `allocate`.

use super::args::{AllocateArgs, BudgetArgs};
use super::choice_args::RuleArgs;
use super::measure::{load_calibration, metric_by_name};
use super::rules::rules;
use super::session::Session;
use super::{print, refine};
use anyhow::Context as _;
use halftone_core::Error;
use halftone_core::allocate::{Budget, Overhead, Plan, Problem, RandomControl, Rules, Target, allocate, allocate_with, baselines, random_control};
use halftone_core::calibrate::{self, Calibration, SearchText};
use halftone_core::codec::Format;
use halftone_core::recipe::Recipe;
use halftone_core::residual::{Candidate, Residual};
use halftone_core::sensitivity::{Metric, Table};
use halftone_core::source::{ModelConfig, Source};
use indexmap::IndexMap;
use std::path::Path;

/// Random allocations that stand beside a plan.
const DRAWS: usize = 16;

/// Solves, searches where that was asked for, and saves the recipe.
pub fn run(session: &Session, args: &AllocateArgs) -> anyhow::Result<()> {
    let table = Table::load(&args.table)?;
    let metric = args.metric.as_deref().map_or_else(|| Ok(table.best_metric()), metric_by_name)?;
    let wants_model = args.budget.vram.is_some() || args.refine.wanted();
    let source = wants_model.then(|| model_of(session, &table)).transpose()?;
    let overhead = overhead(&args.budget, &args.rules, source.as_ref().map(|s| &s.config))?;
    let request = Request::new(&table, metric, &args.rules, session.global.seed, overhead)?;
    let (mut plan, mut recipe) = request.decide(&args.budget).map_err(|error| longest(error, &args.budget, overhead, &request, source.as_ref()))?;
    let mut refined = None;
    if let (Some(source), true) = (&source, args.refine.wanted()) {
        anyhow::ensure!(!args.search_text.is_empty(), "--refine needs --search-text, which must not be the hold-out");
        let calibration = args.calibration.as_deref().map(|path| load_calibration(path, source)).transpose()?;
        let hash = calibration.as_ref().map(Calibration::hash);
        anyhow::ensure!(hash == table.calibration, "the table was measured with another calibration; give that one with --calibration");
        let text = SearchText::new(calibrate::read_texts(&args.search_text)?);
        let mut folder = args.output.clone().into_os_string();
        folder.push(".search");
        let found = refine::run(session, source, calibration.as_ref(), &request.problem()?, &mut recipe, &text, &args.refine, Path::new(&folder))?;
        plan = request.refined(&recipe)?;
        refined = Some(found);
    }
    recipe.save(&args.output)?;
    session.pause_progress();
    let problem = request.problem()?;
    let (beside, random) = (baselines(&table, &problem), random_control(&problem, plan.file_bytes, DRAWS, session.global.seed)?);
    let result = serde_json::json!({
        "plan": plan, "metric": metric, "recipe": args.output, "memory": overhead, "baselines": beside, "random": random, "refined": refined,
    });
    print::result(session.global.json, &result, || {
        let memory = overhead.map_or_else(String::new, |o| format!("\n{}", describe_memory(&plan, &o)));
        let searched = refined.as_ref().map_or_else(String::new, |found| format!("\n{}", refine::describe(found)));
        format!("{}{searched}{memory}\n\n{}", describe(&plan, metric), side_by_side(beside.clone(), &plan, &random))
    })?;
    // What was found is saved; the exit code says that there was more to do.
    if refined.is_some_and(|found| found.cancelled) { Err(Error::Cancelled.into()) } else { Ok(()) }
}

/// The model that a table was measured on, for what the table does not say of it.
fn model_of(session: &Session, table: &Table) -> anyhow::Result<Source> {
    let source = session.open_path(&table.model_path).context("the context's memory follows from the model that the table names")?;
    anyhow::ensure!(source.fingerprint == table.model, "{} is not the model that the table was measured on", table.model_path.display());
    Ok(source)
}

/// What a memory budget holds beside the weights.
pub fn overhead(budget: &BudgetArgs, rules: &RuleArgs, config: Option<&ModelConfig>) -> anyhow::Result<Option<Overhead>> {
    Ok(match (budget.vram, config, rules.context) {
        (Some(_), Some(config), Some(context)) => Some(Overhead::new(config, rules.target, context, rules.cache())?),
        _ => None,
    })
}

/// To a memory budget that nothing fits: the longest context that does.
fn longest(error: anyhow::Error, budget: &BudgetArgs, overhead: Option<Overhead>, request: &Request<'_>, source: Option<&Source>) -> anyhow::Error {
    let (Some(memory), Some(overhead), Some(source), Some(Error::Infeasible { smallest_bytes, .. })) =
        (budget.vram, overhead, source, error.downcast_ref::<Error>())
    else {
        return error;
    };
    let longest = Overhead::longest_context(&source.config, request.rules.target, overhead.cache, memory, *smallest_bytes);
    let smallest_bytes = *smallest_bytes;
    let Ok(Error::Infeasible { budget, why, .. }) = error.downcast::<Error>() else { return anyhow::anyhow!("no allocation fits") };
    let nearest = if longest > 0 { format!("a context of {longest} tokens fits with the smallest weights") } else { "no context fits".to_owned() };
    Error::Infeasible { budget, why: format!("{why}; {nearest}"), smallest_bytes }.into()
}

/// What an allocation is asked for.
pub struct Request<'a> {
    /// The evidence.
    pub table: &'a Table,
    /// The error to minimise.
    pub metric: Metric,
    /// What is decided already.
    pub rules: Rules,
    solver: (String, u64),
    /// Seed that goes into the recipe.
    seed: u64,
    /// What a memory budget holds beside the weights.
    overhead: Option<Overhead>,
}

impl<'a> Request<'a> {
    /// A request by the arguments.
    pub fn new(table: &'a Table, metric: Metric, args: &RuleArgs, seed: u64, overhead: Option<Overhead>) -> anyhow::Result<Self> {
        let (solver, solver_seed) = args.chooser(seed);
        Ok(Self { table, metric, rules: rules(table, args)?, solver: (solver.to_owned(), solver_seed), seed, overhead })
    }

    /// The knapsack.
    pub fn problem(&self) -> anyhow::Result<Problem> {
        Ok(Problem::new(self.table, self.metric, &self.rules)?)
    }

    /// The plan for a budget and the recipe that says it.
    pub fn decide(&self, args: &BudgetArgs) -> anyhow::Result<(Plan, Recipe)> {
        let (solver, seed) = (self.solver.0.as_str(), self.solver.1);
        let plan = match (args.budget(self.overhead), args.uniform, &args.recipe) {
            (Some(budget), ..) => allocate_with(&self.problem()?, budget, solver, seed)?,
            (None, Some(format), _) => {
                let free = || self.table.rows.iter().map(|r| r.tensor.clone()).filter(|name| !self.rules.excluded.contains(name));
                let formats = free().map(|name| (name.clone(), self.rules.pins.get(&name).copied().unwrap_or(format))).collect();
                let residuals = free().filter_map(|name| Some((name.clone(), *self.rules.residuals.get(&name)?))).collect();
                self.fixed(&format!("uniform {format}"), formats, residuals)?
            }
            (None, None, Some(path)) => {
                let recipe = Recipe::load(path)?;
                self.fixed("recipe", recipe.tensors, recipe.residuals)?
            }
            (None, None, None) => anyhow::bail!("give a budget: --size, --bpw, --max-kl, --vram, --uniform or --recipe"),
        };
        let recipe = self.recipe(&plan, args);
        Ok((plan, recipe))
    }

    /// A plan with nothing left to solve: every tensor pinned, or left as it is.
    fn fixed(&self, name: &str, formats: IndexMap<String, Format>, residuals: IndexMap<String, Residual>) -> anyhow::Result<Plan> {
        let excluded = self.table.rows.iter().map(|r| r.tensor.clone()).filter(|name| !formats.contains_key(name)).collect();
        // What is decided is priced as it is, whoever reads it: jobs hold everything, and the writer refuses what its files cannot.
        let rules = Rules { target: Target::Halftone, pins: formats.clone(), residuals: residuals.clone(), excluded, ..Rules::default() };
        let problem = Problem::new(self.table, self.metric, &rules)?;
        let mut plan = allocate(&problem, Budget::FileBytes(u64::MAX))?;
        plan.name = name.to_owned();
        (plan.formats, plan.residuals) = (formats, residuals);
        plan.gap = None;
        Ok(plan)
    }

    /// The plan of a recipe that a search found.
    pub fn refined(&self, recipe: &Recipe) -> anyhow::Result<Plan> {
        self.fixed("refined", recipe.tensors.clone(), recipe.residuals.clone())
    }

    /// The recipe of a plan.
    pub fn recipe(&self, plan: &Plan, args: &BudgetArgs) -> Recipe {
        let budget = args.budget(self.overhead);
        Recipe {
            target: self.rules.target,
            solver: budget.map_or_else(String::new, |_| self.solver.0.clone()),
            budget,
            excluded: self.rules.excluded.clone(),
            pins: self.rules.pins.clone(),
            limits: self.rules.limits.clone(),
            tensors: plan.formats.clone(),
            residuals: plan.residuals.clone(),
            ..Recipe::on(self.table, if self.solver.0 == "random" { self.solver.1 } else { self.seed })
        }
    }
}

/// A plan in a few lines.
pub fn describe(plan: &Plan, metric: Metric) -> String {
    let mut counts: IndexMap<Candidate, usize> = IndexMap::new();
    for candidate in plan.formats.keys().filter_map(|tensor| plan.candidate(tensor)) {
        *counts.entry(candidate).or_default() += 1;
    }
    counts.sort_keys();
    let mix: Vec<String> = counts.iter().map(|(f, n)| format!("{f} × {n}")).collect();
    let gap = match plan.gap {
        Some(0.0) => "; proven optimal".to_owned(),
        Some(gap) => format!("; at most {:.2} % above the optimum", gap * 100.0),
        None => String::new(),
    };
    format!(
        "{}: {} bytes, {:.3} bits a weight, {} {:.4e}{gap}\n{}",
        plan.name,
        print::grouped(plan.file_bytes),
        plan.bits_per_weight,
        metric.label().to_lowercase(),
        plan.cost,
        mix.join(", ")
    )
}

/// Where a memory budget goes.
pub fn describe_memory(plan: &Plan, overhead: &Overhead) -> String {
    let part = |bytes: u64, what: String| format!("{:>16}  {what}", print::grouped(bytes));
    [
        part(plan.file_bytes, "bytes of weights".to_owned()),
        part(overhead.cache_bytes, format!("keys and values of {} tokens in {}", overhead.context, overhead.cache)),
        part(overhead.compute_bytes, "activations (an estimate)".to_owned()),
        part(plan.file_bytes + overhead.bytes(), "in all".to_owned()),
    ]
    .join("\n")
}

/// What one would do without a solver, and chance, beside a plan.
fn side_by_side(mut plans: Vec<Plan>, plan: &Plan, random: &RandomControl) -> String {
    plans.push(plan.clone());
    plans.sort_by_key(|p| p.file_bytes);
    let row = |p: &Plan| vec![p.name.clone(), print::grouped(p.file_bytes), format!("{:.3}", p.bits_per_weight), format!("{:.4e}", p.cost)];
    let mut rows: Vec<Vec<String>> = plans.iter().map(row).collect();
    let at = plans.iter().position(|p| p.name == plan.name).map_or(rows.len(), |at| at + 1);
    rows.insert(at, random_row(random, plan.bits_per_weight));
    print::table(&["plan", "bytes", "bits a weight", "cost"], &rows)
}

/// The line of the random allocations in the same bytes.
fn random_row(random: &RandomControl, bits_per_weight: f64) -> Vec<String> {
    let cost = format!("{:.4e} ± {:.1e}", random.cost_mean, random.cost_deviation);
    vec![format!("random, mean of {}", random.draws), print::grouped(random.file_bytes), format!("{bits_per_weight:.3}"), cost]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;
    use halftone_core::sensitivity::{Cell, Evidence, Row};
    use halftone_core::source::Role;

    /// Two linears of 256 × 256, measured as these.
    fn table(candidates: &[&str]) -> Table {
        let cell = |text: &&str| {
            let candidate: Candidate = text.parse().expect("a candidate");
            Cell::new(candidate, candidate, candidate.bytes(256, 256), 0.01)
        };
        let row = |name: &str| Row {
            tensor: name.to_owned(),
            role: Role::Down,
            block: Some(0),
            fused: None,
            shape: vec![256, 256],
            source_bytes: 131_072,
            cells: candidates.iter().map(cell).collect(),
        };
        Table {
            model: String::new(),
            model_path: "model".into(),
            calibration: None,
            tool: String::new(),
            rounding: "nearest".into(),
            fixed_bytes: 1024,
            rows: vec![row("blk.0.ffn_up.weight"), row("blk.0.ffn_down.weight")],
            evidence: Evidence::default(),
        }
    }

    fn decided(table: &Table, line: &[&str]) -> anyhow::Result<(Plan, Recipe)> {
        let cli = Cli::try_parse_from(["halftone", "allocate", "t.json", "-o", "r.toml"].iter().chain(line)).expect("a line of allocate");
        let Some(Command::Allocate(args)) = cli.command else { panic!("allocate was parsed as something else") };
        let request = Request::new(table, Metric::Weight, &args.rules, 0, None)?;
        let (plan, recipe) = request.decide(&args.budget)?;
        assert_eq!(request.refined(&recipe)?.file_bytes, plan.file_bytes, "what a search gives back is priced as well");
        Ok((plan, recipe))
    }

    #[test]
    fn a_uniform_plan_keeps_pins_with_their_residuals_and_leaves_out_what_is_excluded() {
        let table = table(&["Q4_0", "Q8_0"]);
        let (plan, recipe) = decided(&table, &["--uniform", "Q4_0", "--pin", "ffn_down=Q8_0+r16"]).expect("a plan");
        let of = |text: &str| text.parse::<Candidate>().expect("a candidate").bytes(256, 256);
        assert_eq!((recipe.tensors.len(), recipe.residuals.len()), (2, 1), "one residual");
        assert_eq!(plan.candidate("blk.0.ffn_down.weight").map(|c| c.to_string()).as_deref(), Some("Q8_0+r16"), "as it was pinned");
        assert_eq!(plan.file_bytes, 1024 + of("Q4_0") + of("Q8_0+r16"), "and paid for");
        let (_, recipe) = decided(&table, &["--uniform", "Q4_0", "--pin", "ffn_down=Q8_0+r16", "--exclude", "ffn_down"]).expect("a plan");
        assert_eq!((recipe.tensors.len(), recipe.residuals.len()), (1, 0), "stronger than a pin");
    }

    #[test]
    fn integers_of_any_runtime_are_priced_as_they_are() {
        let table = table(&["INT4-g128", "INT8-g128"]);
        for target in ["vllm", "mlx", "transformers", "halftone"] {
            for budget in [["--uniform", "INT4-g128"], ["--bpw", "5"]] {
                decided(&table, &[["--target", target], budget].concat()).unwrap_or_else(|error| panic!("{target} {budget:?}: {error}"));
            }
        }
    }
}
