//! The knapsack: groups, choices, what is fixed. Built from a table, a target's rules and the user's pins.
//!
//! **What adds up.** The cost of an allocation is the sum of the tensors' metrics, unweighted. For the relative errors (weight, imatrix,
//! activation) that is a modelling choice: every linear rewrites its part of the residual stream, so each adds its own share of noise
//! whatever its size, and small tensors (keys, values) deserve more bits than large ones. `PredictedKl` is additive by its definition
//! and carries the tensors' own importance.

use crate::codec::Format;
use crate::export::gguf::padded;
use crate::sensitivity::{Cell, Metric, Row, Table};
use crate::source::expert_stack;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// The runtime the file is for; its rules are hard constraints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// llama.cpp: any tensor any ggml type.
    #[default]
    LlamaCpp,
    /// vLLM: q, k and v share a format; gate and up share a format.
    Vllm,
}

/// One way to store a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The format of all its tensors (the candidate, before the fallback for short rows).
    pub format: Format,
    /// Bytes of all its tensors in the file, each padded to the file's alignment.
    pub bytes: u64,
    /// Sum of the metric over its tensors.
    pub cost: f64,
}

/// Tensors that get one format together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Canonical tensor names.
    pub tensors: Vec<String>,
    /// At least one; by rising bytes. A pinned group has exactly one.
    pub choices: Vec<Choice>,
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
    /// Builds the problem. `pins` maps canonical tensor names to formats; a pin inside a tie group holds for the whole group, and where
    /// two of them disagree the larger format wins. A pin that was never measured is priced from its neighbours ([`price`]).
    ///
    /// A cell without the metric is priced by its weight error, scaled by the mean ratio of the two in the rest of the table.
    pub fn new(table: &Table, metric: Metric, target: Target, pins: &IndexMap<String, Format>) -> Self {
        let costs = Costs::new(table, metric);
        let mut ties: IndexMap<String, Vec<&Row>> = IndexMap::new();
        for row in &table.rows {
            let key = match (target, &row.fused) {
                (Target::Vllm, Some(fused)) => fused.clone(),
                // Experts that are kept apart become one tensor.
                _ => expert_stack(&row.tensor).map_or_else(|| row.tensor.clone(), |(stack, _)| stack),
            };
            ties.entry(key).or_default().push(row);
        }
        Self {
            groups: ties.into_values().map(|rows| group(&rows, &costs, pins)).collect(),
            fixed_bytes: table.fixed_bytes,
            weights: table.rows.iter().map(|r| r.shape.iter().product::<usize>() as u64).sum(),
        }
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

fn group(rows: &[&Row], costs: &Costs, pins: &IndexMap<String, Format>) -> Group {
    let columns = |row: &Row| row.shape.last().copied().unwrap_or(1);
    let stored = |row: &Row, format: Format| format.for_columns(columns(row));
    let pin = rows.iter().filter_map(|r| Some((pins.get(&r.tensor)?, r))).max_by(|a, b| stored(a.1, *a.0).bits().total_cmp(&stored(b.1, *b.0).bits()));
    let formats: Vec<Format> = match (pin, rows[0].cells.is_empty()) {
        (Some((&format, _)), _) => vec![format],
        (None, true) => vec![Format::F16],
        (None, false) => rows[0].cells.iter().map(|c| c.format).collect(),
    };
    let mut choices: Vec<(Format, Choice)> = Vec::with_capacity(formats.len());
    for format in formats {
        // Candidates that end up stored alike are one choice.
        let as_stored = stored(rows[0], format);
        if choices.iter().any(|(other, _)| *other == as_stored) {
            continue;
        }
        let prices = rows.iter().map(|row| price(row, format, costs));
        let (bytes, cost) = prices.fold((0, 0.0), |(bytes, cost), (b, c)| (bytes + b, cost + c));
        choices.push((as_stored, Choice { format, bytes, cost }));
    }
    let mut choices: Vec<Choice> = choices.into_iter().map(|(_, choice)| choice).collect();
    choices.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.cost.total_cmp(&b.cost)));
    Group { tensors: rows.iter().map(|r| r.tensor.clone()).collect(), choices }
}

/// Padded bytes and cost of a tensor as a format. When no cell holds it, the bytes follow from the shape and the cost from the cell
/// nearest in bits, 6.02 dB (a factor of 4 in power) for each bit of difference: the law of a uniform quantizer.
fn price(row: &Row, format: Format, costs: &Costs) -> (u64, f64) {
    let columns = row.shape.last().copied().unwrap_or(1);
    let stored = format.for_columns(columns);
    if let Some(cell) = row.cells.iter().find(|c| c.stored_as == stored) {
        return (padded(cell.bytes), costs.of(cell));
    }
    let rows: usize = row.shape.iter().rev().skip(1).product();
    let nearest = row.cells.iter().min_by(|a, b| (a.stored_as.bits() - stored.bits()).abs().total_cmp(&(b.stored_as.bits() - stored.bits()).abs()));
    let cost = nearest.map_or(0.0, |cell| costs.of(cell) * 4f64.powf(cell.stored_as.bits() - stored.bits()));
    (padded(stored.tensor_bytes(rows, columns)), cost)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{cell, pins, row, table};
    use super::*;
    use crate::codec::GgmlType as T;

    #[test]
    fn candidates_stored_alike_are_one_choice() {
        let mut short = row("blk.0.attn_q.weight", &[8, 64], &[(T::Q4_0, 0.1), (T::Q5_0, 0.02)]);
        short.cells.insert(1, Cell { format: Format::Ggml(T::Q4_K), stored_as: Format::Ggml(T::Q5_0), ..cell(T::Q5_0, 8, 64, 0.02) });
        let problem = Problem::new(&table(vec![short]), Metric::Weight, Target::LlamaCpp, &pins(&[]));
        let bytes: Vec<u64> = problem.groups[0].choices.iter().map(|c| c.bytes).collect();
        assert_eq!(bytes, [8 * 2 * 18, 8 * 2 * 22]);
    }

    #[test]
    fn bytes_are_padded_and_fixed_bytes_added() {
        let problem = Problem::new(&table(vec![row("x", &[3, 32], &[(T::Q4_0, 0.1)])]), Metric::Weight, Target::LlamaCpp, &pins(&[]));
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
        assert_eq!(Problem::new(&table, Metric::Weight, Target::LlamaCpp, &pins(&[])).groups.len(), 4);
        let fused = Problem::new(&table, Metric::Weight, Target::Vllm, &pins(&[("k", T::Q4_0), ("v", T::Q8_0)]));
        assert_eq!(fused.groups.len(), 2);
        assert_eq!(fused.groups[0].tensors, ["q", "k", "v"]);
        assert_eq!(fused.groups[0].choices.len(), 1, "a pinned group has one choice");
        assert_eq!(fused.groups[0].choices[0].format, Format::Ggml(T::Q8_0), "the larger of two pins wins");
        assert!((fused.groups[0].choices[0].cost - 0.003).abs() < 1e-12, "costs of the three add up");
    }

    #[test]
    fn a_pin_that_was_not_measured_is_priced_from_its_neighbour() {
        let problem =
            Problem::new(&table(vec![row("x", &[4, 32], &[(T::Q4_0, 0.1), (T::Q8_0, 0.0004)])]), Metric::Weight, Target::LlamaCpp, &pins(&[("x", T::Q5_0)]));
        let choice = problem.groups[0].choices[0];
        assert_eq!(choice.bytes, 96, "4 × 22 bytes, padded");
        assert!((choice.cost - 0.025).abs() < 1e-9, "one bit above Q4_0 is a quarter of its error: {}", choice.cost);
    }

    #[test]
    fn a_missing_metric_is_scaled_from_the_weight_error() {
        let mut measured = row("x", &[4, 32], &[(T::Q4_0, 0.1)]);
        measured.cells[0].activation_error = Some(0.3);
        let problem = Problem::new(&table(vec![measured, row("y", &[4, 32], &[(T::Q4_0, 0.2)])]), Metric::Activation, Target::LlamaCpp, &pins(&[]));
        assert!((problem.groups[1].choices[0].cost - 0.6).abs() < 1e-12, "{}", problem.groups[1].choices[0].cost);
    }
}
