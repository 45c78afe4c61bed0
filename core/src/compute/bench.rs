//! What each kernel reaches on a device, against the floor that its memory and arithmetic set: one table of cases, for `bench-device`.
//!
//! Times are the device's own where it has timestamps. Operands are the same in every run; a case runs until its pace has settled, then
//! so often that half a second has passed.

use super::gpu::{Gpu, KernelUse, Peaks};
use super::{Backend, Capabilities, KernelCall};
use crate::codec::Format;
use crate::error::Result;
use crate::job::CancelToken;
use serde::Serialize;
use std::time::{Duration, Instant};

/// How large the operands are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum BenchSize {
    /// Layers of 256: for software devices and tests.
    Small,
    /// Layers of 4096.
    Full,
}

impl BenchSize {
    /// Side of a layer.
    const fn side(self) -> usize {
        match self {
            Self::Small => 256,
            Self::Full => 4096,
        }
    }
}

/// A line of the table.
struct Case {
    /// What is done.
    name: &'static str,
    run: fn(&Gpu, &Operands) -> Result<()>,
}

/// What cases work on.
struct Operands {
    side: usize,
    /// side × side, nearly normal.
    weights: Vec<f32>,
    /// One a column.
    importance: Vec<f32>,
    /// H-like: heavy on the diagonal, symmetric.
    hessian: Vec<f32>,
    cancel: CancelToken,
}

/// One kernel of one case.
#[derive(Clone, Debug, Serialize)]
pub struct KernelRow {
    /// The case, for example "layer error".
    pub case: &'static str,
    /// The kernel.
    pub kernel: &'static str,
    /// Dispatches of a run.
    pub dispatches: f64,
    /// Time of a run on the device, seconds.
    pub seconds: f64,
    /// Bytes over time.
    pub bytes_per_second: f64,
    /// Operations over time.
    pub operations_per_second: f64,
    /// The shortest time that the device's memory and arithmetic allow, seconds.
    pub floor_seconds: f64,
    /// Time over floor.
    pub ratio: f64,
}

/// The whole table.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceReport {
    /// The device.
    pub device: Capabilities,
    /// Whether times are its own.
    pub timestamps: bool,
    /// How large the operands were.
    pub size: BenchSize,
    /// What it can do at best.
    pub peaks: Peaks,
    /// Kernel by kernel.
    pub kernels: Vec<KernelRow>,
}

const CASES: &[Case] = &[
    Case { name: "weight statistics", run: statistics },
    Case { name: "Q4_0, scale search", run: |gpu, o| encode(gpu, o, "Q4_0") },
    Case { name: "Q4_1, scale search", run: |gpu, o| encode(gpu, o, "Q4_1") },
    Case { name: "Q6_K, scale search", run: |gpu, o| encode(gpu, o, "Q6_K") },
    Case { name: "IQ4_XS, scale search", run: |gpu, o| encode(gpu, o, "IQ4_XS") },
    Case { name: "Q4_K, scale search", run: |gpu, o| encode(gpu, o, "Q4_K") },
    Case { name: "NVFP4, scale search", run: |gpu, o| encode(gpu, o, "NVFP4") },
    Case { name: "INT4-g128, scale search", run: |gpu, o| encode(gpu, o, "INT4-g128") },
    Case { name: "INT4-g128-asym, scale search", run: |gpu, o| encode(gpu, o, "INT4-g128-asym") },
    Case { name: "FP8-E4M3-g128, scale search", run: |gpu, o| encode(gpu, o, "FP8-E4M3-g128") },
    Case { name: "layer error", run: layer_error },
    Case { name: "GPTQ INT4-g128, columns and updates", run: feedback },
];

/// Runs every case on a device.
///
/// # Errors
/// `Device`, `Cancelled`.
pub fn bench_device(gpu: &Gpu, size: BenchSize, cancel: &CancelToken) -> Result<DeviceReport> {
    let peaks = gpu.peaks()?;
    let operands = Operands::new(size.side(), cancel.clone());
    let mut kernels = Vec::new();
    for case in CASES {
        for (used, runs) in timed(gpu, case, &operands)? {
            let (seconds, bytes, operations) = (used.seconds / runs, used.bytes as f64 / runs, used.operations as f64 / runs);
            let floor_seconds = peaks.floor(bytes as u64, operations as u64);
            kernels.push(KernelRow {
                case: case.name,
                kernel: used.kernel,
                dispatches: used.calls as f64 / runs,
                seconds,
                bytes_per_second: bytes / seconds,
                operations_per_second: operations / seconds,
                floor_seconds,
                ratio: seconds / floor_seconds,
            });
        }
    }
    Ok(DeviceReport { device: gpu.capabilities().clone(), timestamps: gpu.has_timestamps(), size, peaks, kernels })
}

/// What the kernels of a case did, and in how many runs.
fn timed(gpu: &Gpu, case: &Case, operands: &Operands) -> Result<Vec<(KernelUse, f64)>> {
    const SETTLED: usize = 3;
    const ENOUGH: Duration = Duration::from_millis(500);
    for _ in 0..SETTLED {
        (case.run)(gpu, operands)?;
    }
    gpu.finish()?;
    let before = gpu.used();
    let (start, mut runs) = (Instant::now(), 0.0);
    while runs == 0.0 || start.elapsed() < ENOUGH {
        (case.run)(gpu, operands)?;
        runs += 1.0;
    }
    gpu.finish()?;
    Ok(KernelUse::since(gpu.used(), &before).into_iter().map(|used| (used, runs)).collect())
}

impl Operands {
    fn new(side: usize, cancel: CancelToken) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 16_777_216.0
        };
        let weights = (0..side * side).map(|_| 0.02 * (random() + random() + random() + random() - 2.0)).collect();
        let importance = (0..side).map(|_| 0.1 + random()).collect();
        let hessian = (0..side * side).map(|at| if at / side == at % side { 2.0 } else { 0.5 / (1.0 + (at / side).abs_diff(at % side) as f32) }).collect();
        Self { side, weights, importance, hessian, cancel }
    }
}

fn statistics(gpu: &Gpu, o: &Operands) -> Result<()> {
    let (mut histogram, mut sums) = ([0u64; halftone_shaders::twin::statistics::BINS], [0.0f64; 6]);
    gpu.run(KernelCall::Statistics { values: &o.weights, absmax: 0.04, histogram: &mut histogram, sums: &mut sums }, &o.cancel)
}

fn encode(gpu: &Gpu, o: &Operands, name: &str) -> Result<()> {
    let format: Format = name.parse()?;
    let mut bytes = vec![0; format.tensor_bytes(o.weights.len() / o.side, o.side) as usize];
    gpu.run(KernelCall::Encode { format, weights: &o.weights, columns: o.side, importance: &o.importance, bytes: &mut bytes }, &o.cancel)
}

fn layer_error(gpu: &Gpu, o: &Operands) -> Result<()> {
    let mut row_errors = vec![0.0; o.side];
    gpu.run(KernelCall::LayerError { difference: &o.weights, columns: o.side, hessian: &o.hessian, row_errors: &mut row_errors }, &o.cancel)
}

/// Scales are given, so that what is timed is the device's part alone.
fn feedback(gpu: &Gpu, o: &Operands) -> Result<()> {
    use super::gpu::{Feedback, Levels};
    let call = Feedback { columns: o.side, block: 128, upper: &o.hessian, descent: (&[], 0), levels: Levels::Integers(-8, 7) };
    let mut choose = |_: std::ops::Range<usize>, _: usize, _: &[f32], scales: &mut [f32], offsets: &mut [f32]| {
        scales.fill(0.005);
        offsets.fill(0.0);
        Ok(())
    };
    gpu.feedback(&call, &o.weights, &mut choose, &mut vec![0; o.weights.len()], &o.cancel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::DeviceChoice;

    #[test]
    fn every_case_is_timed_and_none_beats_its_floor_by_far() {
        let gpu = Gpu::open(&DeviceChoice::Gpu).expect("an adapter; a software one will do");
        let report = bench_device(&gpu, BenchSize::Small, &CancelToken::default()).expect("bench");
        for case in CASES {
            let rows: Vec<_> = report.kernels.iter().filter(|row| row.case == case.name).collect();
            assert!(!rows.is_empty() && rows.iter().all(|row| row.seconds > 0.0 && row.ratio > 0.2), "{}: {rows:?}", case.name);
        }
        assert!(report.peaks.bytes_per_second > 1e8 && report.peaks.operations_per_second > 1e8, "{:?}", report.peaks);
    }
}
