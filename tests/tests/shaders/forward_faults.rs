//! A device that is lost in the middle of a forward pass: the CPU goes on, nothing is counted twice, and it is told.

use super::forward::{calls, on_gpu, own_device, sequences, stories, tiny};
use candle_core::Tensor;
use halftone_core::calibrate::{Calibration, CalibrationOptions, calibrate_sequences};
use halftone_core::compute::DeviceChoice;
use halftone_core::compute::gpu::{Fault, Gpu};
use halftone_core::error::Result;
use halftone_core::job::{Accelerator, JobContext, JobEvent, Progress, Stage};
use halftone_core::model::{Taps, Transformer};
use halftone_core::report::NoticeKind;
use std::sync::{Arc, OnceLock};

/// Remembers what it is shown, and takes the device away at one of the calls.
struct Breaker {
    device: Option<Arc<Accelerator>>,
    at: usize,
    fault: Fault,
    seen: Vec<(String, Vec<usize>)>,
}

impl Taps for Breaker {
    fn linear_input(&mut self, names: &[String], input: &Tensor) -> Result<()> {
        if self.seen.len() == self.at
            && let Some(gpu) = self.device.as_ref().and_then(|device| device.gpu())
        {
            gpu.fail(self.fault);
        }
        self.seen.push((names[0].clone(), input.dims().to_vec()));
        Ok(())
    }
}

#[test]
fn taps_see_every_input_once_and_the_outputs_are_the_cpus_behind_the_loss() {
    let source = tiny("qwen2");
    let sequences = sequences(&[30, 7], 96);
    let run = |cx: &JobContext, at: usize, fault: Fault| {
        let mut breaker = Breaker { device: cx.accelerator(), at, fault, seen: Vec::new() };
        let hidden = Transformer::on(&source, cx).unwrap().hidden(&sequences, Some(&mut breaker), cx).unwrap();
        let values: Vec<f32> = hidden.iter().flat_map(|h| h.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect();
        (values, breaker.seen)
    };
    let want = run(&JobContext::silent(), 0, Fault::Lost);
    for (at, fault) in [(0, Fault::Lost), (2, Fault::OutOfMemory), (5, Fault::Validation), (usize::MAX, Fault::Lost)] {
        let cx = on_gpu();
        let got = run(&cx, at, fault);
        assert_eq!(got.1, want.1, "what was shown, {fault:?} at {at}");
        let far = want.0.iter().zip(&got.0).fold(0.0f32, |m, (w, g)| m.max((w - g).abs()));
        assert!(far < 1e-4, "{fault:?} at {at}: {far}");
        let told = cx.reporter.notices().iter().filter(|n| matches!(n.kind, NoticeKind::DeviceFallback { .. })).count();
        assert_eq!(told, usize::from(at != usize::MAX), "{fault:?} at {at}: {:?}", cx.reporter.notices());
        assert_eq!(cx.accelerator().is_none(), at != usize::MAX, "not asked again");
    }
}

/// The largest difference of an entry of any matrix, as a share of the roots of its diagonals.
fn apart(want: &Calibration, got: &Calibration) -> f32 {
    let mut largest = 0.0f32;
    for (key, want) in &want.inputs {
        let (w, g) = (want.gram.as_ref().unwrap(), got.inputs[key].gram.as_ref().unwrap());
        let columns = want.sum_squares.len();
        assert_eq!(want.tokens, got.inputs[key].tokens, "{key}: no token twice");
        for (at, (a, b)) in w.iter().zip(g).enumerate() {
            let scale = (w[at / columns * (columns + 1)] * w[at % columns * (columns + 1)]).abs().sqrt();
            largest = largest.max((a - b).abs() / (scale + 1e-12));
        }
    }
    largest
}

#[test]
fn a_calibration_goes_on_between_blocks_and_is_made_again_where_sums_are_lost() {
    let source = stories();
    let sequences = sequences(&[16, 16], 32_000);
    let options = CalibrationOptions { tokens: 32, sequence_length: 16, gram_columns: 1024 };
    let calibrated = |cx: &JobContext| calibrate_sequences(&source, &sequences, "t".into(), &options, cx).unwrap();
    let want = calibrated(&JobContext::silent());
    let check = |cx: &JobContext, device: &Accelerator, got: &Calibration| {
        assert!(device.gpu().is_none(), "it failed");
        let notices = cx.reporter.notices();
        assert!(matches!(notices[..], [ref one] if matches!(one.kind, NoticeKind::DeviceFallback { .. })), "{notices:?}");
        let apart = apart(&want, got);
        assert!(apart < 1e-3, "{apart}");
    };

    // Before the fourth block.
    let there: Arc<OnceLock<Arc<Accelerator>>> = Arc::default();
    let device = Arc::clone(&there);
    let cx = JobContext::new(own_device(), move |event| {
        if let JobEvent::Progress(Progress { stage: Stage::Calibrate, done: 3, .. }) = event
            && let Some(gpu) = device.get().and_then(|device| device.gpu())
        {
            gpu.fail(Fault::Lost);
        }
    });
    let device = Arc::clone(there.get_or_init(|| cx.accelerator().unwrap()));
    check(&cx, &device, &calibrated(&cx));

    // In the middle of a block, when its first matrix has been added to.
    let cx = on_gpu();
    let device = cx.accelerator().unwrap();
    let added = |gpu: &Gpu| gpu.used().iter().any(|used| used.kernel == "gram" && used.calls > 1);
    let got = std::thread::scope(|scope| {
        scope.spawn(|| {
            while let Some(gpu) = device.gpu() {
                if added(gpu) {
                    gpu.fail(Fault::OutOfMemory);
                    break;
                }
                std::thread::yield_now();
            }
        });
        calibrated(&cx)
    });
    check(&cx, &device, &got);
}

#[test]
fn a_device_that_is_not_there_is_told_and_the_cpu_does_the_work() {
    let source = tiny("llama");
    let cx = JobContext::new(DeviceChoice::Named("voodoo 3dfx".into()), |_| {});
    let sequences = sequences(&[12], 96);
    let bits = |cx: &JobContext| -> Vec<u32> {
        let hidden = Transformer::on(&source, cx).unwrap().hidden(&sequences, None, cx).unwrap();
        hidden[0].flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
    };
    assert_eq!(bits(&cx), bits(&JobContext::silent()), "the CPU's bits");
    assert!(matches!(cx.reporter.notices()[..], [ref one] if one.to_string().contains("voodoo")), "{:?}", cx.reporter.notices());
    let auto = JobContext::new(DeviceChoice::Auto, |_| {});
    let hardware = halftone_core::compute::devices()[1..].iter().any(|device| !device.is_software);
    assert_eq!(auto.accelerator().is_some(), hardware, "never a software adapter");
    assert_eq!(calls(&on_gpu(), "attention"), 0, "a device that did nothing says so");
}
