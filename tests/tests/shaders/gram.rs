//! XᵀX added up, within the stated tolerance in the worst row; what is above the diagonal stays zero.

use super::{cramped, gpu, normal};
use halftone_core::compute::gpu::forward::{GramSum, Rows};
use halftone_shaders::twin::gram::{TOLERANCE, gram};

fn worst(x: &[f32], columns: usize, want: &[f32], got: &[f32]) -> f64 {
    let mut worst = 0.0f64;
    for (at, (want, got)) in want.iter().zip(got).enumerate() {
        let (row, column) = (at / columns, at % columns);
        let products: f64 = x.chunks_exact(columns).map(|x| f64::from(x[row] * x[column]).abs()).sum();
        let departure = (f64::from(*want) - f64::from(*got)).abs() / (TOLERANCE * products + 1e-30);
        worst = if departure.is_nan() { f64::INFINITY } else { worst.max(departure) };
    }
    worst
}

#[test]
fn sums_of_several_batches_are_within_their_tolerance() {
    // The last in pieces of 108 rows.
    let small = cramped(1 << 17);
    for (gpu, columns, batches, seed) in
        [(gpu(), 1, vec![1], 1), (gpu(), 30, vec![3, 8], 2), (gpu(), 128, vec![64], 3), (gpu(), 301, vec![17, 1, 40], 4), (&small, 301, vec![17, 40], 5)]
    {
        let mut want = vec![0.0; columns * columns];
        let mut sum = GramSum::new(gpu, columns).unwrap();
        let mut all = Vec::new();
        for (batch, tokens) in batches.into_iter().enumerate() {
            let x = normal(tokens * columns, seed * 10 + batch as u64);
            gram(&x, columns, 0, &mut want);
            sum.add(&Rows::upload(gpu, &x, columns).unwrap()).unwrap();
            all.extend(x);
        }
        let mut got = vec![0.0; columns * columns];
        sum.add_to(&mut got).unwrap();
        let departure = worst(&all, columns, &want, &got);
        assert!(departure <= 1.0, "{columns} columns: {departure} tolerances");
        got[columns * columns - 1] *= 1.001;
        assert!(worst(&all, columns, &want, &got) > 1.0, "a changed entry must be seen");
    }
    assert!(GramSum::new(gpu(), 8).unwrap().add(&Rows::upload(gpu(), &[0.0; 9], 9).unwrap()).is_err(), "another width");
}
