//! Whether a device computes what the twins define: run once when it is opened, since a driver with a broken compiler must not
//! quantize anyone's model.

use crate::codec::{Format, GgmlType};
use crate::compute::{Backend, KernelCall, encoder};
use crate::error::{Error, Result};
use crate::job::CancelToken;
use halftone_shaders::twin::{layer_error, statistics};

const ROWS: usize = 5;
const COLUMNS: usize = 48;

/// Runs a small case of every kernel.
///
/// # Errors
/// `Device` when a result differs, or what the device says.
pub(super) fn check(backend: &dyn Backend) -> Result<()> {
    let values: Vec<f32> = (0..ROWS * COLUMNS).map(|i| ((i * 2_654_435_761 % 1013) as f32 - 480.0) / 97.0).collect();
    encode(backend)?;
    statistics(backend, &values)?;
    layer_error(backend, &values)
}

/// Two rows of three super-blocks with heavy tails, among them a block of zeros, a flat one and one near the smallest scale.
fn encode(backend: &dyn Backend) -> Result<()> {
    const COLUMNS: usize = 768;
    let weight = |i: usize| {
        let v = (i * 2_654_435_761 % 2027) as f32 / 1013.5 - 1.0;
        match i / 64 % 12 {
            3 => 0.0,
            5 => 0.37,
            7 => v * 1e-6,
            _ => v * v * v,
        }
    };
    let weights: Vec<f32> = (0..2 * COLUMNS).map(weight).collect();
    let importance: Vec<f32> = (0..COLUMNS).map(|i| (1 + i * 7 % 29) as f32).collect();
    let others = ["NVFP4-global", "INT3-g96", "INT4-g32-asym", "INT5-g64-asym", "FP6-E3M2-g24", "MXFP8-E4M3"];
    let formats = GgmlType::ALL.iter().map(|kind| Format::Ggml(*kind)).chain(others.iter().filter_map(|name| name.parse().ok()));
    for (format, encoder) in formats.filter_map(|format| Some((format, encoder(format)?))) {
        let want = format.encode(&weights, COLUMNS, Some(&importance))?;
        let mut bytes = vec![0; want.len()];
        let call = KernelCall::Encode { format, weights: &weights, columns: COLUMNS, importance: &importance, bytes: &mut bytes };
        backend.run(call, &CancelToken::default())?;
        verdict(backend, encoder.kernel.name(), bytes == want)?;
    }
    Ok(())
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

    /// Nothing, and the kernels.
    const LIES: &[&str] = &[
        "",
        "statistics",
        "layer_error",
        "encode_blocks",
        "encode_affine_blocks",
        "encode_super_blocks",
        "encode_affine_super_blocks",
        "encode_fp4",
        "encode_groups",
        "encode_floats",
    ];

    /// Computes rightly, then spoils one number of one kernel.
    struct Liar(Cpu, usize);

    impl Backend for Liar {
        fn capabilities(&self) -> &Capabilities {
            self.0.capabilities()
        }

        fn run(&self, call: KernelCall<'_>, cancel: &CancelToken) -> Result<()> {
            match call {
                KernelCall::Encode { format, weights, columns, importance, bytes } => {
                    let call = KernelCall::Encode { format, weights, columns, importance, bytes: &mut *bytes };
                    self.0.run(call, cancel)?;
                    let kernel = encoder(format).expect("an encoder").kernel;
                    bytes[40] ^= u8::from(LIES[self.1] == kernel.name()) << 5;
                }
                KernelCall::Statistics { values, absmax, histogram, sums } => {
                    self.0.run(KernelCall::Statistics { values, absmax, histogram: &mut *histogram, sums }, cancel)?;
                    histogram[60] += u64::from(LIES[self.1] == "statistics");
                }
                KernelCall::LayerError { difference, columns, hessian, row_errors } => {
                    self.0.run(KernelCall::LayerError { difference, columns, hessian, row_errors: &mut *row_errors }, cancel)?;
                    row_errors[3] *= if LIES[self.1] == "layer_error" { 1.001 } else { 1.0 };
                }
            }
            Ok(())
        }
    }

    #[test]
    fn a_device_that_spoils_one_number_of_any_kernel_is_refused() {
        check(&Liar(Cpu::default(), 0)).expect("an honest device passes");
        for (kernel, name) in LIES.iter().enumerate().skip(1) {
            let error = check(&Liar(Cpu::default(), kernel)).expect_err(name);
            assert!(matches!(&error, Error::Device { detail, .. } if detail.contains(name)), "{error}");
        }
    }
}
