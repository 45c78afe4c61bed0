//! What every format of every family promises.

use super::Format;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const COLUMNS: usize = 1024;
const ROWS: usize = 3;

/// One of each kind.
const FORMATS: &[&str] = &[
    "INT2-g32",
    "INT3-g64-asym",
    "INT4-channel",
    "INT5-channel-asym",
    "INT6-tensor",
    "INT8-tensor-asym",
    "FP8-E4M3-g128",
    "FP8-E4M3-channel",
    "FP8-E5M2-tensor",
    "FP6-E3M2-g32",
    "FP6-E2M3-channel",
    "FP4-g16",
    "MXFP8-E4M3",
    "MXFP8-E5M2",
    "MXFP6-E3M2",
    "MXFP6-E2M3",
    "NVFP4-global",
    "NF4-g64",
    "ANY2-g32",
    "ANY3-g64-tensor",
    "ANY4-g128",
    "TRIT2-g64",
    "TRIT2-g128",
];

fn format(name: &str) -> Format {
    name.parse().expect("a known format")
}

/// Heavy-tailed weights and importances over four orders of magnitude.
fn sample(seed: u64) -> (Vec<f32>, Vec<f32>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let weights = (0..ROWS * COLUMNS).map(|_| 0.1 * rng.random_range(-1.0f32..1.0).powi(3)).collect();
    let importance = (0..COLUMNS).map(|_| 10f32.powf(rng.random_range(-2.0..2.0))).collect();
    (weights, importance)
}

fn decoded(format: Format, weights: &[f32], importance: Option<&[f32]>) -> Vec<f32> {
    let bytes = format.encode(weights, COLUMNS, importance).expect("encode");
    assert_eq!(bytes.len() as u64, format.tensor_bytes(weights.len() / COLUMNS, COLUMNS), "bytes of {format}");
    let mut values = vec![f32::NAN; weights.len()];
    format.decode(&bytes, &mut values);
    let mut row = vec![f32::NAN; COLUMNS];
    for (i, want) in values.chunks_exact(COLUMNS).enumerate() {
        format.decode_rows(&bytes, COLUMNS, i, &mut row);
        assert_eq!(row, want, "{format}: row {i} alone");
    }
    values
}

fn error(weights: &[f32], values: &[f32], importance: Option<&[f32]>) -> f64 {
    let importance = |i: usize| importance.map_or(1.0, |w| f64::from(w[i % COLUMNS]));
    weights.iter().zip(values).enumerate().map(|(i, (w, v))| importance(i) * f64::from(v - w).powi(2)).sum()
}

#[test]
fn names_are_read_back_and_nonsense_is_not() {
    for name in FORMATS {
        assert_eq!(format(name).to_string(), *name);
        assert_eq!(format(&name.to_lowercase()), format(name), "{name}");
    }
    for bits in 2..=8 {
        for scope in ["g8", "g128", "channel", "tensor"] {
            for suffix in ["", "-asym"] {
                let name = format!("INT{bits}-{scope}{suffix}");
                assert_eq!(format(&name).to_string(), name);
            }
        }
    }
    for nonsense in [
        "INT1-g32",
        "INT9-g32",
        "INT4",
        "INT4-g12",
        "INT4-g0",
        "INT4-row",
        "INT4-g32-sym",
        "FP8-g32",
        "FP8-E4M3",
        "MXFP6",
        "NF4",
        "NF4-tensor",
        "ANY5-g64",
        "ANY4-channel",
        "TRIT2",
        "TRIT1-g64",
    ] {
        assert!(nonsense.parse::<Format>().is_err(), "{nonsense}");
    }
}

#[test]
fn bytes_are_those_of_codes_and_scales() {
    for (name, bytes) in [
        ("INT4-g128", 2 * 4096 / 2 + 2 * 32 * 2),
        ("INT3-g64-asym", 2 * 4096 * 3 / 8 + 2 * 64 * 3),
        ("INT4-channel", 2 * (4096 / 2 + 4)),
        ("INT5-channel-asym", 2 * (4096 * 5 / 8 + 5)),
        ("INT8-tensor-asym", 2 * 4096 + 5),
        ("FP8-E4M3-channel", 2 * (4096 + 4)),
        ("FP8-E5M2-tensor", 2 * 4096 + 4),
        ("FP6-E2M3-g32", 2 * 128 * (24 + 2)),
        ("MXFP8-E4M3", 2 * 128 * 33),
        ("MXFP6-E3M2", 2 * 128 * 25),
        ("NVFP4-global", 4 + 2 * 64 * 36),
        ("NF4-g64", 2 * 64 * 34),
        ("ANY4-g128", 2 * (32 + 32 * 66)),
        ("ANY3-g64-tensor", 16 + 2 * 64 * 26),
        ("TRIT2-g128", 2 * 32 * (4 + 2 * 26)),
    ] {
        assert_eq!(format(name).tensor_bytes(2, 4096), bytes as u64, "{name}");
    }
}

#[test]
fn error_falls_where_bits_or_freedom_grow() {
    for names in [
        &["INT2-channel", "INT4-channel", "INT8-channel"][..],
        &["INT4-tensor", "INT4-channel", "INT4-g128", "INT4-g32"],
        &["INT4-tensor-asym", "INT4-channel-asym", "INT4-g128-asym", "INT4-g32-asym"],
        &["FP4-tensor", "FP4-channel", "FP4-g64", "FP6-E2M3-g64", "FP8-E4M3-g64"],
        &["FP6-E3M2-g64", "FP6-E2M3-g64"],
        &["FP8-E5M2-channel", "FP8-E4M3-channel"],
        &["MXFP4", "MXFP6-E3M2", "MXFP6-E2M3"],
        &["MXFP4", "MXFP8-E5M2", "MXFP8-E4M3"],
        &["NVFP4", "NVFP4-global"],
        &["ANY2-g64", "ANY3-g64", "ANY4-g64"],
        &["NF4-g64", "ANY4-g64-tensor"],
        &["NF4-g64", "ANY4-g64"],
        &["INT3-g64-asym", "TRIT2-g64", "INT4-g64-asym"],
    ] {
        for seed in 0..3 {
            let (weights, importance) = sample(seed);
            for importance in [None, Some(&importance[..])] {
                let errors: Vec<f64> = names.iter().map(|n| error(&weights, &decoded(format(n), &weights, importance), importance)).collect();
                assert!(errors.is_sorted_by(|a, b| a > b), "seed {seed}, importances {}, {names:?}: {errors:?}", importance.is_some());
            }
        }
    }
}

/// The largest magnitude of each piece becomes the largest level, scales as they are stored.
#[test]
fn no_piece_is_worse_than_plain_scaling() {
    use super::Element;
    use halftone_shaders::twin::encode_floats::ToFloat;
    let half = |v: f32| half::f16::from_f32(v).to_f32();
    let power = |v: f32| f32::from_bits(v.to_bits() & 0x7f80_0000);
    let cases: &[(&str, usize, Element, &dyn Fn(f32, Element) -> f32)] = &[
        ("FP8-E4M3-g128", 128, Element::E4M3, &|m, e| half(m / e.top() * power(e.top())) / power(e.top())),
        ("FP8-E5M2-channel", COLUMNS, Element::E5M2, &|m, e| m / e.top()),
        ("FP6-E3M2-g32", 32, Element::E3M2, &|m, e| half(m / e.top() * power(e.top())) / power(e.top())),
        ("FP6-E2M3-tensor", ROWS * COLUMNS, Element::E2M3, &|m, e| m / e.top()),
        ("FP4-g16", 16, Element::E2M1, &|m, e| half(m / e.top() * power(e.top())) / power(e.top())),
        ("MXFP8-E4M3", 32, Element::E4M3, &|m, e| power(m) / power(e.top())),
        ("MXFP8-E5M2", 32, Element::E5M2, &|m, e| power(m) / power(e.top())),
        ("MXFP6-E3M2", 32, Element::E3M2, &|m, e| power(m) / power(e.top())),
        ("MXFP6-E2M3", 32, Element::E2M3, &|m, e| power(m) / power(e.top())),
    ];
    for &(name, piece, element, scale) in cases {
        for seed in 0..4 {
            let (weights, importance) = sample(seed);
            for importance in [None, Some(&importance[..])] {
                let values = decoded(format(name), &weights, importance);
                for from in (0..weights.len()).step_by(piece) {
                    let x = &weights[from..from + piece];
                    let importance: Option<Vec<f32>> = importance.map(|w| (from..from + piece).map(|i| w[i % COLUMNS]).collect());
                    let weight = |i: usize| importance.as_ref().map_or(1.0, |w| f64::from(w[i]));
                    let s = scale(x.iter().fold(0.0, |m, v| m.max(v.abs())), element);
                    let rounding: ToFloat = element.rounding();
                    let sum = |value: &dyn Fn(usize) -> f32| (0..piece).map(|i| weight(i) * f64::from(value(i) - x[i]).powi(2)).sum::<f64>();
                    let (ours, plain) = (sum(&|i| values[from + i]), sum(&|i| s * rounding.nearest(x[i] / s).0));
                    assert!(ours <= plain * 1.000_1, "{name} seed {seed} from {from}: {ours} against {plain}");
                }
            }
        }
    }
}

#[test]
fn zeros_are_exact_and_what_is_not_finite_counts_as_zero() {
    for name in FORMATS {
        let format = format(name);
        for importance in [None, Some(&[0.0; COLUMNS][..])] {
            let values = decoded(format, &[0.0; ROWS * COLUMNS], importance);
            assert!(values.iter().all(|v| v.to_bits() == 0), "{name}");
        }
        let (mut zeros, _) = sample(6);
        let mut hostile = zeros.clone();
        for (i, v) in [(3, f32::NAN), (500, f32::INFINITY), (2900, f32::NEG_INFINITY)] {
            (hostile[i], zeros[i]) = (v, 0.0);
        }
        assert_eq!(format.encode(&hostile, COLUMNS, None).expect("encode"), format.encode(&zeros, COLUMNS, None).expect("encode"), "{name}");
    }
}

#[test]
fn hostile_weights_give_finite_values() {
    let (mut weights, importance) = sample(5);
    for (i, v) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-40, -1e9, 65504.0].into_iter().enumerate() {
        weights[i * 97] = v;
    }
    for name in FORMATS {
        for scale in [1.0, 1e-30, 1e30, 1e-7] {
            let weights: Vec<f32> = weights.iter().map(|v| v * scale).collect();
            for importance in [None, Some(&importance[..]), Some(&[f32::NAN; COLUMNS][..]), Some(&[f32::MAX; COLUMNS][..]), Some(&[1e-44; COLUMNS][..])] {
                assert!(decoded(format(name), &weights, importance).iter().all(|v| v.is_finite()), "{name} × {scale}");
            }
        }
    }
}

#[test]
fn importances_make_the_weighted_error_less() {
    let (weights, importance) = sample(7);
    for name in FORMATS {
        let format = format(name);
        let of = |given: Option<&[f32]>| error(&weights, &decoded(format, &weights, given), Some(&importance));
        let (weighted, blind) = (of(Some(&importance)), of(None));
        // A power of two as scale leaves little to choose.
        let holds = if name.starts_with("MX") { weighted <= blind } else { weighted < blind };
        assert!(holds, "{name}: {weighted} with importances, {blind} without");
    }
}

/// Values that a format can hold come back: what was decoded is encoded again to nearly the same. (Learned levels are learned anew.)
#[test]
fn what_is_on_the_grid_stays_there() {
    for name in FORMATS.iter().filter(|n| !n.starts_with("ANY")) {
        let (weights, _) = sample(8);
        let once = decoded(format(name), &weights, None);
        let twice = decoded(format(name), &once, None);
        let (again, first) = (error(&once, &twice, None), error(&weights, &once, None));
        assert!(again <= 0.02 * first, "{name}: {again} lost again, {first} at first");
    }
}
