//! Trust on a table whose true KL is known.

use super::*;
use crate::allocate::testing;
use crate::codec::GgmlType as T;
use crate::sensitivity::Cell;

fn cell(t: T, error: f64) -> Cell {
    Cell { activation_error: Some(error * 2.0), ..testing::cell(t, 8, 256, error) }
}

/// 40 tensors of four roles; the true KL of a cell is its activation error times 3.
fn table() -> Table {
    let roles = [Role::Query, Role::Up, Role::Down, Role::AttentionOutput];
    let row = |i: usize| Row {
        tensor: format!("blk.{}.{i}", i / 4),
        role: roles[i % 4],
        block: Some(i / 4),
        fused: None,
        shape: vec![8, 256],
        source_bytes: 0,
        cells: [(T::Q2_K, 0.1), (T::Q4_K, 0.01), (T::Q6_K, 0.001)].map(|(t, e)| cell(t, e * (1.0 + i as f64 / 40.0))).to_vec(),
    };
    testing::table((0..40).map(row).collect())
}

/// As if 20 cells had been measured, where together costs 0.8 of separately.
fn trusted() -> Table {
    let mut table = table();
    let mut cells = Vec::new();
    for (tensor, stored) in choose(&table.rows, 20) {
        let row = table.rows.iter_mut().find(|r| r.tensor == tensor).unwrap();
        let cell = row.cells.iter_mut().find(|c| c.stored() == stored).unwrap();
        let kl = 3.0 * cell.activation_error.unwrap();
        (cell.more.measured_kl, cell.more.measured_kl_error) = (Some(kl), Some(kl / 10.0));
        // A metric that says nothing.
        cell.predicted_kl = None;
        cells.push(ProbedCell { tensor, stored_as: stored.format, residual: stored.residual, kl, error: kl / 10.0 });
    }
    let correlations = correlations(&table, &cells);
    let best = correlations[0].metric;
    let pairs: Vec<(f64, f64)> = cells.iter().map(|p| (cell_of(&table, &p.tensor, p.stored()).unwrap().metric(best).unwrap(), p.kl)).collect();
    let joint = Joint { tensors: 20, separately: 1.0, together: 0.8, error: 0.01 };
    let fit = Fit::of(&pairs).unwrap();
    table.evidence.trust = Some(Trust { tokens: 512, cells, correlations, best, fit, probed_together: joint, all_together: joint });
    calibrate(&mut table);
    table
}

#[test]
fn probed_cells_are_spread_over_roles_depths_and_candidates() {
    let table = table();
    let cells = choose(&table.rows, 20);
    let count = |f: &dyn Fn(&(String, Candidate)) -> String| cells.iter().map(f).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!((cells.len(), count(&|c| c.0.clone())), (20, 20), "each tensor once");
    assert_eq!(count(&|c| c.1.to_string()), 3, "all candidates");
    assert!(count(&|c| table.row(&c.0).unwrap().block.unwrap().to_string()) >= 8, "most of ten blocks");
    for role in [Role::Query, Role::Up, Role::Down, Role::AttentionOutput] {
        assert_eq!(cells.iter().filter(|c| table.row(&c.0).unwrap().role == role).count(), 5, "{role:?}");
    }
    assert_eq!(choose(&table.rows, 1000).len(), 40, "no more than there are");
    assert_eq!(choose(&table.rows, 20), cells, "the same again");
}

#[test]
fn the_best_metric_is_found_and_calibrated_costs_are_shares_of_the_plan() {
    let table = trusted();
    let trust = table.evidence.trust.as_ref().unwrap();
    let activation = trust.of(Metric::Activation).unwrap();
    assert!(activation.spearman > 0.999 && activation.kendall > 0.999 && (activation.ratio - 1.0 / 3.0).abs() < 1e-9 && activation.spread < 1e-9);
    assert_eq!(table.best_metric(), Metric::CalibratedKl, "evidence wins");
    for cell in table.rows.iter().flat_map(|r| &r.cells) {
        let want = 0.8 * 3.0 * cell.activation_error.unwrap();
        assert!((cell.more.calibrated_kl.unwrap() / want - 1.0).abs() < 0.05, "{cell:?}");
    }
}

#[test]
fn what_was_measured_of_a_tensor_moves_its_other_candidates() {
    let mut table = trusted();
    let row = table.rows.iter_mut().find(|r| r.cells.iter().all(|c| c.more.measured_kl.is_none())).unwrap();
    let tensor = row.tensor.clone();
    let before: Vec<f64> = row.cells.iter().map(|c| c.more.calibrated_kl.unwrap()).collect();
    row.cells[1].more.measured_kl = Some(10.0 * 3.0 * row.cells[1].activation_error.unwrap());
    calibrate(&mut table);
    for (cell, before) in table.row(&tensor).unwrap().cells.iter().zip(before) {
        assert!((cell.more.calibrated_kl.unwrap() / before / 10.0 - 1.0).abs() < 0.1, "ten times as sensitive");
    }
}

#[test]
fn kendall_counts_pairs_in_order_and_ties() {
    assert_eq!(kendall(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]), 1.0);
    assert_eq!(kendall(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), -1.0);
    assert!((kendall(&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0]) - 1.0 / 3.0).abs() < 1e-12, "two of three");
    assert!((kendall(&[1.0, 1.0, 2.0], &[1.0, 2.0, 3.0]) - 2.0 / 6f64.sqrt()).abs() < 1e-12, "a tie");
    assert_eq!(kendall(&[1.0, 1.0], &[1.0, 2.0]), 0.0, "no order");
}

#[test]
fn a_merged_table_has_the_cells_of_both_and_the_newer_of_what_both_have() {
    let mut one = trusted();
    let mut two = table();
    two.rows.truncate(2);
    two.rows[0].cells.remove(0);
    two.rows[0].cells[0].weight_error = 0.5;
    two.rows[0].cells.push(cell(T::Q8_0, 1e-5));
    let measured = one.rows[0].cells.iter().map(|c| c.more.measured_kl).collect::<Vec<_>>();
    one.merge(two).unwrap();
    let row = &one.rows[0];
    let formats: Vec<String> = row.cells.iter().map(|c| c.stored_as.to_string()).collect();
    assert_eq!(formats, ["Q2_K", "Q4_K", "Q6_K", "Q8_0"]);
    assert_eq!(row.cells[1].weight_error, 0.5, "newer");
    assert_eq!(row.cells[..3].iter().map(|c| c.more.measured_kl).collect::<Vec<_>>(), measured, "what only the older knows");
    assert_eq!((one.rows.len(), one.best_metric()), (40, Metric::CalibratedKl), "evidence stays, and holds for new cells");
    let other = Table { calibration: Some("other".into()), ..table() };
    assert!(one.merge(other).is_err(), "another calibration");
}

#[test]
fn what_was_probed_predicts_the_cells_that_are_merged_in() {
    let mut one = table();
    for (row, gain) in one.rows.iter_mut().zip([3.0, 5.0]) {
        row.cells.iter_mut().for_each(|cell| cell.predicted_kl = cell.activation_error.map(|error| gain * error));
    }
    one.rows[2].cells.iter_mut().for_each(|cell| cell.predicted_kl = None);
    let mut two = table();
    two.rows.truncate(3);
    two.rows.iter_mut().for_each(|row| row.cells = vec![cell(T::Q8_0, 1e-5)]);
    one.merge(two).unwrap();
    let predicted: Vec<Option<f64>> = one.rows[..3].iter().map(|row| row.cells[3].predicted_kl).collect();
    assert!((predicted[0].unwrap() / 6e-5 - 1.0).abs() < 1e-9 && (predicted[1].unwrap() / 1e-4 - 1.0).abs() < 1e-9, "each by its own gain: {predicted:?}");
    assert_eq!(predicted[2], None, "a tensor that was not probed stays unknown");
}

#[test]
fn a_merged_residual_has_no_kl_by_scale_and_gives_none() {
    let kept = |error: f64, kl: Option<f64>| Cell { residual: "r4".parse().ok(), bytes: 1, predicted_kl: kl, ..cell(T::Q4_K, error) };
    let merged = |one: Table, cells: Vec<Cell>| {
        let mut one = one;
        let row = Row { cells, ..one.rows[0].clone() };
        one.merge(testing::table(vec![row])).unwrap();
        one.rows.swap_remove(0).cells
    };
    let of = |cells: &[Cell], text: &str| cells.iter().find(|c| c.stored().to_string() == text).unwrap().predicted_kl;
    let mut probed = table();
    probed.rows[0].cells.iter_mut().for_each(|cell| cell.predicted_kl = cell.activation_error.map(|error| 3.0 * error));
    let cells = merged(probed.clone(), vec![kept(0.001, None), cell(T::Q8_0, 1e-5)]);
    assert_eq!(of(&cells, "Q4_K+r4"), None, "its error says nothing of its KL");
    assert!((of(&cells, "Q8_0").unwrap() / 6e-5 - 1.0).abs() < 1e-9, "a format's does");
    let cells = merged(probed.clone(), vec![kept(0.001, Some(5.0)), cell(T::Q8_0, 1e-5)]);
    assert_eq!(of(&cells, "Q4_K+r4"), Some(5.0), "what was measured of it stays");
    assert!((of(&cells, "Q8_0").unwrap() / 6e-5 - 1.0).abs() < 1e-9, "and moves no format: {:?}", of(&cells, "Q8_0"));
    // A row that was probed by its weight error, as an imatrix file leaves no other.
    let blind = |mut cell: Cell| {
        cell.activation_error = None;
        cell
    };
    probed.rows[0].cells = probed.rows[0].cells.drain(..).map(blind).collect();
    probed.rows[0].cells.iter_mut().for_each(|cell| cell.predicted_kl = Some(7.0 * cell.weight_error));
    let cells = merged(probed, vec![blind(cell(T::Q8_0, 1e-5))]);
    assert!((of(&cells, "Q8_0").unwrap() / 7e-5 - 1.0).abs() < 1e-9, "by the error that all of them have");
}

#[test]
fn tables_with_and_without_evidence_are_read() {
    let with = trusted();
    let json = serde_json::to_string(&with).unwrap();
    let read: Table = serde_json::from_str(&json).unwrap();
    assert_eq!(read.evidence.trust.as_ref().unwrap().best, with.evidence.trust.as_ref().unwrap().best);
    assert_eq!(read.rows[0].cells[0].more.zero_share, None);
    // What an older program wrote: no evidence, and cells that end with the predicted KL.
    let mut old: serde_json::Value = serde_json::to_value(table()).unwrap();
    old.as_object_mut().unwrap().remove("evidence");
    let read: Table = serde_json::from_value(old).unwrap();
    assert_eq!(read.best_metric(), Metric::Activation);
}
