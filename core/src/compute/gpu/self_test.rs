//! Whether a device computes what the twins define: looked at when a kernel is first used, since a driver with a broken compiler must not
//! quantize anyone's model.

use super::{Gpu, Operand, forward};
use crate::compute::{Backend, Capabilities, KernelCall, encoder, formats_with_kernel};
use crate::error::{Error, Result};
use crate::job::CancelToken;
use bytemuck::{bytes_of, cast_slice};
use halftone_shaders::Kernel;
use halftone_shaders::twin::{feedback_columns, feedback_product, layer_error, lloyd_step, statistics};

const ROWS: usize = 5;
const COLUMNS: usize = 48;

/// Runs a small case of a kernel.
///
/// # Errors
/// `Device` when a result differs, or what the device says.
pub(super) fn check(gpu: &Gpu, kernel: Kernel) -> Result<()> {
    match kernel {
        Kernel::FeedbackProduct => feedback_product(gpu),
        Kernel::FeedbackColumns => feedback_columns(gpu),
        // They measure the device, and nothing is made of what they compute.
        Kernel::StreamCopy | Kernel::MultiplyAdd => Ok(()),
        _ => match forward::self_test::check(gpu, kernel)? {
            Some(holds) => verdict(gpu, kernel.name(), holds),
            None => check_calls(&Untested(gpu), kernel),
        },
    }
}

/// A GPU without the test, for the test.
struct Untested<'a>(&'a Gpu);

impl Backend for Untested<'_> {
    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    fn run(&self, call: KernelCall<'_>, cancel: &CancelToken) -> Result<()> {
        self.0.run_untested(call, cancel)
    }
}

/// As [`check`], for kernels that a [`KernelCall`] runs, on any backend.
fn check_calls(backend: &dyn Backend, kernel: Kernel) -> Result<()> {
    let values: Vec<f32> = (0..ROWS * COLUMNS).map(|i| ((i * 2_654_435_761 % 1013) as f32 - 480.0) / 97.0).collect();
    match kernel {
        Kernel::Statistics => statistics(backend, &values),
        Kernel::LayerError => layer_error(backend, &values),
        Kernel::LloydStep => lloyd_step(backend, &values),
        _ => encode(backend, kernel),
    }
}

/// Small integers, with which sums are exact in any order.
fn integers(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * step) % 11) as f32 - 5.0).collect()
}

fn feedback_product(gpu: &Gpu) -> Result<()> {
    let params = feedback_product::Params { rows: 5, columns: 40, first: 8, width: 8, begin: 1, end: 39, skip_begin: 8, skip_end: 16, ..Default::default() };
    let (matrix, delta) = (integers(40 * 40, 7), integers(40 * 5, 3));
    let mut want = vec![0.0f32; 40];
    feedback_product::feedback_product(&params, &matrix, &delta, &mut want);
    let operands = [Operand::Input(cast_slice(&matrix)), Operand::Input(cast_slice(&delta)), Operand::Output(160)];
    let got = gpu.run_once(Kernel::FeedbackProduct, bytes_of(&params), &operands, [1, 1, 1])?;
    verdict(gpu, Kernel::FeedbackProduct.name(), got[0] == cast_slice::<_, u8>(&want))
}

/// Integers from −8 on, and levels that are not evenly spaced.
fn feedback_columns(gpu: &Gpu) -> Result<()> {
    const LINES: usize = 8;
    let cells = LINES * ROWS;
    let listed: Vec<f32> = (-6i32..6).map(|i| (i * i.abs()) as f32 / 4.0).collect();
    let matrix: Vec<f32> = (0..64).map(|i| if i / 8 < i % 8 { ((i * 5) % 3) as f32 - 1.0 } else { 0.0 }).collect();
    let weights: Vec<f32> = integers(cells, 7).iter().map(|v| 2.0 * v + 0.25).collect();
    let (corrections, scales, offsets) = (integers(cells, 3), vec![2.0f32; cells], vec![1.0f32; cells]);
    for (levels, count, low) in [(&[][..], 16, -8.0), (&listed, listed.len() as u32, 1.0)] {
        let params = feedback_columns::Params { rows: ROWS as u32, columns: 8, first: 0, line: 0, width: 8, levels: count, low, padding: 0 };
        let (mut delta, mut indices) = (vec![0.0f32; cells], vec![0u32; cells]);
        let panel = feedback_columns::Panel {
            matrix: &matrix,
            corrections: &corrections,
            weights: &weights,
            scales: &scales,
            offsets: &offsets,
            levels,
            delta: &mut delta,
            indices: &mut indices,
        };
        feedback_columns::feedback_columns(&params, panel);
        let inputs = [&matrix[..], &corrections, &weights, &scales, &offsets, levels].map(|values| Operand::Input(cast_slice(values)));
        let operands: Vec<Operand<'_>> = inputs.into_iter().chain([Operand::Output(cells * 4), Operand::Output(cells * 4)]).collect();
        let got = gpu.run_once(Kernel::FeedbackColumns, bytes_of(&params), &operands, [1, 1, 1])?;
        // All of it is exact in f32.
        let holds = got[0][..cells * 4] == *cast_slice::<_, u8>(&delta) && got[1][..cells * 4] == *cast_slice::<_, u8>(&indices);
        verdict(gpu, Kernel::FeedbackColumns.name(), holds)?;
    }
    Ok(())
}

/// Two rows of three super-blocks with heavy tails, among them a block of zeros, a flat one and one near the smallest scale.
fn encode(backend: &dyn Backend, kernel: Kernel) -> Result<()> {
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
    for format in formats_with_kernel().into_iter().filter(|format| encoder(*format).is_some_and(|encoder| encoder.kernel == kernel)) {
        let want = format.encode(&weights, COLUMNS, Some(&importance))?;
        let mut bytes = vec![0; want.len()];
        let call = KernelCall::Encode { format, weights: &weights, columns: COLUMNS, importance: &importance, bytes: &mut bytes };
        backend.run(call, &CancelToken::default())?;
        verdict(backend, kernel.name(), bytes == want)?;
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

fn lloyd_step(backend: &dyn Backend, values: &[f32]) -> Result<()> {
    const GROUP: usize = 24;
    let scales: Vec<f32> = (0..values.len() / GROUP).map(|i| if i == 3 { 0.0 } else { 2.0 + (i % 4) as f32 }).collect();
    let importance: Vec<f32> = (0..COLUMNS).map(|i| (1 + i * 7 % 29) as f32).collect();
    let levels: Vec<f32> = (0..8).map(|k| (k * k) as f32 / 16.0 - 1.0).collect();
    for importance in [&importance[..], &[]] {
        let want = lloyd_step::tally(values, 0, &scales, GROUP, importance, &lloyd_step::boundaries(&levels));
        let mut got = lloyd_step::Tally::default();
        let call = KernelCall::LloydStep { values, group: GROUP, scales: &scales, importance, levels: &levels, tally: &mut got };
        backend.run(call, &CancelToken::default())?;
        // A term is at most the largest importance × scale².
        let near = |(count, (a, b)): (&u64, (&f64, &f64))| (a - b).abs() <= lloyd_step::TOLERANCE * 29.0 * 25.0 * *count as f64;
        let close = |a: &[f64], b: &[f64]| want.counts.iter().zip(a.iter().zip(b)).all(near);
        verdict(backend, "lloyd_step", want.counts == got.counts && close(&want.weights, &got.weights) && close(&want.sums, &got.sums))?;
    }
    Ok(())
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
    use crate::compute::Cpu;

    /// Nothing, and the kernels.
    const LIES: &[&str] = &[
        "",
        "statistics",
        "layer_error",
        "lloyd_step",
        "encode_blocks",
        "encode_affine_blocks",
        "encode_super_blocks",
        "encode_affine_super_blocks",
        "encode_fp4",
        "encode_grid_rows",
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
                KernelCall::LloydStep { values, group, scales, importance, levels, tally } => {
                    self.0.run(KernelCall::LloydStep { values, group, scales, importance, levels, tally: &mut *tally }, cancel)?;
                    tally.counts[5] += u64::from(LIES[self.1] == "lloyd_step");
                }
                // Its kernel is tested among those of the forward pass.
                KernelCall::Rotate { .. } => self.0.run(call, cancel)?,
            }
            Ok(())
        }
    }

    #[test]
    fn a_device_that_spoils_one_number_of_any_kernel_is_refused() {
        let check_all =
            |liar: &Liar| LIES[1..].iter().try_for_each(|name| check_calls(liar, *Kernel::ALL.iter().find(|k| k.name() == *name).expect("a kernel")));
        check_all(&Liar(Cpu::default(), 0)).expect("an honest device passes");
        for (kernel, name) in LIES.iter().enumerate().skip(1) {
            let error = check_all(&Liar(Cpu::default(), kernel)).expect_err(name);
            assert!(matches!(&error, Error::Device { detail, .. } if detail.contains(name)), "{error}");
        }
    }
}
