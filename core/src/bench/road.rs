//! A model's worth of layers from weights to packed bytes: what a user waits for, stage by stage, beside the memory floor.
//!
//! The layers are those of a Llama of 8 billion parameters (4096 wide, 14336 in the feed-forward), repeated until there are enough weights.
//! Each shape is drawn once; that takes no part in the times.

use crate::codec::Format;
use crate::compute::gpu::{Gpu, KernelUse, Peaks};
use crate::compute::{Backend, KernelCall};
use crate::error::{Error, Result};
use crate::job::CancelToken;
use crate::round::{Evidence, Hessian, rounder};
use serde::Serialize;
use std::time::Instant;

/// Rows and columns of a block's linears: q and o, k and v, gate and up, down.
const SHAPES: [(usize, usize); 7] = [(4096, 4096), (4096, 4096), (1024, 4096), (1024, 4096), (14336, 4096), (14336, 4096), (4096, 14336)];

/// What is done to every layer.
const ROADS: [(&str, &str); 4] = [("Q4_K", "nearest"), ("IQ4_XS", "nearest"), ("INT4-g128", "nearest"), ("INT4-g128", "gptq")];

/// One road.
#[derive(Clone, Debug, Serialize)]
pub struct RoadRow {
    /// The format.
    pub format: String,
    /// How its codes are chosen.
    pub rounding: &'static str,
    /// Weights that went through.
    pub weights: u64,
    /// Wall time from f32 weights in memory to packed bytes in memory, seconds.
    pub seconds: f64,
    /// Of it, factoring the matrices of the inputs on the CPU, once for each width of a block.
    pub factor_seconds: f64,
    /// Of it, kernels running on the device.
    pub device_seconds: f64,
    /// Reading the weights and writing the bytes once at the speed of the device's memory, seconds.
    pub floor_seconds: f64,
    /// Kernel by kernel.
    pub kernels: Vec<KernelUse>,
}

/// Runs every road over about so many weights.
///
/// # Errors
/// `Device`, `Cancelled`.
pub fn bench_roads(gpu: &Gpu, peaks: &Peaks, weights: u64, cancel: &CancelToken) -> Result<Vec<RoadRow>> {
    ROADS.into_iter().map(|(format, rounding)| road(gpu, peaks, format.parse()?, rounding, weights, cancel)).collect()
}

fn road(gpu: &Gpu, peaks: &Peaks, format: Format, rounding: &'static str, wanted: u64, cancel: &CancelToken) -> Result<RoadRow> {
    let largest = SHAPES.iter().map(|(rows, columns)| rows * columns).max().unwrap_or(0);
    let drawn = super::nearly_normal(largest);
    let importance = vec![1.0f32; 14336];
    gpu.finish()?;
    let before = gpu.used();
    let (mut weights, mut bytes, mut seconds, mut factor_seconds) = (0u64, 0u64, 0.0, 0.0);
    let mut hessians: Vec<(usize, Hessian)> = Vec::new();
    for (rows, columns) in SHAPES.into_iter().cycle() {
        if weights >= wanted {
            break;
        }
        let (layer, mut packed) = (&drawn[..rows * columns], vec![0; format.tensor_bytes(rows, columns) as usize]);
        if rounding == "gptq" && !hessians.iter().any(|(n, _)| *n == columns) {
            hessians.push((columns, Hessian::new(&super::correlated(columns), columns, 1)?));
        }
        let start = Instant::now();
        match hessians.iter().find(|(n, _)| *n == columns) {
            Some((_, hessian)) if rounding == "gptq" => {
                hessian.factor()?;
                factor_seconds += start.elapsed().as_secs_f64();
                let rounder = rounder(rounding).ok_or_else(|| Error::Input(format!("no rounding {rounding}")))?;
                packed = rounder
                    .round(layer, columns, format, Evidence { hessian: Some(hessian), gpu: Some(gpu), cancel: Some(cancel), ..Evidence::default() })?
                    .bytes;
            }
            _ => gpu.run(KernelCall::Encode { format, weights: layer, columns, importance: &importance[..columns], bytes: &mut packed }, cancel)?,
        }
        seconds += start.elapsed().as_secs_f64();
        weights += layer.len() as u64;
        bytes += packed.len() as u64;
    }
    gpu.finish()?;
    let kernels = KernelUse::since(gpu.used(), &before);
    let device_seconds = kernels.iter().map(|used| used.seconds).sum();
    let floor_seconds = peaks.floor(4 * weights + bytes, 0);
    Ok(RoadRow { format: format.to_string(), rounding, weights, seconds, factor_seconds, device_seconds, floor_seconds, kernels })
}
