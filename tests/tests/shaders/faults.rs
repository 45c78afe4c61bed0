//! Choosing devices, and what happens when one is wrong, missing, cancelled or lost.

use super::encode::{Case, GUARD};
use super::{devices, gpu, normal};
use halftone_core::compute::gpu::{Fault, Gpu};
use halftone_core::compute::{Backend, Cpu, DeviceChoice, KernelCall, backend};
use halftone_core::error::Error;
use halftone_core::job::{Artifact, CancelToken, JobContext, JobEvent, QuantizeOptions, quantize};
use halftone_core::recipe::Recipe;
use halftone_core::report::{NoticeKind, Reporter};
use halftone_tests::tiny_model;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn devices_begin_with_the_cpu_and_auto_is_never_software() {
    let known = halftone_core::compute::devices();
    assert_eq!(known[0].name, "CPU");
    assert!(known.len() > 1 && known[1..].iter().all(|d| d.max_binding_bytes <= 128 << 20 && !d.driver.is_empty()), "{known:?}");
    assert!(!backend(&DeviceChoice::Auto).expect("auto").capabilities().is_software);
    let name = &gpu().capabilities().name;
    let part = DeviceChoice::Named(name[1..5].to_uppercase());
    assert_eq!(&backend(&part).expect("by part of its name").capabilities().name, name);
}

#[test]
fn a_device_that_is_not_there_is_a_device_error() {
    let error = backend(&DeviceChoice::Named("voodoo 3dfx".into())).err().expect("no such adapter");
    assert!(matches!(&error, Error::Device { device, .. } if device == "voodoo 3dfx"), "{error}");
}

#[test]
fn operands_that_do_not_fit_are_refused_by_every_device() {
    let weights = [0.0; 64];
    for device in devices() {
        for (format, columns, importances, bytes) in [
            ("INT4-g48", 64, 0, 40),
            ("Q4_0", 60, 0, 36),
            ("Q4_0", 64, 5, 36),
            ("Q4_0", 0, 0, 36),
            ("Q4_0", 64, 0, 35),
            ("TQ2_0", 64, 0, 66),
            ("F16", 64, 0, 128),
        ] {
            let (importance, bytes) = (&weights[..importances], &mut [0; 128][..bytes]);
            let call = KernelCall::Encode { format: format.parse().expect("a format"), weights: &weights, columns, importance, bytes };
            let error = device.run(call, &CancelToken::default()).expect_err("must be refused");
            assert!(matches!(error, Error::Mismatch { .. }), "{format} {columns} {importances}: {error}");
        }
        let call = KernelCall::LayerError { difference: &weights, columns: 32, hessian: &weights, row_errors: &mut [0.0; 2] };
        assert!(matches!(device.run(call, &CancelToken::default()), Err(Error::Mismatch { .. })), "H of another size");
    }
}

#[test]
fn cancelling_stops_between_submits() {
    let device = Gpu::open(&DeviceChoice::Gpu).expect("adapter");
    let c = Case { format: "INT4-g128".parse().expect("format"), columns: 512 };
    let weights = normal(8192 * c.columns, 11);
    let cancel = CancelToken::default();
    let before = device.submits();
    let (out, result) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while device.submits() == before {
                std::thread::yield_now();
            }
            cancel.cancel();
        });
        c.on(&device, &weights, &[], &cancel)
    });
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert_eq!(out[out.len() - 1], GUARD, "the last tile was not reached");
    for _ in 0..4 {
        c.on(&device, &weights[..64 * c.columns], &[], &CancelToken::default()).1.expect("the device can still be used");
    }
    let again = CancelToken::default();
    c.on(&device, &weights, &[], &again).1.expect("for as much as before too");
    let (_, result) = c.on(&Cpu::default(), &weights, &[], &cancel);
    assert!(matches!(result, Err(Error::Cancelled)), "the CPU stops too");
}

#[test]
fn a_lost_device_is_an_error_and_not_a_panic() {
    let device = Gpu::open(&DeviceChoice::Gpu).expect("adapter");
    let c = Case { format: "Q4_0".parse().expect("format"), columns: 96 };
    let weights = normal(64 * c.columns, 12);
    c.on(&device, &weights, &[], &CancelToken::default()).1.expect("works at first");
    device.fail(Fault::Lost);
    for _ in 0..2 {
        let error = c.on(&device, &weights, &[], &CancelToken::default()).1.expect_err("lost");
        assert!(matches!(error, Error::Device { .. }), "{error}");
    }
}

#[test]
fn a_job_whose_device_fails_goes_on_with_the_cpu_from_the_last_durable_tensor_and_says_so() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("tiny.gguf");
    tiny_model::write_gguf(&path, 1).expect("model");
    let source = halftone_core::source::open(&path, &Reporter::default()).expect("open");
    let format: halftone_core::codec::Format = "INT4-g32".parse().expect("format");
    let tensors = source.tensors.iter().filter(|t| t.quantizable()).map(|t| (t.name.clone(), format)).collect();
    let recipe = Recipe { model: source.fingerprint.clone(), rounding: "nearest".into(), tensors, ..Recipe::default() };
    let artifact = |job: &str| Artifact::open(&folder.path().join(job)).expect("a finished job");
    let stored = |job: &Artifact| job.tensors().map(|t| (t.tensor.clone(), job.tensor(&t.tensor).expect("stored").1.to_vec())).collect::<Vec<_>>();
    let run =
        |job: &str, cx: &JobContext| quantize(&source, None, &recipe, &QuantizeOptions { folder: folder.path().join(job) }, cx).expect("the job ends well");
    run("cpu", &JobContext::silent());

    for fault in [Fault::Lost, Fault::OutOfMemory, Fault::Validation] {
        let done = AtomicUsize::new(0);
        let cx = JobContext::new(DeviceChoice::Gpu, move |event| {
            if matches!(event, JobEvent::Tensor(_)) && done.fetch_add(1, Ordering::Relaxed) == 2 {
                backend(&DeviceChoice::Gpu).expect("open").gpu().expect("a GPU").fail(fault);
            }
        });
        let job = format!("{fault:?}");
        run(&job, &cx);
        let notices = cx.reporter.notices();
        let told: Vec<_> = notices.iter().filter(|n| matches!(n.kind, NoticeKind::DeviceFallback { .. })).collect();
        assert_eq!(told.len(), 1, "{fault:?} is told once: {notices:?}");
        assert!(cx.device_use().is_none(), "{fault:?}: the CPU has gone on");
        let (job, by_cpu) = (artifact(&job), artifact("cpu"));
        assert_eq!(stored(&job), stored(&by_cpu), "{fault:?}: the same integers");
        let fell = job.tensors().filter(|t| t.notices.iter().any(|n| matches!(n.kind, NoticeKind::DeviceFallback { .. }))).count();
        assert_eq!(fell, 1, "the record of the tensor that it was working on says so");
    }
    // Whoever asks next gets the device afresh.
    let cx = JobContext::new(DeviceChoice::Gpu, |_| {});
    run("again", &cx);
    assert!(
        cx.reporter.notices().is_empty() && cx.device_use().is_some_and(|used| used.kernels.iter().any(|k| k.kernel == "encode_groups" && k.seconds > 0.0))
    );
}
