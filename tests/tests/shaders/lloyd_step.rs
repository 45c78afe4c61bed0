//! Lloyd steps: equal counts, close sums, and levels that are learned are where a step leaves them.

use super::{cramped, devices, normal};
use halftone_core::codec::Format;
use halftone_core::compute::{Backend, KernelCall};
use halftone_core::error::Error;
use halftone_core::job::CancelToken;
use halftone_shaders::twin::lloyd_step::{MOST_LEVELS, TOLERANCE, Tally, boundaries, tally};

/// Weights under scales of groups.
struct Layer {
    values: Vec<f32>,
    group: usize,
    scales: Vec<f32>,
    importance: Vec<f32>,
}

impl Layer {
    /// Scales are the largest magnitudes of groups, times `size`.
    fn new(rows: usize, columns: usize, group: usize, weighted: bool, size: f32) -> Self {
        let values: Vec<f32> = normal(rows * columns, (columns + group) as u64).iter().map(|v| v * size).collect();
        let scales = values.chunks(group).map(|group| group.iter().fold(0.0, |m: f32, v| m.max(v.abs()))).collect();
        let importance = if weighted { (0..columns).map(|i| 0.01 + (i * 7 % 29) as f32).collect() } else { Vec::new() };
        Self { values, group, scales, importance }
    }

    fn step_on(&self, device: &dyn Backend, levels: &[f32]) -> Tally {
        let mut tally = Tally { counts: [7; MOST_LEVELS], weights: [7.0; MOST_LEVELS], sums: [7.0; MOST_LEVELS] };
        let Self { values, group, scales, importance } = self;
        let call = KernelCall::LloydStep { values, group: *group, scales, importance, levels, tally: &mut tally };
        device.run(call, &CancelToken::default()).unwrap();
        tally
    }

    /// Where a tally departs from the twin's: counts at all, sums by more than the tolerance.
    fn difference(&self, levels: &[f32], got: &Tally) -> Option<String> {
        let step = |values: &[f32]| tally(values, 0, &self.scales, self.group, &self.importance, &boundaries(levels));
        let want = step(&self.values);
        // Terms Σ importance·s·|v|, level by level: those of either sign.
        let size = |k: usize| {
            let of = |keep: fn(&f32) -> bool| step(&self.values.iter().map(|v| if keep(v) { *v } else { f32::NAN }).collect::<Vec<f32>>()).sums[k].abs();
            of(|v| *v > 0.0) + of(|v| *v < 0.0)
        };
        (0..MOST_LEVELS).find_map(|k| match () {
            () if got.counts[k] != want.counts[k] => Some(format!("{} instead of {} at level {k}", got.counts[k], want.counts[k])),
            () if (got.weights[k] - want.weights[k]).abs() > TOLERANCE * want.weights[k] => Some(format!("weight of level {k}")),
            () if (got.sums[k] - want.sums[k]).abs() > TOLERANCE * size(k) => Some(format!("sum of level {k}")),
            () => None,
        })
    }
}

#[test]
fn counts_are_equal_and_sums_close_on_every_device() {
    for (rows, columns, group, count, size) in
        [(1, 8, 8, 4, 1.0), (3, 96, 24, 16, 0.02), (64, 256, 64, 2, 1e-9), (37, 576, 64, 8, 1e12), (5, 3000, 1000, 16, 0.02), (2, 16384, 16384, 16, 1.0)]
    {
        for weighted in [false, true] {
            let mut layer = Layer::new(rows, columns, group, weighted, size);
            let levels: Vec<f32> = (0..count).map(|k| (2.0 * k as f32 / (count - 1) as f32 - 1.0) * 0.97 + if k == 1 { 0.03 } else { 0.0 }).collect();
            // On a boundary, and what counts as nothing.
            layer.values[1] = boundaries(&levels)[0] * layer.scales[0];
            if layer.values.len() > 4 * group {
                (layer.values[3], layer.values[4], layer.values[5], layer.values[6]) = (f32::NAN, f32::NEG_INFINITY, -0.0, -1e-42);
                (layer.scales[1], layer.scales[2]) = (0.0, 1e-30);
            }
            for device in devices() {
                let mut got = layer.step_on(device, &levels);
                let name = &device.capabilities().name;
                assert_eq!(layer.difference(&levels, &got), None, "{rows} × {columns}, {count} levels of {size:e} on {name}");
                got.counts[1] += 1;
                assert!(layer.difference(&levels, &got).is_some(), "a changed count must be seen");
                got.counts[1] -= 1;
                let fullest = (0..count).max_by_key(|k| got.counts[*k]).unwrap();
                got.sums[fullest] += 1e-4 * got.weights[fullest];
                assert!(layer.difference(&levels, &got).is_some(), "a changed sum must be seen");
                let mut moved = levels.clone();
                moved[1] += 0.02;
                assert!(rows < 5 || layer.difference(&levels, &layer.step_on(device, &moved)).is_some(), "another level must be seen");
            }
        }
    }
}

#[test]
fn tiles_begin_inside_groups_and_rows() {
    let layer = Layer::new(60, 3960, 72, true, 0.02);
    let levels: Vec<f32> = (0..8).map(|k| k as f32 / 3.5 - 1.0).collect();
    assert_eq!(layer.difference(&levels, &layer.step_on(&cramped(1 << 16), &levels)), None);
}

#[test]
fn a_step_is_the_hand_computed_one() {
    let got = tally(&[1.0, -2.0, 3.0, 8.0], 0, &[2.0, 4.0], 2, &[1.0, 3.0], &boundaries(&[-1.0, 0.0, 1.0, 2.0]));
    // Places −1 and ½ are on their level or on a boundary, which belongs to the level above it; then ¾ and 2.
    assert_eq!(got.counts[..4], [1, 0, 2, 1]);
    assert_eq!(got.weights[..4], [12.0, 0.0, 4.0 + 16.0, 48.0]);
    assert_eq!(got.sums[..4], [-12.0, 0.0, 2.0 + 12.0, 96.0]);
    assert_eq!((got.level(0), got.level(1), got.level(2)), (Some(-1.0), None, Some(0.7)));
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    for device in devices() {
        for (values, scales, importance, levels) in
            [(60, 4, 0, vec![0.0, 1.0]), (64, 3, 0, vec![0.0, 1.0]), (64, 4, 40, vec![0.0, 1.0]), (64, 4, 0, vec![0.0, 1.0, 2.0]), (64, 4, 0, vec![1.0, 0.0])]
        {
            let layer = Layer { values: vec![0.0; values], group: 16, scales: vec![1.0; scales], importance: vec![1.0; importance] };
            let Layer { values, group, scales, importance } = &layer;
            let call = KernelCall::LloydStep { values, group: *group, scales, importance, levels: &levels, tally: &mut Tally::default() };
            assert!(matches!(device.run(call, &CancelToken::default()), Err(Error::Mismatch { .. })), "{levels:?}");
        }
    }
}

/// Codebooks are fitted on a histogram, and scales a last time behind it: under the scales that are stored, an exact step on the weights moves
/// the levels by little, and far less than it moves levels that were not learned.
#[test]
fn learned_levels_are_nearly_where_a_step_leaves_them() {
    let (rows, columns, group) = (64, 512, 64);
    let format: Format = "ANY4-g64-tensor".parse().unwrap();
    let mut layer = Layer::new(rows, columns, group, true, 0.02);
    let bytes = format.encode(&layer.values, columns, Some(&layer.importance)).unwrap();
    let half = |bytes: &[u8]| half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
    let (head, blocks) = bytes.split_at(32);
    let learned: Vec<f32> = head.chunks_exact(2).map(half).collect();
    layer.scales = blocks.chunks_exact(2 + group / 2).map(half).collect();
    let even: Vec<f32> = (0..16).map(|k| 2.0 * k as f32 / 15.0 - 1.0).collect();
    for device in devices() {
        let moved = |levels: &[f32]| {
            let tally = layer.step_on(device, levels);
            (0..16).filter_map(|k| tally.level(k).map(|level| (level - levels[k]).abs())).sum::<f32>() / 16.0
        };
        let (learned, even) = (moved(&learned), moved(&even));
        println!("levels move by {learned:.4} of the largest, even ones by {even:.4}, on {}", device.capabilities().name);
        assert!(learned < 0.01 && learned < even / 3.0, "{learned} and {even}");
    }
}
