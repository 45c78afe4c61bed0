//! Choosing devices, and what happens when one is wrong, missing, cancelled or lost.

use super::group_quantize::{GUARD, Quantized, case};
use super::{devices, gpu, normal};
use halftone_core::compute::gpu::{Fault, Gpu};
use halftone_core::compute::{Backend, Cpu, DeviceChoice, KernelCall, backend};
use halftone_core::error::Error;
use halftone_core::job::CancelToken;

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
        for (columns, group, bits, importances) in [(64, 48, 4, 0), (60, 32, 4, 0), (64, 32, 9, 0), (64, 32, 4, 5), (64, 0, 4, 0), (0, 32, 4, 0), (64, 4, 4, 0)]
        {
            let c = case(0, columns, group, bits, true, false);
            let (codes, scales, zeros) = (&mut [0; 64], &mut [0.0; 2], &mut [0; 2]);
            let importance = &weights[..importances];
            let call = KernelCall::GroupQuantize { weights: &weights, columns, importance, bits, group, symmetric: true, codes, scales, zeros };
            let error = device.run(call, &CancelToken::default()).expect_err("must be refused");
            assert!(matches!(error, Error::Mismatch { .. }), "{c:?} {importances}: {error}");
        }
        let call = KernelCall::LayerError { difference: &weights, columns: 32, hessian: &weights, row_errors: &mut [0.0; 2] };
        assert!(matches!(device.run(call, &CancelToken::default()), Err(Error::Mismatch { .. })), "H of another size");
    }
}

#[test]
fn cancelling_stops_between_submits() {
    let device = Gpu::open(&DeviceChoice::Gpu).expect("adapter");
    let c = case(2048, 512, 128, 4, true, false);
    let weights = normal(c.rows * c.columns, 11);
    let cancel = CancelToken::default();
    let before = device.submits();
    let (out, result) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while device.submits() == before {
                std::thread::yield_now();
            }
            cancel.cancel();
        });
        Quantized::on(&device, c, &weights, &[], &cancel)
    });
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert_eq!(out.codes[weights.len() - 1], GUARD, "the last tile was not reached");
    let (_, result) = Quantized::on(&Cpu::default(), c, &weights, &[], &cancel);
    assert!(matches!(result, Err(Error::Cancelled)), "the CPU stops too");
}

#[test]
fn a_lost_device_is_an_error_and_not_a_panic() {
    let device = Gpu::open(&DeviceChoice::Gpu).expect("adapter");
    let c = case(64, 96, 32, 3, false, false);
    let weights = normal(c.rows * c.columns, 12);
    Quantized::on(&device, c, &weights, &[], &CancelToken::default()).1.expect("works at first");
    device.fail(Fault::Lost);
    for _ in 0..2 {
        let error = Quantized::on(&device, c, &weights, &[], &CancelToken::default()).1.expect_err("lost");
        assert!(matches!(error, Error::Device { .. }), "{error}");
    }
}
