//! The two kernels of error feedback against their twins, and whole tensors against the CPU's sweeps.

use super::{cramped, gpu, normal};
use bytemuck::{bytes_of, cast_slice};
use halftone_core::codec::Format;
use halftone_core::compute::gpu::Gpu;
use halftone_core::compute::gpu::Operand;
use halftone_core::round::{Evidence, Hessian, rounder};
use halftone_shaders::Kernel;
use halftone_shaders::twin::feedback_columns::{self, Panel, feedback_columns};
use halftone_shaders::twin::feedback_product::{self, TOLERANCE, feedback_product};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[test]
fn the_product_of_a_panel_is_within_its_tolerance() {
    for (rows, columns, first, width, skip, accumulate) in
        [(33, 96, 32, 32, 32..64, 0), (70, 128, 0, 64, 0..64, 1), (1, 40, 8, 8, 0..0, 0), (130, 64, 32, 32, 0..0, 1)]
    {
        let params = feedback_product::Params {
            rows,
            columns,
            first,
            width,
            begin: 3,
            end: columns - 1,
            skip_begin: skip.start,
            skip_end: skip.end,
            accumulate,
            ..Default::default()
        };
        let (matrix, delta) = (normal((columns * columns) as usize, 1), normal((columns * rows) as usize, 2));
        let before = normal((width * rows) as usize, 3);
        let mut want = before.clone();
        feedback_product(&params, &matrix, &delta, &mut want);
        let mut sizes = before.clone();
        let absolute = |values: &[f32]| values.iter().map(|v| v.abs()).collect::<Vec<_>>();
        sizes.iter_mut().for_each(|v| *v = v.abs());
        feedback_product(&params, &absolute(&matrix), &absolute(&delta), &mut sizes);
        let operands = [Operand::Input(cast_slice(&matrix)), Operand::Input(cast_slice(&delta)), Operand::Changed(cast_slice(&before))];
        let workgroups = [rows.div_ceil(32), width.div_ceil(32), 1];
        let outputs = gpu().run_once(Kernel::FeedbackProduct, bytes_of(&params), &operands, workgroups).expect("product");
        let mut got = floats(&outputs[0]);
        let worst =
            |got: &[f32]| want.iter().zip(got).zip(&sizes).map(|((w, g), size)| f64::from((w - g).abs()) / (TOLERANCE * f64::from(*size))).fold(0.0, f64::max);
        assert!(worst(&got) <= 1.0, "{params:?}: {} tolerances", worst(&got));
        got[want.len() - 1] += 1e-3 * sizes[want.len() - 1];
        assert!(worst(&got) > 1.0, "a changed value must be seen");
    }
}

#[test]
fn columns_are_rounded_to_the_same_levels_where_arithmetic_is_exact() {
    // Small integers: every product and sum is exact, whatever the order; positions end in halves, quarters and eighths, never on an edge.
    let mut random = ChaCha8Rng::seed_from_u64(5);
    for (low, levels, (rows, columns, line, width)) in [
        (-8.0f32, Vec::new(), (97u32, 64u32, 8u32, 32u32)),
        (1.0, vec![-9.0f32, -4.0, -1.0, 0.0, 2.0, 7.0], (40, 40, 0, 40)),
        (0.0, Vec::new(), (65, 256, 0, 256)),
    ] {
        let cells = (columns * rows) as usize;
        let matrix: Vec<f32> = (0..columns * columns).map(|i| if (i / columns) < (i % columns) { random.random_range(-2..=2) as f32 } else { 0.0 }).collect();
        let weights: Vec<f32> = (0..cells).map(|_| random.random_range(-40..=40) as f32 + 0.25).collect();
        let scales: Vec<f32> = (0..cells).map(|_| [0.0, 1.0, 2.0, 4.0][random.random_range(0..4)]).collect();
        let offsets: Vec<f32> = (0..cells).map(|_| random.random_range(-3..=3) as f32).collect();
        let corrections: Vec<f32> = (0..(width * rows) as usize).map(|_| random.random_range(-9..=9) as f32).collect();
        let params = feedback_columns::Params { rows, columns, first: line, line, width, levels: if levels.is_empty() { 16 } else { 6 }, low, padding: 0 };
        let (mut delta, mut indices) = (vec![0.0f32; cells], vec![7u32; cells]);
        let panel = Panel {
            matrix: &matrix,
            corrections: &corrections,
            weights: &weights,
            scales: &scales,
            offsets: &offsets,
            levels: &levels,
            delta: &mut delta,
            indices: &mut indices,
        };
        feedback_columns(&params, panel);
        let (zeros, sevens) = (vec![0.0f32; cells], vec![7u32; cells]);
        let inputs = [&matrix, &corrections, &weights, &scales, &offsets, &levels].map(|values| Operand::Input(cast_slice(values)));
        let operands: Vec<Operand<'_>> = inputs.into_iter().chain([Operand::Changed(cast_slice(&zeros)), Operand::Changed(cast_slice(&sevens))]).collect();
        let outputs = gpu().run_once(Kernel::FeedbackColumns, bytes_of(&params), &operands, [rows.div_ceil(64), 1, 1]).expect("columns");
        let got: &[u32] = cast_slice(&outputs[1]);
        assert_eq!(floats(&outputs[0])[..cells], delta, "errors");
        assert_eq!(got[..cells], indices, "levels");
        assert!(indices.iter().any(|i| *i != 7 && *i > 0), "levels differ");
    }
}

/// Inputs with strong correlations.
fn layer(rows: usize, columns: usize) -> (Vec<f32>, Hessian) {
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let common: Vec<f32> = (0..4 * columns).map(|_| random.random_range(-1.0..1.0)).collect();
    let tokens = 2 * columns;
    let mut gram = vec![0.0f32; columns * columns];
    for _ in 0..tokens {
        let parts: [f32; 4] = std::array::from_fn(|_| random.random_range(-1.0..1.0));
        let x: Vec<f32> =
            (0..columns).map(|j| 0.3 * random.random_range(-1.0f32..1.0) + (0..4).map(|p| parts[p] * common[p * columns + j]).sum::<f32>()).collect();
        for (i, line) in gram.chunks_exact_mut(columns).enumerate() {
            line.iter_mut().zip(&x).for_each(|(sum, v)| *sum += x[i] * v);
        }
    }
    (normal(rows * columns, 10), Hessian::new(&gram, columns, tokens as u64).expect("square"))
}

/// tr(ΔHΔᵀ).
fn objective(weights: &[f32], decoded: &[f32], columns: usize, hessian: &Hessian) -> f64 {
    let rows = weights.chunks_exact(columns).zip(decoded.chunks_exact(columns));
    rows.map(|(w, d)| {
        let delta: Vec<f64> = w.iter().zip(d).map(|(w, d)| f64::from(d - w)).collect();
        let lines = hessian.values().chunks_exact(columns).zip(&delta);
        lines.map(|(line, di)| di * line.iter().zip(&delta).map(|(h, dj)| f64::from(*h) * dj).sum::<f64>()).sum::<f64>()
    })
    .sum()
}

#[test]
fn error_feedback_on_the_gpu_is_as_good_as_on_the_cpu_and_nearly_the_same() {
    const COLUMNS: usize = 512;
    let (weights, hessian) = layer(24, COLUMNS);
    for (name, rounding) in [
        ("INT4-g128", "gptq"),
        ("Q4_0", "gptq+descent"),
        ("Q4_K", "gptq+descent"),
        ("IQ4_NL", "gptq"),
        ("Q3_K", "gptq"),
        ("FP8-E4M3-g128", "gptq"),
        ("MXFP4", "gptq+descent"),
    ] {
        let format: Format = name.parse().expect("format");
        let round = |gpu| {
            let evidence = Evidence { hessian: Some(&hessian), gpu, ..Evidence::default() };
            let rounded = rounder(rounding).expect("rounder").round(&weights, COLUMNS, format, evidence).expect("rounding");
            assert_eq!(rounded.device.as_deref(), gpu.map(Gpu::name), "{name} {rounding}: who did it");
            let mut decoded = vec![0.0; weights.len()];
            format.decode(&rounded.bytes, &mut decoded);
            decoded
        };
        let (cpu, device) = (round(None), round(Some(gpu())));
        let nearest = {
            let mut decoded = vec![0.0; weights.len()];
            format.decode(&format.encode(&weights, COLUMNS, None).expect("encode"), &mut decoded);
            decoded
        };
        let [cpu_error, device_error, nearest_error] = [&cpu, &device, &nearest].map(|d| objective(&weights, d, COLUMNS, &hessian));
        assert!((device_error / cpu_error - 1.0).abs() < 0.01, "{name} {rounding}: {device_error} against {cpu_error}");
        assert!(device_error < 0.9 * nearest_error, "{name} {rounding}: {device_error}, nearest {nearest_error}");
        let equal = cpu.iter().zip(&device).filter(|(a, b)| a == b).count() as f64 / cpu.len() as f64;
        assert!(equal > 0.97, "{name} {rounding}: {equal} of the weights are equal");
    }
}

#[test]
fn tensors_that_do_not_fit_a_binding_are_rounded_in_slabs_of_columns_and_tiles_of_rows() {
    const COLUMNS: usize = 512;
    // 256 columns of H, 512 rows of weights.
    let (weights, hessian, small) = (normal(520 * COLUMNS, 11), layer(1, COLUMNS).1, cramped(512 << 10));
    let format: Format = "INT4-g128".parse().expect("format");
    let round = |gpu| {
        let evidence = Evidence { hessian: Some(&hessian), gpu: Some(gpu), ..Evidence::default() };
        let bytes = rounder("gptq+descent").expect("rounder").round(&weights, COLUMNS, format, evidence).expect("rounding").bytes;
        let mut decoded = vec![0.0; weights.len()];
        format.decode(&bytes, &mut decoded);
        decoded
    };
    let (whole, cut) = (round(gpu()), round(&small));
    assert!(small.used().iter().any(|used| used.kernel == "encode_groups" && used.calls > 0), "scales are searched there too");
    let equal = whole.iter().zip(&cut).filter(|(a, b)| a == b).count() as f64 / whole.len() as f64;
    assert!(equal > 0.99, "{equal} of the weights are equal");
    for rows in [0..512, 512..520] {
        let part = rows.start * COLUMNS..rows.end * COLUMNS;
        let [want, got] = [&whole, &cut].map(|decoded| objective(&weights[part.clone()], &decoded[part.clone()], COLUMNS, &hessian));
        assert!((got / want - 1.0).abs() < 0.01, "rows {rows:?}: {got} against {want}");
    }
}
