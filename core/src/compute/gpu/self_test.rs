//! Whether a device computes what the twins define: run once when it is opened, since a driver with a broken compiler must not
//! quantize anyone's model.

use crate::compute::{Backend, KernelCall};
use crate::error::{Error, Result};
use crate::job::CancelToken;
use halftone_shaders::twin::{group_quantize, layer_error, statistics};

const ROWS: usize = 5;
const COLUMNS: usize = 48;
const GROUP: usize = 24;

/// Runs a small case of every kernel.
///
/// # Errors
/// `Device` when a result differs, or what the device says.
pub(super) fn check(backend: &dyn Backend) -> Result<()> {
    let values: Vec<f32> = (0..ROWS * COLUMNS).map(|i| ((i * 2_654_435_761 % 1013) as f32 - 480.0) / 97.0).collect();
    group_quantize(backend, &values)?;
    statistics(backend, &values)?;
    layer_error(backend, &values)
}

fn group_quantize(backend: &dyn Backend, values: &[f32]) -> Result<()> {
    let importance: Vec<f32> = (0..COLUMNS).map(|i| 0.1 + (i % 7) as f32).collect();
    let scheme = group_quantize::Scheme { bits: 4, group: GROUP, symmetric: false };
    let groups = values.len() / GROUP;
    let mut want = (vec![0; values.len()], vec![0.0; groups], vec![0; groups]);
    group_quantize::quantize(values, COLUMNS, &importance, scheme, &mut want.0, &mut want.1, &mut want.2);
    let mut got = (vec![0; values.len()], vec![0.0; groups], vec![0; groups]);
    let call = KernelCall::GroupQuantize {
        weights: values,
        columns: COLUMNS,
        importance: &importance,
        bits: scheme.bits,
        group: GROUP,
        symmetric: scheme.symmetric,
        codes: &mut got.0,
        scales: &mut got.1,
        zeros: &mut got.2,
    };
    backend.run(call, &CancelToken::default())?;
    verdict(backend, "group_quantize", got == want)
}

fn statistics(backend: &dyn Backend, values: &[f32]) -> Result<()> {
    let want = statistics::tally(values, 5.5);
    let (mut histogram, mut sums) = ([0u64; statistics::BINS], [0.0f64; 6]);
    backend.run(KernelCall::Statistics { values, absmax: 5.5, histogram: &mut histogram, sums: &mut sums }, &CancelToken::default())?;
    let close = (1..).zip(want.powers.iter().zip(&sums)).all(|(power, (want, got))| {
        let size: f64 = values.iter().map(|v| f64::from(v.abs()).powi(power)).sum();
        (want - got).abs() <= statistics::TOLERANCE * size
    });
    let counts = (sums[4], sums[5]) == (want.finite as f64, want.non_finite as f64);
    verdict(backend, "statistics", histogram == want.histogram && counts && close)
}

fn layer_error(backend: &dyn Backend, values: &[f32]) -> Result<()> {
    let hessian: Vec<f32> =
        (0..COLUMNS * COLUMNS).map(|i| if i % (COLUMNS + 1) == 0 { 2.0 } else { ((i / COLUMNS + i % COLUMNS) % 5) as f32 / 40.0 }).collect();
    let (mut want, mut got) = ([0.0f32; ROWS], [0.0f32; ROWS]);
    layer_error::layer_error(values, COLUMNS, &hessian, &mut want);
    backend.run(KernelCall::LayerError { difference: values, columns: COLUMNS, hessian: &hessian, row_errors: &mut got }, &CancelToken::default())?;
    // H is diagonally heavy here, so the sum of absolute products is within a factor of 4 of the sum.
    verdict(backend, "layer_error", want.iter().zip(&got).all(|(w, g)| (w - g).abs() <= 4.0 * layer_error::TOLERANCE as f32 * w.abs()))
}

fn verdict(backend: &dyn Backend, kernel: &str, holds: bool) -> Result<()> {
    if holds {
        return Ok(());
    }
    let device = backend.capabilities().name.clone();
    Err(Error::Device { device, detail: format!("the self-test of {kernel} gave wrong numbers; its driver may be broken") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::{Capabilities, Cpu};

    /// Computes rightly, then spoils one number of one kernel.
    struct Liar(Cpu, usize);

    impl Backend for Liar {
        fn capabilities(&self) -> &Capabilities {
            self.0.capabilities()
        }

        fn run(&self, call: KernelCall<'_>, cancel: &CancelToken) -> Result<()> {
            match call {
                KernelCall::GroupQuantize { weights, columns, importance, bits, group, symmetric, codes, scales, zeros } => {
                    let call = KernelCall::GroupQuantize { weights, columns, importance, bits, group, symmetric, codes: &mut *codes, scales, zeros };
                    self.0.run(call, cancel)?;
                    codes[17] ^= u8::from(self.1 == 1);
                }
                KernelCall::Statistics { values, absmax, histogram, sums } => {
                    self.0.run(KernelCall::Statistics { values, absmax, histogram: &mut *histogram, sums }, cancel)?;
                    histogram[60] += u64::from(self.1 == 2);
                }
                KernelCall::LayerError { difference, columns, hessian, row_errors } => {
                    self.0.run(KernelCall::LayerError { difference, columns, hessian, row_errors: &mut *row_errors }, cancel)?;
                    row_errors[3] *= if self.1 == 3 { 1.001 } else { 1.0 };
                }
            }
            Ok(())
        }
    }

    #[test]
    fn a_device_that_spoils_one_number_of_any_kernel_is_refused() {
        check(&Liar(Cpu::default(), 0)).expect("an honest device passes");
        for (kernel, name) in [(1, "group_quantize"), (2, "statistics"), (3, "layer_error")] {
            let error = check(&Liar(Cpu::default(), kernel)).expect_err(name);
            assert!(matches!(&error, Error::Device { detail, .. } if detail.contains(name)), "{error}");
        }
    }
}
