//! How long the kernels take on the CPU, and on the first GPU adapter at a size a software one can bear. Throughput is in weights.

use divan::{Bencher, counter::ItemsCount};
use halftone_core::codec::Format;
use halftone_core::compute::gpu::Gpu;
use halftone_core::compute::{Backend, Cpu, DeviceChoice, KernelCall};
use halftone_core::job::CancelToken;
use halftone_core::tensor::Statistics;
use std::sync::OnceLock;

fn main() {
    divan::main();
}

const CPU_SIDE: usize = 4096;
const GPU_SIDE: usize = 512;

fn weights(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0 - 0.5
    };
    (0..count).map(|_| uniform() + uniform() + uniform()).collect()
}

fn gpu() -> Option<&'static Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| Gpu::open(&DeviceChoice::Gpu).ok()).as_ref()
}

/// One of each kernel.
const FORMATS: &[&str] = &["Q4_0", "Q4_1", "Q6_K", "IQ4_XS", "Q4_K", "NVFP4", "INT4-g128", "INT4-g128-asym", "FP8-E4M3-g128"];

fn encode(bencher: Bencher<'_, '_>, device: &dyn Backend, side: usize, name: &str) {
    let (weights, format) = (weights(side * side), name.parse::<Format>().expect("a format"));
    let mut bytes = vec![0; format.tensor_bytes(side, side) as usize];
    let importance: Vec<f32> = (0..side).map(|i| 0.1 + (i % 7) as f32).collect();
    bencher.counter(ItemsCount::new(side * side)).bench_local(|| {
        let call = KernelCall::Encode { format, weights: &weights, columns: side, importance: &importance, bytes: &mut bytes };
        device.run(call, &CancelToken::default())
    });
}

#[divan::bench(args = FORMATS, sample_count = 5)]
fn encode_cpu(bencher: Bencher<'_, '_>, name: &str) {
    encode(bencher, &Cpu::default(), CPU_SIDE, name);
}

#[divan::bench(args = FORMATS, sample_count = 5)]
fn encode_gpu(bencher: Bencher<'_, '_>, name: &str) {
    if let Some(gpu) = gpu() {
        encode(bencher, gpu, if gpu.capabilities().is_software { GPU_SIDE } else { CPU_SIDE }, name);
    }
}

#[divan::bench(sample_count = 5)]
fn statistics_cpu(bencher: Bencher<'_, '_>) {
    let weights = weights(CPU_SIDE * CPU_SIDE);
    bencher.counter(ItemsCount::new(weights.len())).bench_local(|| Statistics::from_slice(&weights, CPU_SIDE));
}

fn layer_error(bencher: Bencher<'_, '_>, device: &dyn Backend, rows: usize, columns: usize) {
    let (difference, hessian) = (weights(rows * columns), weights(columns * columns));
    let mut errors = vec![0.0; rows];
    bencher.counter(ItemsCount::new(rows * columns)).bench_local(|| {
        device.run(KernelCall::LayerError { difference: &difference, columns, hessian: &hessian, row_errors: &mut errors }, &CancelToken::default())
    });
}

#[divan::bench(args = [(1536, 576), (2048, 2048)], sample_count = 5)]
fn layer_error_cpu(bencher: Bencher<'_, '_>, (rows, columns): (usize, usize)) {
    layer_error(bencher, &Cpu::default(), rows, columns);
}

#[divan::bench(args = [(512, 512)], sample_count = 5)]
fn layer_error_gpu(bencher: Bencher<'_, '_>, (rows, columns): (usize, usize)) {
    if let Some(gpu) = gpu() {
        layer_error(bencher, gpu, rows, columns);
    }
}
