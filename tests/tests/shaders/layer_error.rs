//! tr(ΔHΔᵀ) by rows, within the stated tolerance in the worst row.

use super::devices;
use halftone_core::compute::KernelCall;
use halftone_core::job::CancelToken;
use halftone_shaders::twin::layer_error::{TOLERANCE, layer_error};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Δ, and H = XᵀX / T of eight tokens.
fn layer(rows: usize, columns: usize, seed: u64) -> (Vec<f32>, Vec<f32>) {
    const TOKENS: usize = 8;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let difference: Vec<f32> = (0..rows * columns).map(|_| random.random_range(-0.01..0.01)).collect();
    let x: Vec<f32> = (0..TOKENS * columns).map(|_| random.random_range(-1.0..1.0)).collect();
    let entry = |at: usize| (0..TOKENS).map(|t| x[t * columns + at / columns] * x[t * columns + at % columns]).sum::<f32>() / TOKENS as f32;
    (difference, (0..columns * columns).map(entry).collect())
}

/// The largest departure of a row, in units of the tolerance.
fn worst_row(difference: &[f32], columns: usize, hessian: &[f32], want: &[f32], got: &[f32]) -> f64 {
    let rows = difference.chunks_exact(columns).zip(want.iter().zip(got));
    let departures = rows.map(|(row, (want, got))| {
        let against = |h: &[f32]| row.iter().zip(h).map(|(b, h)| f64::from(b * h).abs()).sum::<f64>();
        let products: f64 = row.iter().zip(hessian.chunks_exact(columns)).map(|(a, h)| f64::from(a.abs()) * against(h)).sum();
        (f64::from(*want) - f64::from(*got)).abs() / (TOLERANCE * products)
    });
    departures.fold(0.0, f64::max)
}

#[test]
fn layer_error_of_every_row_is_within_its_tolerance_on_every_device() {
    for (rows, columns, seed) in [(1, 32, 1), (63, 33, 2), (64, 64, 3), (65, 100, 4), (257, 96, 5), (33, 257, 6), (40, 512, 7)] {
        let (difference, hessian) = layer(rows, columns, seed);
        let mut want = vec![0.0; rows];
        layer_error(&difference, columns, &hessian, &mut want);
        for device in devices() {
            let mut got = vec![f32::NAN; rows + 4];
            let call = KernelCall::LayerError { difference: &difference, columns, hessian: &hessian, row_errors: &mut got[..rows] };
            device.run(call, &CancelToken::default()).expect("layer error");
            assert!(got[rows..].iter().all(|g| g.is_nan()), "guards");
            let worst = worst_row(&difference, columns, &hessian, &want, &got);
            assert!(worst <= 1.0, "{rows} × {columns} on {}: {worst} tolerances", device.capabilities().name);
            got[rows - 1] *= 1.001;
            assert!(worst_row(&difference, columns, &hessian, &want, &got) > 1.0, "a changed row must be seen");
        }
    }
}

#[test]
fn layer_error_is_the_hand_computed_one() {
    let mut errors = [0.0; 2];
    layer_error(&[1.0, 2.0, 0.0, -1.0], 2, &[2.0, 0.5, 0.5, 3.0], &mut errors);
    assert_eq!(errors, [16.0, 3.0], "1·2·1 + 2·(1·0.5·2) + 2·3·2, and 3");
}
