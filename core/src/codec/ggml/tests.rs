//! What every encoder promises, for all types that have one.

use super::{GgmlType, iq1_encode, ternary};
use half::f16;
use halftone_shaders::blocks::{BlockEncoder, encode_row};
use halftone_shaders::twin::{encode_affine_blocks, encode_affine_super_blocks, encode_blocks, encode_fp4, encode_grid_rows, encode_super_blocks};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const COLUMNS: usize = 1024;

fn encoders() -> impl Iterator<Item = GgmlType> {
    GgmlType::ALL.iter().copied().filter(|t| t.can_encode())
}

/// Heavy-tailed weights and importances over four orders of magnitude.
fn sample(seed: u64) -> (Vec<f32>, Vec<f32>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let weights = (0..COLUMNS).map(|_| 0.1 * rng.random_range(-1.0f32..1.0).powi(3)).collect();
    let importance = (0..COLUMNS).map(|_| 10f32.powf(rng.random_range(-2.0..2.0))).collect();
    (weights, importance)
}

fn encode(kind: GgmlType, row: &[f32], importance: Option<&[f32]>) -> (Vec<u8>, Vec<f32>) {
    let mut bytes = vec![0u8; row.len() / kind.block_columns() * kind.block_bytes()];
    kind.encode_row(row, importance, &mut bytes);
    let mut values = vec![f32::NAN; row.len()];
    kind.decode(&bytes, &mut values);
    (bytes, values)
}

fn error(row: &[f32], values: &[f32], importance: Option<&[f32]>) -> f64 {
    (0..row.len()).map(|i| f64::from(importance.map_or(1.0, |w| w[i])) * f64::from(values[i] - row[i]).powi(2)).sum()
}

#[test]
fn error_decreases_with_bits() {
    use GgmlType as T;
    let grids = [T::IQ1_S, T::IQ2_XXS, T::IQ2_XS, T::IQ2_S, T::IQ3_XXS, T::IQ3_S, T::IQ4_XS];
    for family in [
        &[T::Q4_0, T::Q5_0, T::Q8_0][..],
        &[T::Q4_1, T::Q5_1],
        &[T::Q2_K, T::Q3_K, T::IQ4_XS, T::Q5_K, T::Q6_K],
        &[T::Q2_K, T::Q4_K, T::Q5_K],
        &grids,
        &[T::IQ1_S, T::IQ1_M],
        &[T::Q1_0, T::TQ2_0, T::IQ2_XXS],
        &[T::Q1_0, T::Q2_0, T::MXFP4, T::Q5_0],
        &[T::Q2_0, T::NVFP4, T::Q5_0],
    ] {
        for seed in 0..4 {
            let (row, importance) = sample(seed);
            for importance in [None, Some(&importance[..])] {
                let errors: Vec<f64> = family.iter().map(|&t| error(&row, &encode(t, &row, importance).1, importance)).collect();
                assert!(errors.is_sorted_by(|a, b| a > b), "{family:?}: {errors:?}");
            }
        }
    }
}

/// Plain rounding of one block or sub-block: absmax for the one-scale types, min–max for the others, scales in half precision.
fn plain(kind: GgmlType, x: &[f32]) -> Option<Vec<f32>> {
    use GgmlType as T;
    let half = |v: f32| f16::from_f32(v).to_f32();
    let extreme = x.iter().fold(0.0f32, |a, &v| if v.abs() > a.abs() { v } else { a });
    let (low, high) = x.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
    let round = |d: f32, m: f32, from: f32, to: f32| x.iter().map(|v| d * ((v - m) / d).round_ties_even().clamp(from, to) + m).collect();
    match kind {
        T::Q4_0 => Some(round(half(extreme / -8.0), 0.0, -8.0, 7.0)),
        T::Q5_0 => Some(round(half(extreme / -16.0), 0.0, -16.0, 15.0)),
        T::Q8_0 => Some(round(half(extreme.abs() / 127.0), 0.0, -127.0, 127.0)),
        T::Q4_1 => Some(round(half((high - low) / 15.0), half(low), 0.0, 15.0)),
        T::Q5_1 => Some(round(half((high - low) / 31.0), half(low), 0.0, 31.0)),
        _ => None,
    }
}

/// Whether the pieces of `columns` values make no more error than `plain` rounding of those types that it knows.
fn never_worse(columns: usize, plain: impl Fn(GgmlType, &[f32]) -> Option<Vec<f32>>) {
    for kind in encoders() {
        for seed in 0..8 {
            let (row, importance) = sample(seed);
            for importance in [None, Some(&importance[..])] {
                let (_, values) = encode(kind, &row, importance);
                for at in (0..COLUMNS).step_by(columns) {
                    let (x, w) = (&row[at..at + columns], importance.map(|w| &w[at..at + columns]));
                    let Some(reference) = plain(kind, x) else { continue };
                    let (ours, plain) = (error(x, &values[at..at + columns], w), error(x, &reference, w));
                    assert!(ours <= plain * 1.000_01, "{kind} seed {seed} block at {at}: {ours} against {plain}");
                }
            }
        }
    }
}

#[test]
fn no_block_is_worse_than_plain_rounding() {
    never_worse(32, plain);
    never_worse(256, plain_levels);
    never_worse(256, plain_super);
}

/// Plain rounding of a super-block: each sub-block by its absmax or min–max, integer scales rounded to nearest.
fn plain_super(kind: GgmlType, x: &[f32]) -> Option<Vec<f32>> {
    use GgmlType as T;
    let half = |v: f32| f16::from_f32(v).to_f32();
    let absmax = |s: &[f32]| s.iter().fold(0.0f32, |a, v| a.max(v.abs()));
    let min = |s: &[f32]| -s.iter().fold(0.0f32, |a, &v| a.min(v));
    let range = |s: &[f32]| s.iter().fold(f32::MIN, |a, &v| a.max(v)) + min(s);
    // Values of a sub-block, levels (lowest, highest), largest integer scale.
    let (sub, low, high, top, affine) = match kind {
        T::Q2_K => (16, 0.0, 3.0, 15.0, true),
        T::Q3_K => (16, -4.0, 3.0, 31.0, false),
        T::Q4_K => (32, 0.0, 15.0, 63.0, true),
        T::Q5_K => (32, 0.0, 31.0, 63.0, true),
        T::Q6_K => (16, -32.0, 31.0, 127.0, false),
        _ => return None,
    };
    let scale = |s: &[f32]| if affine { range(s) / high } else { absmax(s) / high };
    let most = |f: &dyn Fn(&[f32]) -> f32| x.chunks(sub).map(f).fold(0.0, f32::max);
    let (d, dmin) = (half(most(&scale) / top), if affine { half(most(&min) / top) } else { 0.0 });
    let round = |s: &[f32]| -> Vec<f32> {
        let (scale, m) = (d * (scale(s) / d).round(), if affine { dmin * (min(s) / dmin).round() } else { 0.0 });
        s.iter().map(|v| scale * ((v + m) / scale.max(1e-30)).round().clamp(low, high) - m).collect()
    };
    Some(x.chunks(sub).flat_map(round).collect())
}

/// Plain rounding of 256 values in the types with one scale a block, or one byte: absmax, or (Q1_0) the mean magnitude.
fn plain_levels(kind: GgmlType, x: &[f32]) -> Option<Vec<f32>> {
    use GgmlType as T;
    const E2M1: &[f32] = &[-6.0, -4.0, -3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let absmax = |x: &[f32]| x.iter().fold(0.0f32, |a, v| a.max(v.abs()));
    let half = |v: f32| f16::from_f32(v).to_f32();
    let (columns, levels): (_, &[f32]) = match kind {
        T::Q1_0 => (128, &[-1.0, 1.0]),
        T::TQ1_0 | T::TQ2_0 => (256, &[-1.0, 0.0, 1.0]),
        T::Q2_0 => (64, &[-1.0, 0.0, 1.0, 2.0]),
        T::MXFP4 => (32, E2M1),
        // Three bits of mantissa round a scale to an eighth; that of amax/6 rounded down is among ours.
        T::NVFP4 => (16, E2M1),
        _ => return None,
    };
    let scale = |x: &[f32]| match kind {
        T::Q1_0 => half(x.iter().map(|v| v.abs()).sum::<f32>() / 128.0),
        T::MXFP4 => 2f32.powi(absmax(x).log2().floor() as i32 - 2),
        T::NVFP4 if absmax(x) < 6.0 / 64.0 => (absmax(x) / 6.0 * 512.0).floor() / 512.0,
        T::NVFP4 => f32::from_bits((absmax(x) / 6.0).to_bits() & !0xF_FFFF),
        _ => half(absmax(x)),
    };
    let nearest = |d: f32, v: f32| levels.iter().map(|l| d * l).min_by(|a, b| (a - v).abs().total_cmp(&(b - v).abs())).unwrap_or(0.0);
    Some(x.chunks(columns).flat_map(|x| x.iter().map(|&v| nearest(scale(x), v)).collect::<Vec<_>>()).collect())
}

#[test]
fn few_levels_come_back() {
    use GgmlType as T;
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for kind in [T::Q1_0, T::TQ1_0, T::TQ2_0, T::Q2_0, T::MXFP4, T::NVFP4] {
        for _ in 0..50 {
            // Levels by an encoder's own decoder: any block with scales of use, the largest level in each part.
            let mut block: Vec<u8> = (0..kind.block_bytes()).map(|_| rng.random()).collect();
            let d = f16::from_f32(rng.random_range(0.01..0.1)).to_le_bytes();
            match kind {
                T::MXFP4 => (block[0], block[1]) = (rng.random_range(110..130), block[1] & 0xF0 | 7),
                T::NVFP4 => (0..4).for_each(|sub| (block[sub], block[4 + 8 * sub]) = (rng.random_range(8..100), block[4 + 8 * sub] & 0xF0 | 7)),
                T::TQ1_0 | T::TQ2_0 => {
                    let at = kind.block_bytes() - 2;
                    // Bytes that digits make: 2-bit codes up to 2, fractions of 3⁵.
                    block[..at]
                        .iter_mut()
                        .for_each(|b| *b = if kind == T::TQ2_0 { *b & !(*b >> 1 & 0x55) } else { (u32::from(*b) % 81 * 3 * 256).div_ceil(243) as u8 });
                    block[at..].copy_from_slice(&d);
                }
                _ => block[..2].copy_from_slice(&d),
            }
            let mut row = vec![0.0; kind.block_columns()];
            kind.decode(&block, &mut row);
            let (_, values) = encode(kind, &row, None);
            let (error, norm) = (error(&row, &values, None), row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>());
            assert!(error <= 1e-9 * norm, "{kind}: {row:?} became {values:?}");
        }
    }
}

/// Weights that a grid type can hold exactly come back nearly so: the scales are searched, not solved.
#[test]
fn weights_on_a_grid_come_back() {
    use GgmlType as T;
    let mut rng = ChaCha8Rng::seed_from_u64(10);
    for kind in [T::IQ1_S, T::IQ1_M, T::IQ2_XXS, T::IQ2_XS, T::IQ2_S, T::IQ3_XXS, T::IQ3_S] {
        let (mut lost, mut all, mut next) = (0.0, 0.0, 0.0);
        for _ in 0..20 {
            let (row, _) = sample(rng.random());
            // What one encoder made, another pass must keep; Gaussian noise of the same energy loses far more.
            let (_, on_grid) = encode(kind, &row, None);
            let (_, values) = encode(kind, &on_grid, None);
            lost += error(&on_grid, &values, None);
            next += error(&row, &on_grid, None);
            all += on_grid.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        }
        assert!(lost < 0.1 * next, "{kind}: {lost} lost of {all}, {next} when they were made");
    }
}

#[test]
fn values_on_the_grid_come_back() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for kind in [GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q5_0, GgmlType::Q5_1, GgmlType::Q8_0, GgmlType::IQ4_NL] {
        for _ in 0..100 {
            let mut block: Vec<u8> = (0..kind.block_bytes()).map(|_| rng.random()).collect();
            block[..2].copy_from_slice(&f16::from_f32(rng.random_range(0.001..0.1)).to_le_bytes());
            if matches!(kind, GgmlType::Q4_1 | GgmlType::Q5_1) {
                block[2..4].copy_from_slice(&f16::from_f32(rng.random_range(-0.5..0.5)).to_le_bytes());
            }
            // The ends of the grid are in use, as they are in files that programs write.
            let (high_bits, codes) = match kind {
                GgmlType::Q8_0 => (0, 2),
                GgmlType::Q5_0 => (2, 6),
                GgmlType::Q5_1 => (4, 8),
                GgmlType::Q4_1 => (0, 4),
                _ => (0, 2),
            };
            if kind == GgmlType::Q8_0 {
                (block[codes], block[codes + 1]) = (129, 127);
                block[codes + 2..].iter_mut().filter(|q| **q == 128).for_each(|q| *q = 0);
            } else {
                block[codes] = 0xF0; // lowest code first, highest code in element 16
                if high_bits > 0 {
                    (block[high_bits], block[high_bits + 2]) = (block[high_bits] & 0xFE, block[high_bits + 2] | 1);
                }
            }
            let mut row = vec![0.0; 32];
            kind.decode(&block, &mut row);
            let (_, values) = encode(kind, &row, None);
            let (error, norm) = (error(&row, &values, None), error(&row, &[0.0; 32], None));
            assert!(error <= 1e-9 * norm, "{kind}: {row:?} became {values:?}");
        }
    }
}

#[test]
fn zero_rows_are_exact_zeros() {
    for kind in encoders() {
        for importance in [None, Some(&[1.0; COLUMNS][..]), Some(&[0.0; COLUMNS][..])] {
            let (_, values) = encode(kind, &[0.0; COLUMNS], importance);
            assert!(values.iter().all(|v| v.to_bits() == 0), "{kind}: {:?}", &values[..32]);
        }
        // A zero block among others, and a zero sub-block within a super-block; grids of odd levels and signs have no zero.
        if matches!(kind.name().split_at(3).0, "IQ1" | "IQ2" | "IQ3" | "Q1_") {
            continue;
        }
        let (mut row, _) = sample(1);
        row[64..96].fill(0.0);
        let (_, values) = encode(kind, &row, None);
        assert!(values[64..96].iter().all(|v| *v == 0.0), "{kind}: {:?}", &values[64..96]);
    }
}

#[test]
fn importances_of_zero_count_as_ones() {
    let (row, _) = sample(3);
    for kind in encoders() {
        assert_eq!(encode(kind, &row, Some(&[0.0; COLUMNS])).0, encode(kind, &row, None).0, "{kind}");
    }
}

#[test]
fn hostile_weights_give_finite_values() {
    let (mut row, importance) = sample(5);
    for (i, v) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-40, -1e9, 65504.0].into_iter().enumerate() {
        row[i * 97] = v;
    }
    for kind in encoders() {
        for scale in [1.0, 1e-30, 1e30, 1e-7] {
            let row: Vec<f32> = row.iter().map(|v| v * scale).collect();
            for importance in [None, Some(&importance[..]), Some(&[f32::NAN; COLUMNS][..]), Some(&[f32::MAX; COLUMNS][..]), Some(&[1e-44; COLUMNS][..])] {
                let (_, values) = encode(kind, &row, importance);
                assert!(values.iter().all(|v| v.is_finite()), "{kind} × {scale}");
            }
        }
    }
}

#[test]
fn weights_that_are_not_finite_count_as_zero() {
    let (mut with_zeros, _) = sample(6);
    let mut hostile = with_zeros.clone();
    for (i, v) in [(3, f32::NAN), (500, f32::INFINITY), (900, f32::NEG_INFINITY)] {
        (hostile[i], with_zeros[i]) = (v, 0.0);
    }
    for kind in encoders() {
        assert_eq!(encode(kind, &hostile, None).0, encode(kind, &with_zeros, None).0, "{kind}");
    }
}

#[test]
fn importance_lowers_the_weighted_error() {
    let (row, importance) = sample(11);
    for kind in encoders() {
        let blind = error(&row, &encode(kind, &row, None).1, Some(&importance));
        let weighted = error(&row, &encode(kind, &row, Some(&importance)).1, Some(&importance));
        // A power of two as scale leaves little to choose, and at eight bits there is no search.
        let holds = if matches!(kind, GgmlType::MXFP4 | GgmlType::Q8_0) { weighted <= blind } else { weighted < blind };
        assert!(holds, "{kind}: {weighted} with importances, {blind} without");
    }
}

#[test]
fn wide_vectors_give_the_bytes_of_the_baseline() {
    fn check<E: BlockEncoder<N, B>, const N: usize, const B: usize>(kind: GgmlType) {
        for seed in 0..4 {
            let (row, importance) = sample(seed);
            for importance in [None, Some(&importance[..])] {
                let mut baseline = vec![0u8; COLUMNS / N * B];
                encode_row::<E, N, B>(&row, importance, &mut baseline);
                assert_eq!(baseline, encode(kind, &row, importance).0, "{kind} seed {seed}");
            }
        }
    }
    check::<encode_blocks::Q4_0, _, _>(GgmlType::Q4_0);
    check::<encode_affine_blocks::Q5_1, _, _>(GgmlType::Q5_1);
    check::<encode_blocks::Q8_0, _, _>(GgmlType::Q8_0);
    check::<encode_blocks::Iq4Nl, _, _>(GgmlType::IQ4_NL);
    check::<encode_super_blocks::Q3K, _, _>(GgmlType::Q3_K);
    check::<encode_affine_super_blocks::Q4K, _, _>(GgmlType::Q4_K);
    check::<encode_super_blocks::Q6K, _, _>(GgmlType::Q6_K);
    check::<encode_grid_rows::Iq2Xxs, _, _>(GgmlType::IQ2_XXS);
    check::<encode_grid_rows::Iq2S, _, _>(GgmlType::IQ2_S);
    check::<encode_grid_rows::Iq3Xxs, _, _>(GgmlType::IQ3_XXS);
    check::<encode_grid_rows::Iq3S, _, _>(GgmlType::IQ3_S);
    check::<iq1_encode::Iq1S, _, _>(GgmlType::IQ1_S);
    check::<iq1_encode::Iq1M, _, _>(GgmlType::IQ1_M);
    check::<ternary::Tq2_0, _, _>(GgmlType::TQ2_0);
    check::<ternary::Q2_0, _, _>(GgmlType::Q2_0);
    check::<encode_fp4::Mxfp4, _, _>(GgmlType::MXFP4);
    check::<encode_fp4::Nvfp4, _, _>(GgmlType::NVFP4);
}

#[test]
fn the_types_of_a_matmul_decode_too() {
    let mut block = vec![0u8; GgmlType::Q8_1.block_bytes()];
    block[..2].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
    (block[4], block[35]) = (2, 0x80);
    let mut values = [0.0; 32];
    GgmlType::Q8_1.decode(&block, &mut values);
    assert_eq!((values[0], values[1], values[31]), (1.0, 0.0, -64.0), "Q8_1");
    let mut block = vec![0u8; GgmlType::Q8_K.block_bytes()];
    block[..4].copy_from_slice(&0.25f32.to_le_bytes());
    (block[4], block[259]) = (0xFF, 4);
    let mut values = [0.0; 256];
    GgmlType::Q8_K.decode(&block, &mut values);
    assert_eq!((values[0], values[1], values[255]), (-0.25, 0.0, 1.0), "Q8_K");
}
