//! Histograms and sums: equal counts, close sums.

use super::{devices, extended_and_plain};
use halftone_core::compute::{Backend, KernelCall};
use halftone_core::job::CancelToken;
use halftone_shaders::twin::statistics::{BINS, TOLERANCE, Tally, tally};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a device says, over outputs that were not zero before.
fn statistics_on(device: &dyn Backend, values: &[f32], absmax: f32) -> ([u64; BINS], [f64; 6]) {
    let (mut histogram, mut sums) = ([7; BINS], [7.0; 6]);
    device.run(KernelCall::Statistics { values, absmax, histogram: &mut histogram, sums: &mut sums }, &CancelToken::default()).expect("statistics");
    (histogram, sums)
}

/// Where a result departs from the twin: counts at all, sums by more than the tolerance.
fn difference(values: &[f32], want: &Tally, histogram: &[u64; BINS], sums: &[f64; 6]) -> Option<String> {
    if let Some(bin) = (0..BINS).find(|&k| histogram[k] != want.histogram[k]) {
        return Some(format!("bin {bin}: {} instead of {}", histogram[bin], want.histogram[bin]));
    }
    if (sums[4], sums[5]) != (want.finite as f64, want.non_finite as f64) {
        return Some(format!("counts {:?}", &sums[4..]));
    }
    (0..4).find_map(|k| {
        let size: f64 = values.iter().filter(|v| v.is_finite()).map(|v| f64::from(v.abs()).powi(k as i32 + 1)).sum();
        let error = (sums[k] - want.powers[k]).abs();
        (error > TOLERANCE * size).then(|| format!("power {}: off by {error:e} of {size:e}", k + 1))
    })
}

#[test]
fn counts_are_equal_and_sums_close_on_every_device() {
    for (count, seed) in [(1, 1), (63, 2), (64, 3), (8191, 4), (8192, 5), (8193, 6), (300_001, 7)] {
        for size in [0.02f32, 1.0, 1e-40] {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            // Multiples of 1/64 of the range fall on edges.
            let on_edge = |random: &mut ChaCha8Rng| size * (f32::from(random.random::<i8>() / 2) / 64.0);
            let mut values: Vec<f32> = (0..count).map(|i| if i % 3 == 0 { on_edge(&mut random) } else { random.random_range(-size..=size) }).collect();
            values[0] = -size;
            if count > 60 {
                (values[7], values[8], values[9], values[10]) = (f32::NAN, f32::NEG_INFINITY, -0.0, -1e-42);
            }
            let want = tally(&values, size);
            let [_, plain] = extended_and_plain();
            for device in devices().into_iter().chain([plain as &dyn Backend]) {
                let (mut histogram, mut sums) = statistics_on(device, &values, size);
                // Subnormal values may be flushed before they are summed, never before they are counted.
                if size < f32::MIN_POSITIVE {
                    sums[..4].copy_from_slice(&want.powers);
                }
                assert_eq!(difference(&values, &want, &histogram, &sums), None, "{count} values of {size:e} on {}", device.capabilities().name);
                histogram[64] += 1;
                assert!(difference(&values, &want, &histogram, &sums).is_some(), "a changed bin must be seen");
                histogram[64] -= 1;
                sums[1] *= 1.0001;
                assert!(difference(&values, &want, &histogram, &sums).is_some(), "a changed sum must be seen");
            }
        }
    }
}

#[test]
fn bins_are_equal_parts_of_the_range() {
    let values: Vec<f32> = (0..1280).map(|i| (i as f32 + 0.5) / 640.0 - 1.0).collect();
    assert_eq!(tally(&values, 1.0).histogram, [10; BINS], "ten in each");
    assert_eq!(tally(&[-1.0, 1.0], 1.0).histogram[BINS - 1], 1, "the upper end belongs to the last bin");
    assert_eq!(tally(&[0.0, -0.0], 0.0).histogram[64], 2, "zeros lie in the middle");
}
