//! Rotations: butterflies against their twin, whole rotations against double precision, and a model that is rotated by a device.

use super::{cramped, devices, gpu, normal};
use bytemuck::{bytes_of, cast_slice};
use halftone_core::compute::gpu::{Fault, Gpu, Operand};
use halftone_core::compute::{Backend, DeviceChoice, KernelCall, backend};
use halftone_core::error::Error;
use halftone_core::export::write_model;
use halftone_core::job::{CancelToken, JobContext, JobEvent};
use halftone_core::report::{NoticeKind, Reporter};
use halftone_core::source::{self, Source};
use halftone_core::tensor::DType;
use halftone_core::transform::{Reach, Rotation, Transform};
use halftone_shaders::Kernel;
use halftone_shaders::twin::hadamard::{Params, TOLERANCE, hadamard, passes};
use halftone_tests::tiny_model;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The largest departure of a row, as a share of its length.
fn worst_row(want: &[f64], got: &[f32], size: usize) -> f64 {
    let length = |row: &mut dyn Iterator<Item = f64>| row.map(|v| v * v).sum::<f64>().sqrt();
    let rows = want.chunks_exact(size).zip(got.chunks_exact(size));
    let departure = |(want, got): (&[f64], &[f32])| {
        let off = length(&mut want.iter().zip(got).map(|(w, g)| w - f64::from(*g))) / length(&mut want.iter().copied());
        if off.is_nan() { f64::INFINITY } else { off }
    };
    rows.map(departure).fold(0.0, f64::max)
}

#[test]
fn passes_of_butterflies_are_their_twin() {
    // Lines in one tile, rows that fill one, lines of neighbours that cross their runs, and rows of several passes.
    for (length, stride, rows) in [(1, 7, 3), (2, 1, 5), (16, 36, 11), (4096, 1, 3), (8, 28, 37), (256, 43, 2), (1024, 28, 2), (8192, 1, 2), (32, 640, 1)] {
        let size = length * stride;
        let x = normal(rows * size, size as u64);
        let signs: Vec<f32> = (0..size).map(|i| if i * i % 7 < 3 { 1.0 } else { -1.0 }).collect();
        let mut want: Vec<f64> = x.iter().zip(signs.iter().cycle()).map(|(x, sign)| f64::from(x * sign)).collect();
        hadamard(&mut want, length, stride, 1.0 / (length as f64).sqrt());
        let plan = passes(length, stride);
        assert_eq!(plan.len(), usize::from(size > 4096 && (length > 4096 || length > 512 && stride > 1)) + 1, "{length} × {stride}");
        let through = |signs: &[f32]| {
            plan.iter().enumerate().fold(x.clone(), |x, (number, pass)| {
                let params = Params { count: x.len() as u32, signed: u32::from(number == 0), ..*pass };
                let workgroups = (x.len() as u32 / params.length).div_ceil(params.lines);
                let operands = [Operand::Input(cast_slice(signs)), Operand::Changed(cast_slice(&x))];
                let bytes = gpu().run_once(Kernel::Hadamard, bytes_of(&params), &operands, [workgroups, 1, 1]).unwrap().remove(0);
                bytes[..x.len() * 4].as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
            })
        };
        let worst = worst_row(&want, &through(&signs), size);
        println!("{length} × {stride}: {worst:.1e} of a row");
        assert!(worst <= TOLERANCE, "{length} × {stride}: {worst:e}");
        let mut one_other = signs;
        one_other[size / 2] *= -1.0;
        assert!(worst_row(&want, &through(&one_other), size) > TOLERANCE, "{length} × {stride}: a changed sign must be seen");
    }
}

/// x·R by R's definition: what the CPU's rotation makes of a row in f32, which differs from double precision by the last rounding alone.
fn rotated(rotation: &Rotation, rows: &[f32]) -> Vec<f64> {
    let mut turned = rows.to_vec();
    rotation.apply(&mut turned);
    turned.into_iter().map(f64::from).collect()
}

#[test]
fn every_device_turns_rows_as_double_precision_does() {
    let draws: [fn(usize, u64, u64) -> Rotation; 2] = [Rotation::new, Rotation::fixing_mean];
    // Powers of two, Paley's bases of 12 to 1020, random ones of 9 and 43, and rows longer than a tile.
    for size in [1, 9, 64, 96, 576, 640, 896, 1020, 2048, 8192, 11008, 14336, 28672] {
        for draw in draws {
            let rotation = draw(size, 3, 1);
            let rows = normal((6000 / size).clamp(2, 150) * size, size as u64);
            let want = rotated(&rotation, &rows);
            for device in devices() {
                let mut turned = vec![f32::NAN; rows.len()];
                device.run(KernelCall::Rotate { rotation: &rotation, rows: &rows, turned: &mut turned }, &CancelToken::default()).unwrap();
                let worst = worst_row(&want, &turned, size);
                println!("{size} ({}) on {}: {worst:.1e} of a row", rotation.describe(), device.capabilities().name);
                assert!(worst <= TOLERANCE, "{size} on {}: {worst:e}", device.capabilities().name);
                // What is left out: the signs of another draw.
                let other = rotated(&draw(size, 4, 1), &rows);
                assert!(size < 9 || worst_row(&other, &turned, size) > 0.1, "{size}: any rotation would pass");
                turned[size / 2] += 1e-3 * turned.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                assert!(worst_row(&want, &turned, size) > TOLERANCE, "{size}: a changed value must be seen");
            }
        }
    }
}

#[test]
fn a_row_is_the_same_bits_wherever_it_is_cut_from() {
    let small = cramped(1 << 18);
    for size in [64, 576] {
        let rotation = Rotation::new(size, 3, 1);
        let rows = normal((3 << 16) / size * size, 9);
        let on = |device: &Gpu| {
            let mut turned = vec![0.0; rows.len()];
            device.run(KernelCall::Rotate { rotation: &rotation, rows: &rows, turned: &mut turned }, &CancelToken::default()).unwrap();
            turned
        };
        let before = small.submits();
        assert_eq!(on(&small), on(gpu()), "{size}");
        assert!(small.submits() >= before + 3, "three tiles at least");
    }
}

#[test]
fn rows_that_do_not_fit_a_rotation_are_refused() {
    let rotation = Rotation::new(64, 1, 0);
    for device in devices() {
        for (rows, turned) in [(100, 100), (128, 64)] {
            let call = KernelCall::Rotate { rotation: &rotation, rows: &vec![0.0; rows], turned: &mut vec![0.0; turned] };
            assert!(matches!(device.run(call, &CancelToken::default()), Err(Error::Mismatch { .. })), "{rows} {turned}");
        }
    }
}

fn values(model: &Source, name: &str) -> Vec<f32> {
    model.view(model.find(name).unwrap()).to_f32().unwrap()
}

#[test]
fn a_transform_runs_on_the_device_and_goes_on_with_the_cpu_when_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    tiny_model::write_gguf(&path, 1).unwrap();
    let model = source::open(&path, &Reporter::default()).unwrap();
    let (plan, _) = Transform::Rotation { reach: Reach::Full, seed: 7 }.plan(&model, &JobContext::silent()).unwrap();
    let write = |name: &str, cx: &JobContext| {
        let path = folder.path().join(format!("{name}.gguf"));
        let written = write_model(&model, &plan, DType::F32, &path, cx).unwrap();
        assert_eq!(written.device.is_some(), name != "cpu", "{written:?}");
        source::open(&path, &Reporter::default()).unwrap()
    };
    let cpu = write("cpu", &JobContext::silent());
    // Tensors that are not bit for bit the CPU's; all are near.
    let other = |rotated: &Source| {
        let differs = |name: &&str| {
            let (want, got) = (values(&cpu, name), values(rotated, name));
            let most = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            assert!(want.iter().zip(&got).all(|(w, g)| (w - g).abs() <= 1e-5 * most), "{name}");
            want != got
        };
        plan.steps.keys().map(String::as_str).filter(differs).count()
    };

    let cx = JobContext::new(DeviceChoice::Gpu, |_| {});
    let device = write("gpu", &cx);
    assert!(cx.device_use().is_some_and(|used| used.kernels.iter().any(|k| k.kernel == "hadamard")), "{:?}", cx.device_use());
    assert!(other(&device) > plan.steps.len() / 2, "single precision is seen in most tensors");
    assert_eq!(other(&write("again", &cx)), other(&device));
    assert_eq!(
        std::fs::read(folder.path().join("gpu.gguf")).unwrap(),
        std::fs::read(folder.path().join("again.gguf")).unwrap(),
        "the same device, the same bytes"
    );

    let done = AtomicUsize::new(0);
    let cx = JobContext::new(DeviceChoice::Gpu, move |event| {
        if matches!(event, JobEvent::Progress(_)) && done.fetch_add(1, Ordering::Relaxed) == 4 {
            backend(&DeviceChoice::Gpu).unwrap().gpu().unwrap().fail(Fault::Lost);
        }
    });
    let mixed = write("lost", &cx);
    let notices = cx.reporter.notices();
    assert_eq!(notices.iter().filter(|n| matches!(n.kind, NoticeKind::DeviceFallback { .. })).count(), 1, "{notices:?}");
    assert!(cx.device_use().is_none(), "the CPU has gone on");
    assert!((1..other(&device)).contains(&other(&mixed)), "some by the device, the rest by the CPU");
}
