//! The knapsack: groups, choices, what is fixed. Built from a table, a target's rules and the user's pins.
//!
//! **What adds up.** The cost of an allocation is the sum of the tensors' metrics, unweighted. For the relative errors (weight, imatrix,
//! activation) that is a modelling choice: every linear rewrites its part of the residual stream, so each adds its own share of noise
//! whatever its size, and small tensors (keys, values) deserve more bits than large ones. `PredictedKl` is additive by its definition
//! and carries the tensors' own importance.

use super::profile::{Family, Profile};
use super::{Limits, Rules};
use crate::codec::Format;
use crate::error::{Error, Result};
use crate::export::gguf::padded;
use crate::residual::{Candidate, Residual};
use crate::sensitivity::{Cell, Metric, Row, Table};
use indexmap::IndexMap;

/// One way to store a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The format of all its tensors (the candidate, before the fallback for short rows).
    pub format: Format,
    /// What is kept of their rounding errors.
    pub residual: Option<Residual>,
    /// Bytes of all its tensors in the file, each padded to the file's alignment.
    pub bytes: u64,
    /// Sum of the metric over its tensors.
    pub cost: f64,
}

impl Choice {
    /// Format and residual.
    pub fn candidate(&self) -> Candidate {
        Candidate { format: self.format, residual: self.residual }
    }
}

/// Tensors that get one format together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Canonical tensor names.
    pub tensors: Vec<String>,
    /// At least one; by rising bytes. A group that is held has exactly one.
    pub choices: Vec<Choice>,
    /// Weights of all its tensors.
    pub weights: u64,
    /// What leaves the solver no choice.
    pub held: Option<Held>,
    /// Limits that took candidates away.
    pub limits: Limits,
}

impl Group {
    /// A group without choices yet.
    pub fn new(tensors: Vec<String>, weights: u64) -> Self {
        Self { tensors, choices: Vec::new(), weights, held: None, limits: Limits::default() }
    }

    /// Whether it stays as it is in the source, and so has no format in a recipe.
    pub fn stays(&self) -> bool {
        matches!(self.held, Some(Held::Excluded | Held::Runtime))
    }
}

/// Why a group has one choice only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Decided by the user.
    Pinned,
    /// Left as it is by the user.
    Excluded,
    /// Left as it is because files of the runtime keep it so.
    Runtime,
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
    /// Builds the problem. A pin that was never measured is priced from its neighbours ([`price`]); a cell without the metric is priced by
    /// its weight error, scaled by the mean ratio of the two in the rest of the table.
    ///
    /// # Errors
    /// `Infeasible` for rules that leave a tensor no candidate, with the nearest that there is.
    pub fn new(table: &Table, metric: Metric, rules: &Rules) -> Result<Self> {
        let profile = rules.target.profile();
        let smallest_bytes = || table.fixed_bytes + table.rows.iter().filter_map(|r| r.cells.iter().map(|c| padded(c.bytes)).min()).sum::<u64>();
        let infeasible = |(budget, why): (String, String)| Error::Infeasible { budget, why, smallest_bytes: smallest_bytes() };
        let family = profile
            .family(&table.rows)
            .map_err(|why| infeasible((format!("the rules of {}", profile.label), format!("{why}; measure such candidates with --formats"))))?;
        let costs = Costs::new(table, metric);
        let mut ties: IndexMap<String, Vec<&Row>> = IndexMap::new();
        for row in &table.rows {
            ties.entry(profile.tie(row)).or_default().push(row);
        }
        let builder = Builder { costs, rules, family, label: profile.label };
        Ok(Self {
            groups: ties.into_values().map(|rows| builder.group(&rows).map_err(infeasible)).collect::<Result<_>>()?,
            fixed_bytes: table.fixed_bytes,
            weights: table.rows.iter().map(weights_of).sum(),
        })
    }

    /// Bytes of the file with these picks.
    pub fn file_bytes(&self, picks: &[usize]) -> u64 {
        self.fixed_bytes + self.picked(picks).map(|c| c.bytes).sum::<u64>()
    }

    /// Σ cost of these picks, in the order of the groups.
    pub fn cost(&self, picks: &[usize]) -> f64 {
        self.picked(picks).map(|c| c.cost).sum()
    }

    /// The smallest file that can be made.
    pub fn smallest_bytes(&self) -> u64 {
        self.fixed_bytes + self.groups.iter().filter_map(|g| g.choices.iter().map(|c| c.bytes).min()).sum::<u64>()
    }

    fn picked(&self, picks: &[usize]) -> impl Iterator<Item = &Choice> {
        self.groups.iter().zip(picks).map(|(g, &p)| &g.choices[p])
    }
}

/// Reads costs from cells, whether or not the metric was measured in each.
struct Costs {
    metric: Metric,
    /// Mean of metric / weight error, for cells that lack the metric.
    ratio: f64,
}

impl Costs {
    fn new(table: &Table, metric: Metric) -> Self {
        let (mut measured, mut weight) = (0.0, 0.0);
        for cell in table.rows.iter().flat_map(|r| &r.cells) {
            if let Some(value) = cell.metric(metric) {
                measured += value;
                weight += cell.weight_error;
            }
        }
        Self { metric, ratio: if weight > 0.0 { measured / weight } else { 1.0 } }
    }

    fn of(&self, cell: &Cell) -> f64 {
        cell.metric(self.metric).unwrap_or(cell.weight_error * self.ratio)
    }
}

/// What groups are built with.
struct Builder<'a> {
    costs: Costs,
    rules: &'a Rules,
    family: &'static Family,
    /// The runtime's name.
    label: &'static str,
}

impl Builder<'_> {
    /// A tie group; an error is what cannot be, and why.
    fn group(&self, rows: &[&Row]) -> std::result::Result<Group, (String, String)> {
        let mut group = Group::new(rows.iter().map(|r| r.tensor.clone()).collect(), rows.iter().map(|r| weights_of(r)).sum());
        let excluded = rows.iter().any(|r| self.rules.excluded.contains(&r.tensor));
        if excluded || rows.iter().any(|r| !Profile::quantizes(self.family, r)) {
            group.held = Some(if excluded { Held::Excluded } else { Held::Runtime });
            let bytes = rows.iter().map(|r| padded(r.source_bytes)).sum();
            group.choices = vec![Choice { format: Format::F16, residual: None, bytes, cost: 0.0 }];
            return Ok(group);
        }
        let pinned = |r: &Row| Some(Candidate { format: *self.rules.pins.get(&r.tensor)?, residual: self.rules.residuals.get(&r.tensor).copied() });
        let pins = rows.iter().filter_map(|r| Some((pinned(r)?, r)));
        let pin = pins.max_by(|a, b| bits(a.1, a.0).total_cmp(&bits(b.1, b.0))).map(|(candidate, _)| candidate);
        let candidates: Vec<Candidate> = match (pin, rows[0].cells.is_empty()) {
            (Some(pin), _) => vec![pin],
            (None, true) => vec![Format::F16.into()],
            (None, false) => rows[0].cells.iter().map(Cell::candidate).collect(),
        };
        let loads = |candidate: Candidate| rows.iter().all(|r| self.family.allows(stored(r, candidate)));
        if let Some(pin) = pin {
            if !loads(pin) {
                let why = format!("it is pinned at {pin}, and {} reads {}", self.label, self.family.formats);
                return Err((format!("{} under the rules of {}", rows[0].tensor, self.label), why));
            }
            group.held = Some(Held::Pinned);
        } else {
            group.limits = rows.iter().filter_map(|r| self.rules.limits.get(&r.tensor).copied()).fold(Limits::default(), Limits::and);
        }
        let mut choices: Vec<(Candidate, Choice)> = Vec::with_capacity(candidates.len());
        for candidate in candidates.into_iter().filter(|c| loads(*c)) {
            // Candidates that end up stored alike are one choice.
            let as_stored = stored(rows[0], candidate);
            if choices.iter().any(|(other, _)| *other == as_stored) {
                continue;
            }
            let prices = rows.iter().map(|row| price(row, candidate, &self.costs));
            let (bytes, cost) = prices.fold((0, 0.0), |(bytes, cost), (b, c)| (bytes + b, cost + c));
            choices.push((as_stored, Choice { format: candidate.format, residual: candidate.residual, bytes, cost }));
        }
        let within = |candidate: Candidate| rows.iter().all(|r| group.limits.allow(bits(r, candidate)));
        group.choices = choices.iter().map(|(_, choice)| *choice).filter(|c| within(c.candidate())).collect();
        group.choices.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.cost.total_cmp(&b.cost)));
        if group.choices.is_empty() {
            return Err(nothing_within(rows[0], &group, &choices, self.label));
        }
        Ok(group)
    }
}

/// The error for a group whose limits leave no candidate.
fn nothing_within(row: &Row, group: &Group, choices: &[(Candidate, Choice)], label: &str) -> (String, String) {
    let limits = group.limits;
    let away = |bits: f64| limits.min.map_or(0.0, |min| (min - bits).max(0.0)) + limits.max.map_or(0.0, |max| (bits - max).max(0.0));
    let nearest = choices.iter().map(|(stored, _)| *stored).min_by(|a, b| away(bits(row, *a)).total_cmp(&away(bits(row, *b))));
    let why = match nearest {
        Some(nearest) => format!("of its candidates {nearest} is nearest, with {} bits", bits(row, nearest)),
        None => format!("none of its candidates is one that {label} reads together with those it is tied to"),
    };
    (format!("{} at {limits}", row.tensor), why)
}

/// What a candidate becomes in the rows of a tensor.
fn stored(row: &Row, candidate: Candidate) -> Candidate {
    candidate.for_columns(row.shape.last().copied().unwrap_or(1))
}

/// Rows and columns of all matrices of a tensor.
fn size(row: &Row) -> (usize, usize) {
    (row.shape.iter().rev().skip(1).product(), row.shape.last().copied().unwrap_or(1))
}

/// Stored bits a weight of a tensor as a candidate.
fn bits(row: &Row, candidate: Candidate) -> f64 {
    let (rows, columns) = size(row);
    stored(row, candidate).bits(rows, columns)
}

fn weights_of(row: &Row) -> u64 {
    row.shape.iter().product::<usize>() as u64
}

/// Padded bytes and cost of a tensor as a candidate. When no cell holds it, the bytes follow from the shape and the cost from the cell
/// nearest in bits, 6.02 dB (a factor of 4 in power) for each bit of difference: the law of a uniform quantizer. Formats are priced from formats and
/// residuals from residuals, as far as any were measured, because the bits of one buy another error than those of the other.
fn price(row: &Row, candidate: Candidate, costs: &Costs) -> (u64, f64) {
    let stored = stored(row, candidate);
    if let Some(cell) = row.cells.iter().find(|c| c.stored() == stored) {
        return (padded(cell.bytes), costs.of(cell));
    }
    let (rows, columns) = size(row);
    let above = |cell: &Cell| cell.stored().bits(rows, columns) - stored.bits(rows, columns);
    let nearest_of = |kind: Option<bool>| {
        let cells = row.cells.iter().filter(|c| kind.is_none_or(|kind| c.stored().needs_operator() == kind));
        cells.min_by(|a, b| above(a).abs().total_cmp(&above(b).abs()))
    };
    let nearest = nearest_of(Some(stored.needs_operator())).or_else(|| nearest_of(None));
    let cost = nearest.map_or(0.0, |cell| costs.of(cell) * 4f64.powf(above(cell)));
    (padded(stored.bytes(rows, columns)), cost)
}

#[cfg(test)]
mod tests {
    use super::super::Target;
    use super::super::testing::{cell, pinned, row, table};
    use super::*;
    use crate::codec::GgmlType as T;

    #[test]
    fn candidates_stored_alike_are_one_choice() {
        let mut short = row("blk.0.attn_q.weight", &[8, 64], &[(T::Q4_0, 0.1), (T::Q5_0, 0.02)]);
        short.cells.insert(1, Cell { format: Format::Ggml(T::Q4_K), stored_as: Format::Ggml(T::Q5_0), ..cell(T::Q5_0, 8, 64, 0.02) });
        let problem = Problem::new(&table(vec![short]), Metric::Weight, &Rules::default()).unwrap();
        let bytes: Vec<u64> = problem.groups[0].choices.iter().map(|c| c.bytes).collect();
        assert_eq!(bytes, [8 * 2 * 18, 8 * 2 * 22]);
    }

    #[test]
    fn bytes_are_padded_and_fixed_bytes_added() {
        let problem = Problem::new(&table(vec![row("x", &[3, 32], &[(T::Q4_0, 0.1)])]), Metric::Weight, &Rules::default()).unwrap();
        assert_eq!(problem.groups[0].choices[0].bytes, 64, "54 bytes take 64");
        assert_eq!(problem.file_bytes(&[0]), problem.fixed_bytes + 64);
        assert_eq!(problem.weights, 96);
    }

    #[test]
    fn fused_tensors_share_a_format_under_vllm_only() {
        let rows: Vec<Row> = ["q", "k", "v"]
            .into_iter()
            .map(|n| Row { fused: Some("blk.0.qkv".into()), ..row(n, &[4, 32], &[(T::Q4_0, 0.1), (T::Q8_0, 0.001)]) })
            .chain([row("o", &[4, 32], &[(T::Q4_0, 0.1)])])
            .collect();
        let table = table(rows);
        assert_eq!(Problem::new(&table, Metric::Weight, &Rules::default()).unwrap().groups.len(), 4);
        let fused = Problem::new(&table, Metric::Weight, &pinned(Target::Vllm, &[("k", T::Q4_0), ("v", T::Q8_0)])).unwrap();
        assert_eq!(fused.groups.len(), 2);
        assert_eq!(fused.groups[0].tensors, ["q", "k", "v"]);
        assert_eq!(fused.groups[0].choices.len(), 1, "a pinned group has one choice");
        assert_eq!(fused.groups[0].choices[0].format, Format::Ggml(T::Q8_0), "the larger of two pins wins");
        assert!((fused.groups[0].choices[0].cost - 0.003).abs() < 1e-12, "costs of the three add up");
    }

    #[test]
    fn a_pin_that_was_not_measured_is_priced_from_its_neighbour() {
        let problem =
            Problem::new(&table(vec![row("x", &[4, 32], &[(T::Q4_0, 0.1), (T::Q8_0, 0.0004)])]), Metric::Weight, &pinned(Target::LlamaCpp, &[("x", T::Q5_0)]))
                .unwrap();
        let choice = problem.groups[0].choices[0];
        assert_eq!(choice.bytes, 96, "4 × 22 bytes, padded");
        assert!((choice.cost - 0.025).abs() < 1e-9, "one bit above Q4_0 is a quarter of its error: {}", choice.cost);
    }

    #[test]
    fn a_missing_metric_is_scaled_from_the_weight_error() {
        let mut measured = row("x", &[4, 32], &[(T::Q4_0, 0.1)]);
        measured.cells[0].activation_error = Some(0.3);
        let problem = Problem::new(&table(vec![measured, row("y", &[4, 32], &[(T::Q4_0, 0.2)])]), Metric::Activation, &Rules::default()).unwrap();
        assert!((problem.groups[1].choices[0].cost - 0.6).abs() < 1e-12, "{}", problem.groups[1].choices[0].cost);
    }

    /// A table of an embedding and one linear with integer and ggml candidates.
    fn mixed() -> Table {
        let with_ints = |mut row: Row| {
            for name in ["INT4-g32", "INT8-g32", "INT3-g32-asym"] {
                let format: Format = name.parse().unwrap();
                row.cells.push(Cell { format, stored_as: format, bytes: format.tensor_bytes(row.shape[0], row.shape[1]), ..cell(T::Q4_0, 1, 32, 0.01) });
            }
            row.source_bytes = (row.shape[0] * row.shape[1] * 2) as u64;
            row
        };
        let embedding = Row { role: crate::source::Role::Embedding, ..row("token_embd.weight", &[16, 64], &[(T::Q4_0, 0.1), (T::Q8_0, 0.001)]) };
        table(vec![with_ints(embedding), with_ints(row("blk.0.ffn_down.weight", &[8, 64], &[(T::Q4_0, 0.1), (T::Q8_0, 0.001)]))])
    }

    fn formats(group: &Group) -> Vec<String> {
        group.choices.iter().map(|c| c.candidate().to_string()).collect()
    }

    /// A linear in Q4_0, Q5_0 and Q8_0, and in Q4_0 with a low rank of this error.
    fn with_residual(error: f64) -> Table {
        let mut linear = row("blk.0.ffn_down.weight", &[256, 256], &[(T::Q4_0, 0.1), (T::Q5_0, 0.03), (T::Q8_0, 0.001)]);
        let kept: Candidate = "Q4_0+r4".parse().unwrap();
        linear.cells.insert(1, Cell { residual: kept.residual, bytes: kept.bytes(256, 256), ..cell(T::Q4_0, 256, 256, error) });
        table(vec![linear])
    }

    #[test]
    fn a_residual_is_chosen_exactly_where_it_wins_and_only_where_it_can_be_used() {
        let between = "Q4_0+r4".parse::<Candidate>().unwrap().bytes(256, 256);
        let q5 = "Q5_0".parse::<Candidate>().unwrap().bytes(256, 256);
        assert!(between < q5, "{between} and {q5}");
        let chosen = |table: &Table, target: Target, bytes: u64| {
            let problem = Problem::new(table, Metric::Weight, &pinned(target, &[])).unwrap();
            let plan = crate::allocate::allocate(&problem, crate::allocate::Budget::FileBytes(problem.fixed_bytes + bytes)).unwrap();
            assert_eq!(plan.residuals.is_empty(), plan.candidate("blk.0.ffn_down.weight").unwrap().residual.is_none());
            plan.candidate("blk.0.ffn_down.weight").unwrap().to_string()
        };
        for (error, at_q5) in [(0.02, "Q4_0+r4"), (0.05, "Q5_0")] {
            let table = with_residual(error);
            assert_eq!(chosen(&table, Target::Halftone, between), "Q4_0+r4", "better than Q4_0, and Q5_0 does not fit");
            assert_eq!(chosen(&table, Target::Halftone, between - 1), "Q4_0", "not a byte too many");
            assert_eq!(chosen(&table, Target::Halftone, q5), at_q5, "by its error");
            assert_eq!(chosen(&table, Target::LlamaCpp, q5), "Q5_0", "no operator");
        }
        assert_eq!(chosen(&with_residual(0.2), Target::Halftone, between), "Q4_0", "one that makes it worse is not chosen");
    }

    #[test]
    fn a_pinned_residual_is_priced_and_refused_where_it_cannot_be_used() {
        let table = with_residual(0.02);
        let mut rules = pinned(Target::Halftone, &[("blk.0.ffn_down.weight", T::Q4_0)]);
        rules.residuals = [("blk.0.ffn_down.weight".to_owned(), "r4".parse().unwrap())].into();
        let problem = Problem::new(&table, Metric::Weight, &rules).unwrap();
        assert_eq!(formats(&problem.groups[0]), ["Q4_0+r4"]);
        assert!((problem.groups[0].choices[0].cost - 0.02).abs() < 1e-12);
        rules.residuals = [("blk.0.ffn_down.weight".to_owned(), "r8".parse().unwrap())].into();
        let choice = Problem::new(&table, Metric::Weight, &rules).unwrap().groups[0].choices[0];
        assert_eq!(choice.bytes, "Q4_0+r8".parse::<Candidate>().unwrap().bytes(256, 256), "its own bytes, measured or not");
        // Q5_0 is nearer to these bits.
        let pinned_price = |candidate: &str| {
            let candidate: Candidate = candidate.parse().unwrap();
            let mut rules = rules.clone();
            rules.pins.insert("blk.0.ffn_down.weight".to_owned(), candidate.format);
            rules.residuals = candidate.residual.map(|kept| ("blk.0.ffn_down.weight".to_owned(), kept)).into_iter().collect();
            (Problem::new(&table, Metric::Weight, &rules).unwrap().groups[0].choices[0].cost, candidate.bits(256, 256))
        };
        let by_law = |(cost, bits): (f64, f64), from: &str, measured: f64| {
            let from = from.parse::<Candidate>().unwrap().bits(256, 256);
            assert!((cost / (measured * 4f64.powf(from - bits)) - 1.0).abs() < 1e-9, "{cost} at {bits} bits");
        };
        by_law(pinned_price("Q4_0+r8"), "Q4_0+r4", 0.02);
        by_law(pinned_price("Q4_1"), "Q4_0", 0.1);
        by_law(pinned_price("Q4_0+shift"), "Q4_0", 0.1);
        rules.target = Target::LlamaCpp;
        rules.residuals = [("blk.0.ffn_down.weight".to_owned(), "shift".parse().unwrap())].into();
        assert!(Problem::new(&table, Metric::Weight, &rules).is_ok(), "a GGUF holds a shift where the model has the bias");
        rules.residuals = [("blk.0.ffn_down.weight".to_owned(), "r8".parse().unwrap())].into();
        let why = Problem::new(&table, Metric::Weight, &rules).unwrap_err().to_string();
        assert!(why.contains("pinned at Q4_0+r8") && why.contains("llama.cpp"), "{why}");
    }

    #[test]
    fn a_runtime_gets_only_what_it_loads_and_keeps_what_its_files_keep() {
        let table = mixed();
        let problem = |target| Problem::new(&table, Metric::Weight, &pinned(target, &[])).unwrap();
        assert_eq!(formats(&problem(Target::LlamaCpp).groups[1]), ["Q4_0", "Q8_0"], "no integers in GGUF");
        let vllm = problem(Target::Vllm);
        assert_eq!(formats(&vllm.groups[1]), ["INT4-g32", "INT8-g32"], "no ggml types beside integers, and none of three bits");
        assert_eq!((vllm.groups[0].held, vllm.groups[0].choices[0].bytes), (Some(Held::Runtime), 16 * 64 * 2), "the embedding stays");
        assert_eq!(formats(&problem(Target::Mlx).groups[0]), ["INT3-g32-asym", "INT4-g32", "INT8-g32"], "embeddings too");
        let only_ggml = super::super::testing::table(vec![row("blk.0.ffn_down.weight", &[8, 64], &[(T::Q4_0, 0.1)])]);
        assert!(Problem::new(&only_ggml, Metric::Weight, &pinned(Target::Sglang, &[])).is_ok(), "as a GGUF");
        let refused = Problem::new(&only_ggml, Metric::Weight, &pinned(Target::Transformers, &[])).unwrap_err().to_string();
        assert!(refused.contains("blk.0.ffn_down.weight") && refused.contains("4 or 8 bits"), "{refused}");
        let pinned_wrong = Problem::new(&table, Metric::Weight, &pinned(Target::Vllm, &[("blk.0.ffn_down.weight", T::Q4_0)])).unwrap_err().to_string();
        assert!(pinned_wrong.contains("pinned at Q4_0"), "{pinned_wrong}");
    }

    #[test]
    fn an_excluded_tensor_stays_with_its_bytes_and_costs_nothing() {
        let table = mixed();
        let name = "blk.0.ffn_down.weight";
        let mut rules = pinned(Target::LlamaCpp, &[(name, T::Q4_0)]);
        rules.excluded.insert(name.to_owned());
        let problem = Problem::new(&table, Metric::Weight, &rules).unwrap();
        assert!(problem.groups[1].stays(), "stronger than a pin");
        assert_eq!((problem.groups[1].choices.len(), problem.groups[1].choices[0].bytes, problem.groups[1].choices[0].cost), (1, 8 * 64 * 2, 0.0));
        let plan = super::super::Plan::new("p", &problem, &[0, 0], None);
        assert!(plan.formats.get(name).is_none() && plan.formats.len() == 1, "a recipe does not name it");
    }

    #[test]
    fn limits_take_candidates_away_and_name_the_nearest_when_none_is_left() {
        let table = mixed();
        let rules = |min, max| Rules { limits: [("blk.0.ffn_down.weight".to_owned(), Limits { min, max })].into(), ..Rules::default() };
        let problem = |min, max| Problem::new(&table, Metric::Weight, &rules(min, max));
        assert_eq!(formats(&problem(Some(5.0), None).unwrap().groups[1]), ["Q8_0"]);
        assert_eq!(formats(&problem(None, Some(4.5)).unwrap().groups[1]), ["Q4_0"], "its own bits are within");
        let why = problem(Some(5.0), Some(7.0)).unwrap_err().to_string();
        assert!(why.contains("5 to 7 bits") && why.contains("Q4_0 is nearest, with 4.5 bits"), "{why}");
        let both = Rules { pins: pinned(Target::LlamaCpp, &[("blk.0.ffn_down.weight", T::Q4_0)]).pins, ..rules(Some(8.0), None) };
        assert_eq!(formats(&Problem::new(&table, Metric::Weight, &both).unwrap().groups[1]), ["Q4_0"], "a pin is not bound by limits");
    }
}
