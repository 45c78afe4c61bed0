//! What is done to rows of values: norms, rotary positions, curves, sums, rows by number, roundings; each against its twin.

use super::{extended_and_plain, gpu, normal};
use halftone_core::compute::gpu::forward::{NormWeights, Rows, Turns};
use halftone_shaders::twin::add::{self, Entry, add};
use halftone_shaders::twin::embedding::embedding;
use halftone_shaders::twin::gate::{Curve, gate};
use halftone_shaders::twin::norm::norm;
use halftone_shaders::twin::rope::{self, rope};
use halftone_shaders::twin::round_inputs::{self, Rounding, round_inputs};

fn upload(values: &[f32], columns: usize) -> Rows {
    Rows::upload(gpu(), values, columns).unwrap()
}

/// Where a value is further off than its ceiling.
fn off(want: &[f32], got: &[f32], ceiling: impl Fn(usize) -> f64) -> Option<usize> {
    assert_eq!(want.len(), got.len(), "as many values");
    want.iter().zip(got).enumerate().position(|(at, (want, got))| {
        let off = (f64::from(*want) - f64::from(*got)).abs();
        off.is_nan() || off > ceiling(at)
    })
}

#[test]
fn norms_of_rows_and_of_heads_are_within_their_tolerance() {
    for (rows, columns, heads, beta) in [(1, 5, 1, false), (9, 576, 1, false), (7, 300, 1, true), (5, 64, 6, false)] {
        let x: Vec<f32> = normal(rows * columns * heads, 1).iter().map(|v| v + 0.5).collect();
        let (gamma, shift) = (normal(columns, 2), if beta { normal(columns, 3) } else { Vec::new() });
        let mut want = vec![0.0; x.len()];
        let ceilings = norm(&x, &gamma, &shift, 1e-5, &mut want);
        for gpu in extended_and_plain() {
            let weights = NormWeights::upload(gpu, &gamma, &shift, 1e-5).unwrap();
            let mut got = Rows::upload(gpu, &x, columns * heads).unwrap().normed(&weights).unwrap().read().unwrap();
            assert_eq!(off(&want, &got, |at| ceilings[at / columns]), None, "{rows} × {heads} × {columns}");
            got[columns - 1] += 1e-3;
            assert_eq!(off(&want, &got, |at| ceilings[at / columns]), Some(columns - 1), "a changed value must be seen");
        }
    }
}

#[test]
fn both_pairings_of_channels_turn_and_the_rest_stays() {
    let (heads, dim, pairs, positions) = (3, 10, 4, [0u32, 5, 2, 2, 1]);
    let angles: Vec<[f32; 2]> = (0..6 * pairs).map(|i| [(i as f32).cos(), (i as f32).sin()]).collect();
    let x = normal(positions.len() * heads * dim, 4);
    for interleaved in [false, true] {
        let mut want = x.clone();
        rope(&mut want, heads, dim, &angles, pairs, &positions, interleaved);
        let mut rows = upload(&x, heads * dim);
        rows.turn(&Turns::upload(gpu(), &angles, pairs, &positions, interleaved).unwrap(), dim).unwrap();
        let mut got = rows.read().unwrap();
        let ceiling = |at: usize| {
            let (head, channel) = (at / dim * dim, at % dim);
            let partner = if interleaved { channel ^ 1 } else { (channel + pairs) % (2 * pairs) };
            if channel < 2 * pairs { rope::TOLERANCE * f64::from(x[at].abs() + x[head + partner].abs()) } else { 0.0 }
        };
        assert_eq!(off(&want, &got, ceiling), None, "interleaved {interleaved}");
        assert!(want.iter().zip(&x).any(|(a, b)| a != b) && want[dim - 1] == x[dim - 1], "some turn, the last channels do not");
        got[13] = -got[13];
        assert_eq!(off(&want, &got, ceiling), Some(13), "a changed value must be seen");
    }
    assert!(Turns::upload(gpu(), &angles, pairs, &[6], true).is_err(), "a position without angles");
}

#[test]
fn curves_are_within_their_tolerance_from_one_end_to_the_other() {
    let mut x: Vec<f32> = (-1200..1200).map(|i| i as f32 / 100.0).collect();
    x.extend([-1e4, -200.0, -90.0, 90.0, 200.0, 1e4, 0.0, 1e-20]);
    let up = normal(x.len(), 6);
    for curve in [Curve::Silu, Curve::GeluTanh, Curve::Gelu, Curve::SoftCap(30.0)] {
        for up in [&up[..], &[]] {
            let mut want = x.clone();
            let ceilings = gate(curve, &mut want, up);
            let mut rows = upload(&x, x.len());
            rows.bend(curve, (!up.is_empty()).then(|| upload(up, up.len())).as_ref()).unwrap();
            let mut got = rows.read().unwrap();
            let at = off(&want, &got, |at| ceilings[at] + 1e-30);
            assert_eq!(at, None, "{curve:?} of {:?}: {:?} instead of {:?}", at.map(|at| x[at]), at.map(|at| got[at]), at.map(|at| want[at]));
            got[900] *= 1.001;
            assert_eq!(off(&want, &got, |at| ceilings[at] + 1e-30), Some(900), "a changed value must be seen");
        }
    }
}

#[test]
fn rows_are_added_in_order_or_where_a_list_says() {
    let (x, y, columns) = (normal(7 * 50, 7), normal(3 * 50, 8), 50);
    let list = [(5, 0.25), (0, 1.5), (6, -1.0)].map(|(row, share)| Entry { row, share });
    let mut want = x.clone();
    add(&mut want, &y, columns, &list);
    let mut rows = upload(&x, columns);
    rows.add_shares(&upload(&y, columns), &list).unwrap();
    let got = rows.read().unwrap();
    let ceiling = |at: usize| add::TOLERANCE * f64::from(x[at].abs() + want[at].abs() + 20.0);
    assert_eq!(off(&want, &got, ceiling), None, "by list");
    assert_eq!(off(&x, &got, ceiling).map(|at| at / columns), Some(0), "a row that got nothing would be seen");
    let doubled = rows.duplicate().unwrap();
    rows.add(&doubled).unwrap();
    assert_eq!(off(&got.iter().map(|v| v * 2.0).collect::<Vec<_>>(), &rows.read().unwrap(), |_| 0.0), None, "in order");
    assert!(rows.add_shares(&doubled, &list).is_err(), "a list of another length");
}

#[test]
fn rows_by_number_are_exact() {
    let (table, numbers) = (normal(9 * 33, 9), [8u32, 0, 3, 3]);
    let mut want = vec![0.0; 4 * 33];
    embedding(&table, 33, &numbers, 0.5, &mut want);
    assert_eq!(upload(&table, 33).gather(&numbers, 0.5).unwrap().read().unwrap(), want, "each value");
    assert!(upload(&table, 33).gather(&[9], 1.0).is_err(), "a number that is no row");
}

#[test]
fn halves_and_bfloats_round_as_on_the_host_and_blocks_by_a_step_at_most() {
    let mut x = normal(6 * 512, 10);
    x[..12].copy_from_slice(&[0.0, -0.0, 65504.0, 65519.9, 65520.0, -1e9, 6e-8, 2.9e-8, 2.98e-8, 6.1e-5, f32::INFINITY, 1.0 + 1.0 / 2048.0]);
    for rounding in [Rounding::F16, Rounding::Bf16] {
        let mut want = x.clone();
        round_inputs(rounding, &mut want, 512);
        let got = upload(&x, 512).rounded(rounding).unwrap().read().unwrap();
        let differs = want.iter().zip(&got).position(|(w, g)| w.to_bits() != g.to_bits());
        assert_eq!(differs, None, "{rounding:?} of {:?}", differs.map(|at| (x[at], want[at], got[at])));
    }
    let x = normal(6 * 512, 11);
    for (rounding, columns) in [(Rounding::Q8_0, 96), (Rounding::Q8_0, 512), (Rounding::Q8K, 512)] {
        let mut want = x.clone();
        round_inputs(rounding, &mut want, columns);
        let got = upload(&x, columns).rounded(rounding).unwrap().read().unwrap();
        let block = if rounding == Rounding::Q8_0 { 32 } else { 256 };
        let step = |at: usize| f64::from(x[at / block * block..][..block].iter().fold(0.0f32, |m, v| m.max(v.abs()))) / 127.0;
        assert_eq!(off(&want, &got, |at| step(at) * (1.0 + round_inputs::TOLERANCE)), None, "{rounding:?}: a step at most");
        let same = want.iter().zip(&got).filter(|(w, g)| (*w - *g).abs() <= 1e-6 * w.abs()).count();
        assert!(same * 1000 >= want.len() * 995, "{rounding:?}: {same} of {} are alike", want.len());
        assert!(off(&x, &got, |at| step(at) * 0.01).is_some(), "it does round");
    }
}
