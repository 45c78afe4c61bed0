//! Group-wise integers: the same ones on every device, and what the search promises.

use super::{devices, normal};
use halftone_core::compute::{Backend, KernelCall};
use halftone_core::error::Error;
use halftone_core::job::CancelToken;
use halftone_shaders::twin::group_quantize::{Grid, Scheme, dequantize_group, quantize};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One case of the table.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub rows: usize,
    pub columns: usize,
    pub group: usize,
    pub bits: u32,
    pub symmetric: bool,
    pub weighted: bool,
}

pub const fn case(rows: usize, columns: usize, group: usize, bits: u32, symmetric: bool, weighted: bool) -> Case {
    Case { rows, columns, group, bits, symmetric, weighted }
}

const CASES: &[Case] = &[
    case(1, 32, 32, 4, true, false),
    case(1, 8, 8, 2, false, true),
    case(63, 64, 32, 2, true, true),
    case(64, 96, 32, 3, false, false),
    case(65, 128, 128, 4, true, true),
    case(65, 128, 128, 4, false, true),
    case(257, 64, 64, 5, true, false),
    case(63, 192, 96, 6, false, true),
    case(64, 256, 256, 7, true, true),
    case(65, 256, 64, 8, true, false),
    case(65, 256, 64, 8, false, true),
    case(31, 576, 64, 4, true, true),
    case(17, 576, 576, 4, false, true),
    case(16, 520, 520, 3, true, false),
    case(257, 40, 40, 2, false, false),
];

/// Rows of every kind: normal, with outliers, offset, on a grid, subnormal, below and above f16, zero, NaN and infinities.
fn hostile_weights(rows: usize, columns: usize, seed: u64) -> Vec<f32> {
    let mut values = normal(rows * columns, seed);
    for (row, values) in values.chunks_exact_mut(columns).enumerate() {
        for (column, value) in values.iter_mut().enumerate() {
            *value = match (row % 16, column % 31) {
                (1, 4) | (15, _) => f32::NAN,
                (1, 9) => f32::INFINITY,
                (2, 12) => *value * 20.0,
                (3, _) => *value * 1e-7,
                (5, _) => *value * 3e4,
                (7, _) => *value * 1e30,
                (9, _) => *value * 1e-41,
                (11, _) => 0.0,
                (13, _) => *value * 0.02 + 1.5,
                (14, _) => (*value * 2.0).round() * 0.25,
                _ => *value * 0.02,
            };
        }
    }
    values
}

/// Importances over six decades, with zeros, NaN and negative ones.
fn hostile_importances(columns: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let value = |column: usize| match column % 23 {
        4 => 0.0,
        6 => 900.0,
        8 => f32::NAN,
        10 => -1.0,
        _ => random.random::<f32>().powi(4),
    };
    (0..columns).map(value).collect()
}

/// Codes, scales and zero points, with guard elements behind each.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    pub codes: Vec<u8>,
    pub scales: Vec<f32>,
    pub zeros: Vec<u8>,
}

pub const GUARD: u8 = 0xa5;

impl Quantized {
    pub fn space(weights: usize, groups: usize) -> Self {
        Self { codes: vec![GUARD; weights + 16], scales: vec![f32::from(GUARD); groups + 4], zeros: vec![GUARD; groups + 16] }
    }

    pub fn on(device: &dyn Backend, c: Case, weights: &[f32], importance: &[f32], cancel: &CancelToken) -> (Self, Result<(), Error>) {
        let groups = weights.len() / c.group;
        let mut out = Self::space(weights.len(), groups);
        let (codes, scales, zeros) = (&mut out.codes[..weights.len()], &mut out.scales[..groups], &mut out.zeros[..groups]);
        let Case { columns, group, bits, symmetric, .. } = c;
        let result = device.run(KernelCall::GroupQuantize { weights, columns, importance, bits, group, symmetric, codes, scales, zeros }, cancel);
        (out, result)
    }

    fn twin(c: Case, weights: &[f32], importance: &[f32]) -> Self {
        let groups = weights.len() / c.group;
        let mut out = Self::space(weights.len(), groups);
        let (codes, scales, zeros) = (&mut out.codes[..weights.len()], &mut out.scales[..groups], &mut out.zeros[..groups]);
        quantize(weights, c.columns, importance, Scheme { bits: c.bits, group: c.group, symmetric: c.symmetric }, codes, scales, zeros);
        out
    }

    /// Where the two differ, guards included.
    fn difference(&self, other: &Self) -> Option<String> {
        let scale = self.scales.iter().zip(&other.scales).position(|(a, b)| a.to_bits() != b.to_bits());
        let zero = self.zeros.iter().zip(&other.zeros).position(|(a, b)| a != b);
        let code = self.codes.iter().zip(&other.codes).position(|(a, b)| a != b);
        let scale = scale.map(|at| format!("scale {at}: {:e} {:e}", self.scales[at], other.scales[at]));
        let zero = zero.map(|at| format!("zero point {at}: {} {}", self.zeros[at], other.zeros[at]));
        scale.or(zero).or(code.map(|at| format!("code {at}: {} {}", self.codes[at], other.codes[at])))
    }
}

#[test]
fn group_quantize_gives_the_same_integers_on_every_device() {
    for (seed, &c) in (100..).step_by(10).zip(CASES) {
        let weights = hostile_weights(c.rows, c.columns, seed);
        let importance = if c.weighted { hostile_importances(c.columns, seed + 1) } else { Vec::new() };
        let twin = Quantized::twin(c, &weights, &importance);
        for device in devices() {
            let name = &device.capabilities().name;
            let (got, result) = Quantized::on(device, c, &weights, &importance, &CancelToken::default());
            result.unwrap_or_else(|e| panic!("{c:?} on {name}: {e}"));
            assert_eq!(twin.difference(&got), None, "{c:?} on {name}");
            // Negative controls: one element of each output, and a guard.
            let end = weights.len();
            let spoils: [fn(&mut Quantized, usize); 4] = [
                |q, end| q.codes[end - 1] ^= 1,
                |q, _| q.scales[0] = f32::from_bits(q.scales[0].to_bits() ^ 1),
                |q, _| q.zeros[0] ^= 1,
                |q, end| q.codes[end] = 0,
            ];
            for (which, spoil) in spoils.iter().enumerate() {
                let mut spoiled = got.clone();
                spoil(&mut spoiled, end);
                assert!(twin.difference(&spoiled).is_some(), "negative control {which} must be seen");
            }
        }
    }
}

/// Σ a·(ŵ − w)² of every group, in f64.
fn group_errors(c: Case, weights: &[f32], importance: &[f32], q: &Quantized) -> Vec<f64> {
    let groups = weights.chunks_exact(c.group).zip(q.codes.chunks_exact(c.group)).enumerate();
    let error = |(index, (weights, codes)): (usize, (&[f32], &[u8]))| {
        let first = index % (c.columns / c.group) * c.group;
        let mut values = vec![0.0; c.group];
        dequantize_group(codes, Grid { scale: q.scales[index], zero: q.zeros[index] }, &mut values);
        let terms = weights.iter().zip(&values).enumerate();
        terms.map(|(i, (&w, &v))| importance.get(first + i).map_or(1.0, |&a| f64::from(a)) * (f64::from(v) - f64::from(w)).powi(2)).sum()
    };
    groups.map(error).collect()
}

/// The same of plain min–max rounding.
fn min_max_errors(c: Case, weights: &[f32], importance: &[f32]) -> Vec<f64> {
    let levels = f64::from((1 << c.bits) - 1);
    let error = |(index, group): (usize, &[f32])| {
        let first = index % (c.columns / c.group) * c.group;
        let (mut low, mut high) = group.iter().fold((0.0f64, 0.0f64), |(l, h), &w| (l.min(w.into()), h.max(w.into())));
        if c.symmetric {
            high = high.max(-low);
            low = -high;
        }
        let scale = half::f16::from_f64((high - low) / levels).to_f64();
        let zero = if c.symmetric { (levels + 1.0) / 2.0 } else { (-low / ((high - low) / levels)).round().clamp(0.0, levels) };
        let terms = group.iter().enumerate().map(|(i, &w)| {
            let value = ((f64::from(w) / scale + zero).round().clamp(0.0, levels) - zero) * scale;
            importance.get(first + i).map_or(1.0, |&a| f64::from(a)) * (value - f64::from(w)).powi(2)
        });
        terms.sum()
    };
    weights.chunks_exact(c.group).enumerate().map(error).collect()
}

#[test]
fn the_search_is_never_worse_than_min_max_rounding_and_gains_where_levels_are_few() {
    for symmetric in [true, false] {
        // Error that may be left, of min–max rounding's, for 2, 3 … 8 bits.
        for (bits, left) in (2..).zip([0.5, 0.8, 0.9, 0.96, 0.97, 0.97, 0.97]) {
            let c = case(64, 512, 128, bits, symmetric, true);
            let weights = normal(c.rows * c.columns, 7);
            let importance: Vec<f32> = (0..c.columns).map(|i| 0.05 + (i % 13) as f32 / 3.0).collect();
            let found = group_errors(c, &weights, &importance, &Quantized::twin(c, &weights, &importance));
            let plain = min_max_errors(c, &weights, &importance);
            // The search rounds residuals to 2⁻¹⁰ of a step.
            let worst = found.iter().zip(&plain).map(|(f, p)| f / p).fold(0.0, f64::max);
            assert!(worst <= 1.001, "{c:?}: {worst} of min–max in the worst group");
            let of_all = found.iter().sum::<f64>() / plain.iter().sum::<f64>();
            assert!(of_all < left, "{c:?}: {of_all} of min–max in all, below {left} wanted");
        }
    }
}

#[test]
fn importance_moves_error_away_from_the_columns_that_matter() {
    let c = case(32, 128, 128, 3, true, true);
    let weights = normal(c.rows * c.columns, 8);
    let importance: Vec<f32> = (0..c.columns).map(|i| if i % 8 == 0 { 100.0 } else { 1.0 }).collect();
    let sum = |q: &Quantized| group_errors(c, &weights, &importance, q).iter().sum::<f64>();
    let (weighted, blind) = (sum(&Quantized::twin(c, &weights, &importance)), sum(&Quantized::twin(c, &weights, &[])));
    assert!(weighted < 0.95 * blind, "{weighted} against {blind}");
    assert_eq!(Quantized::twin(c, &weights, &vec![1.0; c.columns]), Quantized::twin(c, &weights, &[]), "no importance is that of ones");
}

#[test]
fn error_falls_with_bits_and_scales_are_f16() {
    for symmetric in [true, false] {
        let mut last = f64::INFINITY;
        for bits in 2..=8 {
            let c = case(64, 256, 64, bits, symmetric, false);
            let weights = normal(c.rows * c.columns, 9);
            let q = Quantized::twin(c, &weights, &[]);
            let error: f64 = group_errors(c, &weights, &[], &q).iter().sum();
            assert!(error < 0.5 * last, "{c:?}: {error} after {last}");
            last = error;
            let groups = weights.len() / c.group;
            assert!(q.scales[..groups].iter().all(|&s| half::f16::from_f32(s).to_f32() == s && s > 0.0), "f16 scales: {c:?}");
            assert!(q.codes[..weights.len()].iter().all(|&code| u32::from(code) < 1 << bits), "codes in range: {c:?}");
        }
    }
}

#[test]
fn codes_are_the_nearest_for_the_stored_grid() {
    let c = case(33, 192, 96, 4, false, true);
    let weights = normal(c.rows * c.columns, 10);
    let q = Quantized::twin(c, &weights, &hostile_importances(c.columns, 3));
    for (index, group) in weights.chunks_exact(c.group).enumerate() {
        let (scale, zero) = (f64::from(q.scales[index]), f64::from(q.zeros[index]));
        for (&w, &code) in group.iter().zip(&q.codes[index * c.group..]) {
            let distance = |code: u8| ((f64::from(code) - zero) * scale - f64::from(w)).abs();
            let best = (0..16).map(distance).fold(f64::INFINITY, f64::min);
            assert!(distance(code) <= best + scale * 2f64.powi(-20), "group {index}: code {code} for {w}");
        }
    }
}

#[test]
fn zero_groups_stay_zero_and_integer_grids_are_found_again() {
    let c = case(2, 64, 32, 4, true, false);
    let mut weights = vec![0.0; 128];
    weights[32..].iter_mut().zip((-8i8..8).cycle()).for_each(|(w, q)| *w = f32::from(q) * 0.125);
    weights[96..].iter_mut().zip((-7i8..8).cycle()).for_each(|(w, q)| *w = f32::from(q) * 0.3125);
    let q = Quantized::twin(c, &weights, &[]);
    assert_eq!(group_errors(c, &weights, &[], &q), [0.0; 4], "zeros and both kinds of grid are exact");
    assert_eq!((q.scales[0], q.zeros[0], q.codes[0]), (0.0, 8, 8), "a zero group has scale 0 and codes at the zero point");
}

/// The least error of a group over a thousand scales and nine zero points.
fn exhaustive(group: &[f32], bits: u32, symmetric: bool) -> f64 {
    let levels = f64::from((1u32 << bits) - 1);
    let (low, high) = group.iter().fold((0.0f64, 0.0f64), |(l, h), &w| (l.min(w.into()), h.max(w.into())));
    let range = if symmetric { 2.0 * high.max(-low) } else { high - low };
    let middle = if symmetric { (levels + 1.0) / 2.0 } else { (-low / range * levels).round() };
    let shifts = if symmetric { 0..=0 } else { -4..=4 };
    let zeros = shifts.map(|shift| middle + f64::from(shift)).filter(|zero| (0.0..=levels).contains(zero));
    let error = |zero: f64, k: i32| -> f64 {
        let scale = half::f16::from_f64(range / levels * f64::from(k) / 1000.0).to_f64();
        let value = |w: f64| ((w / scale + zero).round().clamp(0.0, levels) - zero) * scale;
        group.iter().map(|&w| (value(w.into()) - f64::from(w)).powi(2)).sum()
    };
    zeros.flat_map(|zero| (200..1200).map(move |k| (zero, k))).map(|(zero, k)| error(zero, k)).fold(f64::INFINITY, f64::min)
}

#[test]
fn the_search_comes_near_an_exhaustive_one() {
    for (bits, symmetric, within) in [(2, true, 1.005), (4, true, 1.005), (8, true, 1.1), (2, false, 1.02), (3, false, 1.03), (4, false, 1.02)] {
        let c = case(8, 128, 128, bits, symmetric, false);
        let weights = normal(c.rows * c.columns, 13);
        let found: f64 = group_errors(c, &weights, &[], &Quantized::twin(c, &weights, &[])).iter().sum();
        let least: f64 = weights.chunks_exact(c.group).map(|group| exhaustive(group, bits, symmetric)).sum();
        assert!(found <= within * least, "{c:?}: {} of the least error", found / least);
    }
}
