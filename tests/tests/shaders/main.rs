//! Kernels against their twins, the kernel table against the folder, the uniform structs against naga, and what happens when a device
//! fails. Needs an adapter; Mesa's lavapipe will do.

#![expect(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

mod attention;
mod bench;
mod encode;
mod faults;
mod feedback;
mod forward;
mod forward_faults;
mod gram;
mod hadamard;
mod layer_error;
mod lloyd_step;
mod logits_compare;
mod peaks;
mod product;
mod rows;
mod statistics;
mod table;

use halftone_core::compute::gpu::{Gpu, Most};
use halftone_core::compute::{Backend, Cpu, DeviceChoice};
use halftone_shaders::Extensions;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::OnceLock;

/// The adapter of the tests, opened once. None is a failure: a test that did not run has not passed.
fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| opened(&Most::default()))
}

/// The adapter with what it has beyond the least, and as one that has nothing.
fn extended_and_plain() -> [&'static Gpu; 2] {
    static PLAIN: OnceLock<Gpu> = OnceLock::new();
    [gpu(), PLAIN.get_or_init(|| opened(&Most { extensions: Extensions::default(), ..Most::default() }))]
}

/// The adapter as one whose bindings are small, so that everything is cut.
fn cramped(binding_bytes: u64) -> Gpu {
    opened(&Most { binding_bytes, ..Most::default() })
}

fn opened(most: &Most) -> Gpu {
    Gpu::open_with(&DeviceChoice::Gpu, most)
        .unwrap_or_else(|error| panic!("these tests need a GPU adapter, and a software one will do: apt-get install mesa-vulkan-drivers libvulkan1 ({error})"))
}

/// Every device that must agree with the twins.
fn devices() -> [&'static dyn Backend; 2] {
    static CPU: OnceLock<Cpu> = OnceLock::new();
    [CPU.get_or_init(Cpu::default), gpu()]
}

/// Nearly normal values (sums of twelve uniforms) with an outlier in 97.
fn normal(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|i| (0..12).map(|_| random.random::<f32>()).sum::<f32>() - 6.0 + if i % 97 == 0 { 4.0 } else { 0.0 }).collect()
}
