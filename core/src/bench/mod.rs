//! What each kernel reaches on a device, against the floor that its memory and arithmetic set: one table of cases, for `bench-device`.
//!
//! Times are the device's own where it has timestamps. Operands are the same in every run; a case runs until its pace has settled, then
//! so often that half a second has passed; small ones, which show that it works and not how fast, once.

mod cases;
mod road;

use crate::compute::gpu::{Gpu, KernelUse, Peaks};
use crate::compute::{Backend, Capabilities};
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
    /// A model's worth of layers, where it was asked for.
    pub roads: Vec<RoadRow>,
}

/// The names of the cases, in order.
pub fn case_names() -> Vec<&'static str> {
    cases::CASES.iter().map(|case| case.name).collect()
}

/// Runs every case on a device.
///
/// # Errors
/// `Device`, `Cancelled`.
pub fn bench_device(gpu: &Gpu, size: BenchSize, cancel: &CancelToken) -> Result<DeviceReport> {
    let peaks = gpu.peaks()?;
    let operands = Operands::new(size.side(), cancel.clone());
    let mut kernels = Vec::new();
    for case in cases::CASES {
        for (used, runs) in timed(gpu, case, size, &operands)? {
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
    Ok(DeviceReport { device: gpu.capabilities().clone(), timestamps: gpu.has_timestamps(), size, peaks, kernels, roads: Vec::new() })
}

/// What the kernels of a case did, and in how many runs.
fn timed(gpu: &Gpu, case: &Case, size: BenchSize, operands: &Operands) -> Result<Vec<(KernelUse, f64)>> {
    let (settled, enough) = if size == BenchSize::Full { (3, Duration::from_millis(500)) } else { (1, Duration::ZERO) };
    for _ in 0..settled {
        (case.run)(gpu, operands)?;
    }
    gpu.finish()?;
    let before = gpu.used();
    let (start, mut runs) = (Instant::now(), 0.0);
    while runs == 0.0 || start.elapsed() < enough {
        (case.run)(gpu, operands)?;
        runs += 1.0;
    }
    gpu.finish()?;
    Ok(KernelUse::since(gpu.used(), &before).into_iter().map(|used| (used, runs)).collect())
}

pub use road::{RoadRow, bench_roads};

/// Nearly normal values, the same in every run.
fn nearly_normal(count: usize) -> Vec<f32> {
    let mut random = uniform();
    (0..count).map(|_| 0.02 * (random() + random() + random() + random() - 2.0)).collect()
}

/// A matrix like XᵀX of correlated inputs: heavy on the diagonal, symmetric, positive definite.
fn correlated(side: usize) -> Vec<f32> {
    (0..side * side).map(|at| if at / side == at % side { 2.0 } else { 0.5 / (1.0 + (at / side).abs_diff(at % side) as f32) }).collect()
}

/// Numbers from 0 to 1.
fn uniform() -> impl FnMut() -> f32 {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 16_777_216.0
    }
}

impl Operands {
    fn new(side: usize, cancel: CancelToken) -> Self {
        let mut random = uniform();
        let importance = (0..side).map(|_| 0.1 + random()).collect();
        Self { side, weights: nearly_normal(side * side), importance, hessian: correlated(side), cancel }
    }
}
