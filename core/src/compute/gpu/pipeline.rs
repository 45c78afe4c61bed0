//! The compiled kernels of a device, each made when it is first used: with the extensions that the device has, or without them where they
//! turned out to give wrong numbers.

use halftone_shaders::{BindingKind, Extensions, Kernel};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// A compiled kernel.
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

/// A kernel with extensions and without.
#[derive(Default)]
struct Variants {
    /// None where it does not compile.
    extended: OnceLock<Option<Pipeline>>,
    plain: OnceLock<Pipeline>,
    is_plain: AtomicBool,
}

/// Every kernel of a device.
pub(super) struct Pipelines {
    device: wgpu::Device,
    extensions: Extensions,
    kernels: Vec<Variants>,
}

impl Pipelines {
    pub(super) fn new(device: wgpu::Device, extensions: Extensions) -> Self {
        Self { device, extensions, kernels: Kernel::ALL.iter().map(|_| Variants::default()).collect() }
    }

    pub(super) fn of(&self, kernel: Kernel) -> &Pipeline {
        let variants = &self.kernels[kernel as usize];
        if self.is_extended(kernel)
            && !variants.is_plain.load(Ordering::Acquire)
            && let Some(pipeline) = variants.extended.get_or_init(|| self.extended(kernel))
        {
            return pipeline;
        }
        variants.plain.get_or_init(|| Pipeline::new(&self.device, kernel, kernel.wgsl(Extensions::default())))
    }

    /// From now on this kernel does without extensions; whether that is a difference.
    pub(super) fn simplify(&self, kernel: Kernel) -> bool {
        self.is_extended(kernel) && !self.kernels[kernel as usize].is_plain.swap(true, Ordering::AcqRel)
    }

    fn is_extended(&self, kernel: Kernel) -> bool {
        kernel.wgsl(self.extensions) != kernel.wgsl(Extensions::default())
    }

    /// None where the driver does not take it.
    fn extended(&self, kernel: Kernel) -> Option<Pipeline> {
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let pipeline = Pipeline::new(&self.device, kernel, kernel.wgsl(self.extensions));
        // The last scope ends first.
        let errors = [pollster::block_on(validation.pop()), pollster::block_on(internal.pop())];
        let Some(error) = errors.into_iter().flatten().next() else { return Some(pipeline) };
        tracing::warn!(kernel = kernel.name(), %error, "goes without extensions");
        self.simplify(kernel);
        None
    }
}

impl Pipeline {
    fn new(device: &wgpu::Device, kernel: Kernel, source: String) -> Self {
        let label = Some(kernel.name());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label, source: wgpu::ShaderSource::Wgsl(source.into()) });
        let entries: Vec<_> = (0u32..).zip(kernel.bindings()).map(|(binding, b)| layout_entry(binding, b.kind)).collect();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor { label, bind_group_layouts: &[Some(&layout)], immediate_size: 0 });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        Self { pipeline, layout }
    }
}

fn layout_entry(binding: u32, kind: BindingKind) -> wgpu::BindGroupLayoutEntry {
    let ty = match kind {
        BindingKind::Uniform => wgpu::BufferBindingType::Uniform,
        BindingKind::Read => wgpu::BufferBindingType::Storage { read_only: true },
        BindingKind::Write => wgpu::BufferBindingType::Storage { read_only: false },
    };
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::DeviceChoice;
    use crate::compute::gpu::{Gpu, Most};

    /// Puts a kernel that computes something else in the place of the one that is used.
    fn spoil(gpu: &Gpu, kernel: Kernel, from: &str, to: &str) {
        let pipelines = gpu.engine.pipelines();
        let source = kernel.wgsl(pipelines.extensions);
        assert!(source.contains(from), "{} with {:?}", kernel.name(), pipelines.extensions);
        let wrong = Pipeline::new(&pipelines.device, kernel, source.replace(from, to));
        let variants = &pipelines.kernels[kernel as usize];
        let is_new = if pipelines.is_extended(kernel) { variants.extended.set(Some(wrong)).is_ok() } else { variants.plain.set(wrong).is_ok() };
        assert!(is_new, "not used before");
    }

    #[test]
    fn a_kernel_whose_extensions_give_wrong_numbers_does_without_them() {
        let gpu = Gpu::open(&DeviceChoice::Gpu).expect("an adapter; lavapipe has both extensions");
        spoil(&gpu, Kernel::Norm, "subgroupAdd(value)", "value");
        // What a device does that takes subnormal halves for zeros.
        spoil(&gpu, Kernel::MatmulQuantized, "vec2<f32>(bitcast<vec2<f16>>(word))", "floor(vec2<f32>(bitcast<vec2<f16>>(word)) * 16384.0) / 16384.0");
        for (kernel, is_plain) in [(Kernel::Norm, true), (Kernel::MatmulQuantized, true), (Kernel::LogitsCompare, false)] {
            gpu.trust(kernel).expect("the plain kernel is right");
            assert_eq!(gpu.engine.pipelines().kernels[kernel as usize].is_plain.load(Ordering::Acquire), is_plain, "{}", kernel.name());
        }
    }

    #[test]
    fn a_kernel_whose_extensions_do_not_compile_does_without_them() {
        let gpu = Gpu::open_with(&DeviceChoice::Gpu, &Most { extensions: Extensions::default(), ..Most::default() }).expect("an adapter");
        let pipelines = Pipelines::new(gpu.engine.pipelines().device.clone(), Extensions::ALL);
        for (kernel, is_plain) in [(Kernel::Norm, true), (Kernel::MatmulQuantized, true), (Kernel::Rope, false)] {
            pipelines.of(kernel);
            assert_eq!(pipelines.kernels[kernel as usize].is_plain.load(Ordering::Acquire), is_plain, "{}", kernel.name());
        }
        gpu.finish().expect("no error of the device");
        gpu.trust(Kernel::Norm).expect("it can still be used");
    }

    #[test]
    fn a_kernel_that_is_wrong_in_one_of_its_ways_is_refused() {
        for (kernel, from, to) in [
            (Kernel::Add, "+=", "-="),
            (Kernel::Matmul, "b7 += products(v, w4, w5, w6, w7);", ""),
            (Kernel::Gram, "a1 += r.y * c;", "a1 += r.x * c;"),
            (Kernel::Rope, "params.interleaved != 0u", "params.interleaved == 0u"),
            (Kernel::Rope, "params.interleaved != 0u", "true"),
            (Kernel::Attention, "capped(score * params.scale)", "score * params.scale"),
            (Kernel::Attention, "params.causal != 0u && key > place", "params.causal != 0u && key >= place"),
            (Kernel::Gate, "0.044715", "0.44715"),
            (Kernel::Gate, "0.70710678", "0.6"),
            (Kernel::Embedding, "* params.scale", ""),
            (Kernel::RoundInputs, "0x7fffu", "0x6fffu"),
            (Kernel::RoundInputs, "size / 127.0", "size / 126.0"),
            (Kernel::RoundInputs, "-127.0 / extreme", "-128.0 / extreme"),
            (Kernel::LogitsCompare, "a_index < b_index", "a_index > b_index + 1000u"),
            (Kernel::LogitsCompare, "log_sum.y - after", "log_sum.x - after"),
            (Kernel::FeedbackProduct, "params.skip_end", "params.skip_begin"),
            (Kernel::FeedbackColumns, "level - params.low", "level - params.low + 1.0"),
            (Kernel::FeedbackColumns, "0.5 * (levels[middle - 1u] + levels[middle])", "levels[middle]"),
        ] {
            let gpu = Gpu::open_with(&DeviceChoice::Gpu, &Most { extensions: Extensions::default(), ..Most::default() }).expect("an adapter");
            spoil(&gpu, kernel, from, to);
            assert!(gpu.trust(kernel).is_err(), "{} without {from}", kernel.name());
        }
    }
}
