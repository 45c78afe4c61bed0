//! How much error feedback gains: tr(ΔHΔᵀ) of every linear of a model relative to nearest rounding with min–max scales, mean over the
//! linears, for each rounder and format, and the seconds of all of them. Formats without levels (IQ1 to IQ3) are relative to nearest with the
//! format's own search.
//!
//! `cargo bench --workspace --profile dev --features xtask/train --bench rounding -- MODEL CALIBRATION [every N-th linear] [FORMAT,FORMAT]`
//!
//! Without a model: seconds of GPTQ INT4-g128 of one linear with H given, factorization included, and its operations (n³/3 for the factor,
//! m·n² for the feedback, multiply and add counted as two) a second.

#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use halftone_core::calibrate::Calibration;
use halftone_core::codec::{Codebook, Format};
use halftone_core::report::Reporter;
use halftone_core::round::{Evidence, Hessian, Inputs, ROUNDERS};
use halftone_core::source;
use rayon::prelude::*;
use std::path::Path;
use std::time::Instant;

const FORMATS: &[&str] = &[
    "IQ1_M",
    "IQ2_XXS",
    "IQ2_S",
    "IQ3_XXS",
    "IQ3_S",
    "INT2-g32",
    "INT3-g32",
    "INT4-g32",
    "INT2-g128",
    "INT3-g128",
    "INT4-g128",
    "Q2_K",
    "Q3_K",
    "Q4_0",
    "Q4_1",
    "Q4_K",
    "IQ4_NL",
    "Q5_0",
    "Q6_K",
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let [path, calibration, rest @ ..] = args.as_slice() else {
        [(576, 1536), (2048, 2048), (4096, 4096), (5120, 5120)].into_iter().for_each(|(m, n)| one_linear(m, n));
        return;
    };
    let every: usize = rest.first().and_then(|n| n.parse().ok()).unwrap_or(1);
    let model = source::open(Path::new(path), &Reporter::default()).expect("a model");
    let calibration = Calibration::load(Path::new(calibration)).expect("a calibration");
    let linears: Vec<usize> = (0..model.tensors.len()).filter(|&i| model.tensors[i].quantizable() && model.tensors[i].block.is_some()).step_by(every).collect();
    print!("{:10}", "");
    ROUNDERS.iter().for_each(|r| print!("{:>22}", r.name()));
    println!("   (ratio to min–max, seconds; {} linears)", linears.len());
    let formats: Vec<&str> = rest.get(1).map_or_else(|| FORMATS.to_vec(), |list| list.split(',').collect());
    for format in formats.iter().map(|f| f.parse::<Format>().expect("a format")) {
        let mut sums = vec![(0.0f64, 0.0f64); ROUNDERS.len()];
        let mut count = 0;
        let inputs = Inputs::new(Some(&calibration));
        for &index in &linears {
            let entry = &model.tensors[index];
            let columns = entry.columns();
            let Some(hessian) = inputs.hessian(&entry.name, columns).expect("a square matrix").filter(|_| format.fits(columns)) else { continue };
            let weights = model.view(index).to_f32().expect("weights");
            let importance = inputs.importance(&entry.name, columns);
            let evidence = Evidence { importance: importance.as_deref(), hessian: Some(&hessian), cross: None, gpu: None, cancel: None };
            let _ = hessian.factor();
            let plain = match format.codebook() {
                Some(Codebook::Octets) | None => {
                    let mut decoded = vec![0.0; weights.len()];
                    format.decode(&format.encode(&weights, columns, evidence.importance).expect("encoding"), &mut decoded);
                    objective(&weights, &decoded, columns, hessian.values())
                }
                Some(_) => objective(&weights, &min_max(format, &weights), columns, hessian.values()),
            };
            count += 1;
            for (sum, rounder) in sums.iter_mut().zip(ROUNDERS) {
                let start = Instant::now();
                let bytes = rounder.round(&weights, columns, format, evidence).expect("rounding").bytes;
                sum.1 += start.elapsed().as_secs_f64();
                let mut decoded = vec![0.0; weights.len()];
                format.decode(&bytes, &mut decoded);
                sum.0 += objective(&weights, &decoded, columns, hessian.values()) / plain;
            }
        }
        print!("{:10}", format.to_string());
        sums.iter().for_each(|(ratio, seconds)| print!("{:>14.4}{:>8.2}", ratio / f64::from(count.max(1)), seconds));
        println!();
    }
}

fn one_linear(m: usize, n: usize) {
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    let weights: Vec<f32> = (0..m * n).map(|_| random() * random() * 0.1).collect();
    // Channels of falling size and neighbours that resemble each other.
    let size = |i: usize| 1.0 / (1.0 + 9.0 * i as f32 / n as f32);
    let gram: Vec<f32> = (0..n * n).map(|i| size(i / n) * size(i % n) * 0.9f32.powi((i / n).abs_diff(i % n) as i32)).collect();
    let format: Format = "INT4-g128".parse().expect("a format");
    for rounder in ROUNDERS.iter().filter(|r| r.uses_hessian()) {
        let hessian = Hessian::new(&gram, n, 1).expect("a square matrix");
        let start = Instant::now();
        let damping = hessian.factor().expect("positive definite").damping;
        let factored = start.elapsed().as_secs_f64();
        rounder.round(&weights, n, format, Evidence { importance: None, hessian: Some(&hessian), cross: None, gpu: None, cancel: None }).expect("rounding");
        let seconds = start.elapsed().as_secs_f64();
        let operations = 2.0 * (n * n) as f64 * (n as f64 / 6.0 + m as f64 / 2.0);
        println!(
            "{m} x {n} {:14} {seconds:7.2} s, of it the factor {factored:.2} s (damping {damping}); {:.0} GFLOP/s",
            rounder.name(),
            operations / seconds / 1e9
        );
    }
}

/// tr(ΔHΔᵀ).
fn objective(weights: &[f32], decoded: &[f32], columns: usize, h: &[f32]) -> f64 {
    let rows = weights.par_chunks(columns).zip(decoded.par_chunks(columns));
    rows.map(|(w, d)| {
        let delta: Vec<f32> = d.iter().zip(w).map(|(d, w)| d - w).collect();
        let power = |i: usize| f64::from(delta[i]) * h[i * columns..][..columns].iter().zip(&delta).map(|(h, d)| h * d).sum::<f32>() as f64;
        (0..columns).map(power).sum::<f64>()
    })
    .sum()
}

/// Nearest with min–max scales over groups as long as the format's blocks (sub-blocks of 16 or 32 for super-blocks), unrounded scales.
fn min_max(format: Format, weights: &[f32]) -> Vec<f32> {
    let group = match format.to_string().as_str() {
        "Q2_K" | "Q3_K" | "Q6_K" => 16,
        "Q4_K" => 32,
        _ => format.block_columns(),
    };
    let (affine, levels) = match (format, format.codebook()) {
        (Format::Int(int), _) => (!int.symmetric, f32::from(int.top())),
        (_, Some(Codebook::Integers(low, high))) => (low == 0, f32::from(high - low)),
        _ => (false, 15.0),
    };
    let mut out = vec![0.0; weights.len()];
    for (out, x) in out.chunks_mut(group).zip(weights.chunks(group)) {
        let (low, high) = x.iter().fold((0.0f32, 0.0f32), |(l, h), &x| (l.min(x), h.max(x)));
        let (scale, zero) = if affine {
            ((high - low) / levels, (-low / ((high - low) / levels)).round())
        } else {
            (high.max(-low) / ((levels / 2.0).floor()), ((levels + 1.0) / 2.0).floor())
        };
        for (out, x) in out.iter_mut().zip(x) {
            *out = if scale > 0.0 { ((x / scale + zero).round().clamp(0.0, levels) - zero) * scale } else { 0.0 };
        }
    }
    out
}
