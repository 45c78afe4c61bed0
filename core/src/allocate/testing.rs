//! Small tables for the tests of this room, and of the one they come from.

use super::{Choice, Group, Problem, Rules, Target};
use crate::codec::{Format, GgmlType};
use crate::sensitivity::{Cell, Evidence, Row, Table};
use crate::source::Role;
use proptest::prelude::Strategy;
use rand::{Rng as _, SeedableRng as _};

pub(crate) fn cell(t: GgmlType, rows: usize, columns: usize, weight_error: f64) -> Cell {
    let stored_as = Format::Ggml(t).for_columns(columns);
    let bytes = stored_as.tensor_bytes(rows, columns);
    Cell::new(Format::Ggml(t).into(), stored_as.into(), bytes, weight_error)
}

pub(super) fn row(tensor: &str, shape: &[usize], formats: &[(GgmlType, f64)]) -> Row {
    let (rows, columns) = (shape[..shape.len() - 1].iter().product(), shape[shape.len() - 1]);
    let mut cells: Vec<Cell> = formats.iter().map(|&(t, error)| cell(t, rows, columns, error)).collect();
    cells.sort_by_key(|c| c.bytes);
    let block = tensor.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok());
    Row { tensor: tensor.into(), role: Role::Other, block, fused: None, shape: shape.to_vec(), source_bytes: 0, cells }
}

pub(crate) fn table(rows: Vec<Row>) -> Table {
    Table {
        model: String::new(),
        model_path: "model".into(),
        calibration: None,
        tool: String::new(),
        rounding: "nearest".into(),
        fixed_bytes: 1024,
        rows,
        evidence: Evidence::default(),
    }
}

/// A runtime and pins.
pub(super) fn pinned(target: Target, pins: &[(&str, GgmlType)]) -> Rules {
    Rules::pinned(target, pins.iter().map(|&(name, t)| (name.to_owned(), Format::Ggml(t))).collect())
}

/// Problems small enough for [`brute_force`], with ties, dominated choices and costs of nothing.
pub(super) fn small_problem() -> impl Strategy<Value = Problem> {
    let choice =
        (1u64..12, 0u32..40).prop_map(|(units, cost)| Choice { format: Format::F16, residual: None, bytes: units * 32, cost: f64::from(cost) * 0.037 });
    let group = proptest::collection::vec(choice, 1..5).prop_map(|mut choices| {
        choices.sort_by_key(|c| c.bytes);
        Group { choices, ..Group::new(vec!["t".into()], 1000) }
    });
    proptest::collection::vec(group, 1..7).prop_map(|groups| Problem { groups, fixed_bytes: 100, weights: 1000 })
}

/// The least `value(bytes, cost)` of all solutions that `allowed(bytes, cost)` lets through.
pub(super) fn brute_force(problem: &Problem, allowed: impl Fn(u64, f64) -> bool, value: impl Fn(u64, f64) -> f64) -> Option<f64> {
    let mut picks = vec![0; problem.groups.len()];
    let mut best: Option<f64> = None;
    loop {
        let (bytes, cost) = (problem.file_bytes(&picks), problem.cost(&picks));
        if allowed(bytes, cost) {
            let found = value(bytes, cost);
            best = Some(best.map_or(found, |b| b.min(found)));
        }
        let Some(group) = (0..picks.len()).find(|&g| picks[g] + 1 < problem.groups[g].choices.len()) else { return best };
        picks[group] += 1;
        picks[..group].fill(0);
    }
}

/// A model-like problem: a few shapes, errors that fall by 6 dB a bit with some disorder, sensitivities over three decades.
pub(super) fn random_problem(groups: usize, formats: usize, seed: u64) -> Problem {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut weights = 0;
    let groups = (0..groups)
        .map(|g| {
            let values = [576u64 * 576, 576 * 192, 576 * 1536, 4096 * 4096][g % 4];
            weights += values;
            let sensitivity = 10f64.powf(rng.random_range(-3.0..0.0));
            let choices = (0..formats).map(|f| {
                let bits = 3.0 + f as f64 * 6.0 / formats as f64;
                let bytes = ((values as f64 * bits / 8.0) as u64).next_multiple_of(32);
                Choice { format: Format::F16, residual: None, bytes, cost: sensitivity * 4f64.powf(-bits) * rng.random_range(0.7..1.4) }
            });
            Group { choices: choices.collect(), ..Group::new(vec![format!("t{g}")], values) }
        })
        .collect();
    Problem { groups, fixed_bytes: 4096, weights }
}
