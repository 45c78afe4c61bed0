//! A wgpu device of our own: pipelines, buffers that are kept, and one blocking dispatch.
//!
//! Nothing here panics when the GPU misbehaves: errors that wgpu raises asynchronously (validation, out of memory, lost device) are
//! caught by a handler and turn the dispatch in flight into [`Error::Device`]; a dispatch that does not come back in time does too.

use crate::error::{Error, Result};
use halftone_shaders::{BindingKind, Kernel};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wgpu::{BufferUsages, PollType};

/// How long a dispatch may take; drivers reset a GPU long before, software adapters on a busy machine come near.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is bound to one binding of a kernel.
pub(super) enum Operand<'a> {
    /// Bytes to upload.
    Input(&'a [u8]),
    /// What the last dispatch of this kernel uploaded there.
    Kept,
    /// Space for this many bytes, zeroed, to be read back.
    Output(usize),
}

/// A kernel made ready.
struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    bindings: Vec<Slot>,
    staging: Slot,
}

/// A buffer that is kept for the next dispatch and replaced by a larger one when needed.
#[derive(Default)]
struct Slot {
    buffer: Option<wgpu::Buffer>,
    used_bytes: u64,
}

/// A device, its queue and its pipelines.
pub(super) struct Device {
    name: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipelines: Vec<Mutex<Pipeline>>,
    fault: Arc<Mutex<Option<String>>>,
    submits: AtomicU64,
}

impl Device {
    /// Opens the adapter and compiles every kernel.
    pub(super) fn open(adapter: &wgpu::Adapter) -> Result<Self> {
        let name = adapter.get_info().name;
        let limits = wgpu::Limits::default().or_worse_values_from(&adapter.limits());
        let descriptor = wgpu::DeviceDescriptor { label: Some("halftone compute"), required_limits: limits, ..Default::default() };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&descriptor)).map_err(|e| Error::Device { device: name.clone(), detail: e.to_string() })?;

        let fault = Arc::new(Mutex::new(None::<String>));
        let record = |fault: &Mutex<Option<String>>, text: String| {
            // The first error is the cause, the rest follow from it.
            fault.lock().get_or_insert(text);
        };
        let slot = Arc::clone(&fault);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| record(&slot, error.to_string())));
        let slot = Arc::clone(&fault);
        device.set_device_lost_callback(move |reason, message| record(&slot, format!("the device was lost ({reason:?}): {message}")));

        let pipelines = Kernel::ALL.iter().map(|&kernel| Mutex::new(Pipeline::new(&device, kernel))).collect();
        let this = Self { name, device, queue, pipelines, fault, submits: AtomicU64::new(0) };
        this.check()?;
        Ok(this)
    }

    /// How many dispatches have been submitted.
    pub(super) fn submits(&self) -> u64 {
        self.submits.load(Ordering::Acquire)
    }

    /// Gives the device back to the driver; every later dispatch fails.
    pub(super) fn destroy(&self) {
        self.device.destroy();
    }

    /// Uploads, runs one dispatch, waits, and returns the outputs in binding order. `operands` are those after the uniform.
    ///
    /// # Errors
    /// `Device`.
    pub(super) fn dispatch(&self, kernel: Kernel, uniform: &[u8], operands: &[Operand<'_>], workgroups: [u32; 2]) -> Result<Vec<Vec<u8>>> {
        let pipeline = &mut *self.pipelines[kernel as usize].lock();
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(kernel.name()) });
        self.upload(&mut pipeline.bindings[0], uniform, BufferUsages::UNIFORM);
        for (slot, operand) in pipeline.bindings[1..].iter_mut().zip(operands) {
            match operand {
                Operand::Input(bytes) => self.upload(slot, bytes, BufferUsages::STORAGE),
                Operand::Kept => {}
                Operand::Output(bytes) => {
                    let buffer = self.reserve(slot, *bytes as u64, BufferUsages::STORAGE | BufferUsages::COPY_SRC);
                    encoder.clear_buffer(buffer, 0, None);
                }
            }
        }
        self.check()?;

        let entries: Vec<_> =
            (0u32..).zip(&pipeline.bindings).filter_map(|(binding, slot)| Some(wgpu::BindGroupEntry { binding, resource: slot.binding()? })).collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some(kernel.name()), layout: &pipeline.layout, entries: &entries });
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some(kernel.name()), timestamp_writes: None });
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(workgroups[0], workgroups[1], 1);
        drop(pass);

        // All outputs go into one staging buffer, one behind the other.
        let outputs: Vec<(usize, u64)> = operands
            .iter()
            .zip(1..)
            .filter_map(|(o, at)| if let Operand::Output(_) = o { Some(at) } else { None })
            .map(|at| (at, pipeline.bindings[at].used_bytes))
            .collect();
        let staging_bytes = outputs.iter().map(|(_, bytes)| bytes).sum();
        let staging = self.reserve(&mut pipeline.staging, staging_bytes, BufferUsages::MAP_READ).clone();
        let mut offset = 0;
        for &(at, bytes) in &outputs {
            if let Some(buffer) = &pipeline.bindings[at].buffer {
                encoder.copy_buffer_to_buffer(buffer, 0, &staging, offset, bytes);
            }
            offset += bytes;
        }
        let submission = self.queue.submit([encoder.finish()]);
        self.submits.fetch_add(1, Ordering::AcqRel);
        self.check()?;

        let (sender, receiver) = crossbeam_channel::bounded(1);
        staging.map_async(wgpu::MapMode::Read, 0..staging_bytes, move |result| drop(sender.send(result)));
        self.device
            .poll(PollType::Wait { submission_index: Some(submission), timeout: Some(PATIENCE) })
            .map_err(|e| self.error(format!("{} did not finish in {} s: {e}", kernel.name(), PATIENCE.as_secs())))?;
        self.check()?;
        match receiver.try_recv() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(self.error(format!("results of {} cannot be read: {e}", kernel.name()))),
            Err(_) => return Err(self.error(format!("results of {} did not arrive", kernel.name()))),
        }
        let view = staging.get_mapped_range(0..staging_bytes).map_err(|e| self.error(e.to_string()))?;
        let mut rest: &[u8] = &view;
        let results = outputs
            .iter()
            .map(|&(_, bytes)| {
                let (output, tail) = rest.split_at(bytes as usize);
                rest = tail;
                output.to_vec()
            })
            .collect();
        drop(view);
        staging.unmap();
        Ok(results)
    }

    /// An error of this device.
    pub(super) fn error(&self, detail: String) -> Error {
        Error::Device { device: self.name.clone(), detail }
    }

    /// Fails when an error has been raised since the last time.
    fn check(&self) -> Result<()> {
        self.fault.lock().take().map_or(Ok(()), |detail| Err(self.error(detail)))
    }

    fn upload(&self, slot: &mut Slot, bytes: &[u8], usage: BufferUsages) {
        let buffer = self.reserve(slot, bytes.len() as u64, usage);
        self.queue.write_buffer(buffer, 0, bytes);
    }

    /// A buffer of at least `bytes` (in whole words, at least one).
    fn reserve<'a>(&self, slot: &'a mut Slot, bytes: u64, usage: BufferUsages) -> &'a wgpu::Buffer {
        slot.used_bytes = bytes.next_multiple_of(16).max(16);
        if slot.buffer.as_ref().is_some_and(|buffer| buffer.size() < slot.used_bytes) {
            slot.buffer = None;
        }
        let size = slot.used_bytes;
        slot.buffer.get_or_insert_with(|| {
            self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage: usage | BufferUsages::COPY_DST, mapped_at_creation: false })
        })
    }
}

impl Slot {
    fn binding(&self) -> Option<wgpu::BindingResource<'_>> {
        let size = wgpu::BufferSize::new(self.used_bytes);
        self.buffer.as_ref().map(|buffer| wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size }))
    }
}

impl Pipeline {
    fn new(device: &wgpu::Device, kernel: Kernel) -> Self {
        let label = Some(kernel.name());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label, source: wgpu::ShaderSource::Wgsl(kernel.wgsl().into()) });
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
        Self { pipeline, layout, bindings: entries.iter().map(|_| Slot::default()).collect(), staging: Slot::default() }
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
