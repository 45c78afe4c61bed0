//! Divergence, −log p and most likely tokens of two matrices of logits.

use super::{cramped, extended_and_plain, gpu, normal};
use halftone_core::compute::gpu::Gpu;
use halftone_core::compute::gpu::forward::{LogitRows, Matrix, Rows};
use halftone_core::numeric::metric::kl_divergence;
use halftone_shaders::twin::logits_compare::{FLOOR, Row, TOLERANCE, TOP, logits_compare};
use halftone_shaders::twin::matmul::matmul;

/// Both on the device, as hidden states times a head of ones on the diagonal.
fn on_device(gpu: &Gpu, before: &[f32], after: &[f32], columns: usize, targets: &[u32], top: usize) -> Vec<Row> {
    let unit: Vec<f32> = (0..columns * columns).map(|i| if i % (columns + 1) == 0 { 1.0 } else { 0.0 }).collect();
    let head = Matrix::upload(gpu, &unit, columns).unwrap();
    let logits = |values: &[f32]| LogitRows::of(&Rows::upload(gpu, values, columns).unwrap(), &head, None, false).unwrap();
    logits(before).compare(&logits(after), targets, top).unwrap()
}

fn agree(want: &Row, got: &Row, top: usize) -> bool {
    let kl = f64::from(want.divergence).max(0.0);
    let near = (f64::from(got.divergence) - kl).abs() <= TOLERANCE * kl + FLOOR * kl.sqrt() + FLOOR * FLOOR;
    let nll = |want: f32, got: f32| f64::from(want - got).abs() <= TOLERANCE * 40.0;
    near && nll(want.nll_before, got.nll_before)
        && nll(want.nll_after, got.nll_after)
        && want.top_before[..top] == got.top_before[..top]
        && want.top_after[..top] == got.top_after[..top]
}

#[test]
fn rows_are_those_of_the_twin_from_large_divergences_to_tiny_ones() {
    for ((columns, damage), gpu) in [(3, 0.3), (40, 1.0), (300, 1e-2), (300, 1e-4)].into_iter().flat_map(|case| extended_and_plain().map(|gpu| (case, gpu))) {
        let rows = 9;
        let before: Vec<f32> = normal(rows * columns, 5).iter().map(|v| v * 3.0).collect();
        let after: Vec<f32> = before.iter().zip(normal(rows * columns, 6)).map(|(b, n)| b + damage * n).collect();
        let targets: Vec<u32> = (0..rows as u32).map(|i| i * 7 % columns as u32).collect();
        let want = logits_compare(&before, &after, columns, &targets, TOP);
        let mut got = on_device(gpu, &before, &after, columns, &targets, TOP);
        for (row, (want, got)) in want.iter().zip(&got).enumerate() {
            assert!(agree(want, got, TOP), "row {row} of {columns}: {got:?} instead of {want:?}");
            let host = kl_divergence(&before[row * columns..][..columns], &after[row * columns..][..columns]);
            assert!((host - f64::from(got.divergence)).abs() <= 1e-3 * host + 1e-7, "the host says {host}, the device {}", got.divergence);
        }
        let largest = (0..rows).max_by(|&a, &b| want[a].divergence.total_cmp(&want[b].divergence)).unwrap();
        got[largest].divergence *= 1.5;
        assert!(!agree(&want[largest], &got[largest], TOP), "a changed divergence must be seen");
        got[0].nll_after += 1e-2;
        assert!(!agree(&want[0], &got[0], TOP), "a changed probability must be seen");
        got[1].top_after[1] += 1;
        assert!(!agree(&want[1], &got[1], TOP), "another token must be seen");
        let alone = on_device(gpu, &before, &after, columns, &[], 0);
        assert_eq!(alone[2].divergence, on_device(gpu, &before, &after, columns, &targets, 1)[2].divergence, "with and without tokens");
    }
}

#[test]
fn of_equal_logits_the_first_is_the_most_likely() {
    let row = [0.0, 3.0, 1.0, 3.0, -1.0, 2.0, 0.5];
    let got = on_device(gpu(), &row, &[-4.0, -4.0, -4.0, -4.0, -4.0, -4.0, -4.0], 7, &[1], 5);
    assert_eq!((&got[0].top_before[..5], &got[0].top_after[..5]), (&[1, 3, 5, 2, 6][..], &[0, 1, 2, 3, 4][..]), "sorted");
    let same = on_device(gpu(), &row, &row, 7, &[1], 5);
    assert_eq!(same[0].divergence, 0.0, "nothing between a model and itself");
}

#[test]
fn logits_and_heads_that_do_not_fit_a_binding_are_compared_piece_by_piece() {
    // Ten rows of logits, 2048 of the head.
    let (inner, columns, rows, small) = (16, 3000, 24, cramped(128 << 10));
    let (before, after, weight) = (normal(rows * inner, 7), normal(rows * inner, 8), normal(columns * inner, 9));
    let targets: Vec<u32> = (0..rows as u32).map(|i| i * 11 % 3000).collect();
    let head = Matrix::upload(&small, &weight, inner).unwrap();
    let there = |x: &[f32]| LogitRows::of(&Rows::upload(&small, x, inner).unwrap(), &head, None, false).unwrap();
    let here = |x: &[f32]| {
        let mut y = vec![0.0; x.len() / inner * columns];
        matmul(x, &weight, inner, &[], &mut y);
        y
    };
    let want = logits_compare(&here(&before), &here(&after), columns, &targets, TOP);
    let got = there(&before).compare(&there(&after), &targets, TOP).unwrap();
    assert_eq!(got.len(), rows, "every row");
    for (row, (want, got)) in want.iter().zip(&got).enumerate() {
        assert!(agree(want, got, TOP), "row {row}: {got:?} instead of {want:?}");
    }
    assert!(there(&before).compare(&there(&after[..20 * inner]), &[], 0).is_err(), "whole pieces less");
}
