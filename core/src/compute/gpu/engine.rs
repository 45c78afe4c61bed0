//! What runs kernels: commands are recorded, submitted when about 40 ms of work have gathered, and read back later, so that uploads,
//! kernels and readbacks overlap. A few submits at most are in flight.
//!
//! Nothing here panics when the GPU misbehaves: errors that wgpu raises asynchronously (validation, out of memory, lost device) are
//! caught by a handler and turn what is in flight into [`Error::Device`]; a submit that does not come back in time does too.
//! Times are the device's own (timestamp queries) where it has them, else those of whole submits, shared out by estimate.

use super::meter::{KernelUse, Meter};
use super::pace::Pace;
use super::pipeline::Pipelines;
pub(crate) use super::pool::Memory;
use super::pool::{First, Pool, Use};
use super::stopwatch::{Stopwatch, Times};
use crate::error::{Error, Result};
use halftone_shaders::{Extensions, Kernel};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wgpu::PollType;

/// How long a submit may take; drivers reset a GPU long before, software adapters on a busy machine come near.
const PATIENCE: Duration = Duration::from_secs(30);
/// Submits in flight: one runs, one waits, so that the device does not.
const IN_FLIGHT: usize = 2;
/// Dispatches of a submit, for which there are timestamps.
const MOST_CALLS: usize = 128;
/// Bytes that are uploaded between submits: until then the driver keeps a copy of them.
const MOST_UPLOADED: u64 = 256 << 20;
/// Work of a kernel's first submit, in its own units: little on any device.
const FIRST_WORK: u64 = 1 << 15;

/// A kernel with its operands and what it costs.
pub(crate) struct Dispatch<'a> {
    pub(crate) kernel: Kernel,
    /// The bytes of its uniform struct.
    pub(crate) params: &'a [u8],
    /// What is bound after the uniform, in order.
    pub(crate) memories: &'a [&'a Memory],
    /// Workgroups along each axis, at most 65,535 each.
    pub(crate) workgroups: [u32; 3],
    /// How much this is, in a unit that is the same for all dispatches of the kernel.
    pub(crate) work: u64,
    /// Bytes that must be read and written, each once.
    pub(crate) bytes: u64,
    /// Arithmetic operations.
    pub(crate) operations: u64,
}

/// A dispatch that has been recorded, for its time to be learned from.
struct Call {
    kernel: Kernel,
    work: u64,
    bytes: u64,
    operations: u64,
}

/// A submit whose end has not been seen.
struct Flight {
    number: u64,
    index: wgpu::SubmissionIndex,
    submitted: Instant,
    calls: Vec<Call>,
    times: Option<Times>,
}

#[derive(Default)]
struct Recorder {
    encoder: Option<wgpu::CommandEncoder>,
    calls: Vec<Call>,
    times: Option<Times>,
    /// Estimated share of a submit's time.
    filled: f64,
    flights: VecDeque<Flight>,
    /// When the last submit was seen to end.
    ended: Option<Instant>,
}

/// A device, its queue, its pipelines and its memory.
pub(crate) struct Engine {
    name: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipelines: Pipelines,
    paces: Vec<Pace>,
    meter: Meter,
    stopwatch: Option<Stopwatch>,
    pool: Arc<Pool>,
    recorder: Mutex<Recorder>,
    fault: Arc<Mutex<Option<String>>>,
    submits: AtomicU64,
    /// Bytes since the last submit.
    uploaded: AtomicU64,
    max_binding_bytes: u64,
}

impl Engine {
    /// Opens an adapter with default limits, and these of its extensions.
    ///
    /// # Errors
    /// `Device`.
    pub(super) fn open(adapter: &wgpu::Adapter, max_binding_bytes: u64, extensions: Extensions) -> Result<Self> {
        let name = adapter.get_info().name;
        let limits = wgpu::Limits::default().or_worse_values_from(&adapter.limits());
        let mut features = adapter.features() & wgpu::Features::TIMESTAMP_QUERY;
        let has_timestamps = !features.is_empty();
        features.set(wgpu::Features::SUBGROUP, extensions.subgroups);
        features.set(wgpu::Features::SHADER_F16, extensions.halves);
        let descriptor = wgpu::DeviceDescriptor { label: Some("halftone compute"), required_limits: limits, required_features: features, ..Default::default() };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&descriptor)).map_err(|e| Error::Device { device: name.clone(), detail: e.to_string() })?;

        let fault = Arc::new(Mutex::new(None::<String>));
        let slot = Arc::clone(&fault);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| note(&slot, error.to_string())));
        let slot = Arc::clone(&fault);
        device.set_device_lost_callback(move |reason, message| note(&slot, format!("the device was lost ({reason:?}): {message}")));

        let this = Self {
            name,
            stopwatch: has_timestamps.then(|| Stopwatch::new(&device, &queue, MOST_CALLS)),
            pool: Pool::new(device.clone()),
            pipelines: Pipelines::new(device.clone(), extensions),
            device,
            queue,
            paces: Kernel::ALL.iter().map(|_| Pace::new(FIRST_WORK)).collect(),
            meter: Meter::default(),
            recorder: Mutex::default(),
            fault,
            submits: AtomicU64::new(0),
            uploaded: AtomicU64::new(0),
            max_binding_bytes,
        };
        this.check()?;
        Ok(this)
    }

    /// The compiled kernels.
    pub(super) fn pipelines(&self) -> &Pipelines {
        &self.pipelines
    }

    /// How many submits have been made.
    pub(crate) fn submits(&self) -> u64 {
        self.submits.load(Ordering::Acquire)
    }

    /// What each kernel has done.
    pub(crate) fn used(&self) -> Vec<KernelUse> {
        self.meter.used()
    }

    /// Whether times are the device's own.
    pub(crate) fn has_timestamps(&self) -> bool {
        self.stopwatch.is_some()
    }

    /// Gives the device back to the driver; everything later fails.
    pub(super) fn destroy(&self) {
        self.device.destroy();
    }

    /// Raises an error as the driver would, for tests of what follows.
    pub(super) fn raise(&self, error: &wgpu::Error) {
        note(&self.fault, error.to_string());
    }

    /// Largest memory that can be bound, bytes.
    pub(crate) fn max_binding_bytes(&self) -> u64 {
        self.max_binding_bytes
    }

    /// Work of this kernel that fits one submit.
    pub(crate) fn share(&self, kernel: Kernel) -> u64 {
        self.paces[kernel as usize].next()
    }

    /// An error of this device.
    pub(crate) fn error(&self, detail: impl Into<String>) -> Error {
        Error::Device { device: self.name.clone(), detail: detail.into() }
    }

    /// These bytes on the device.
    ///
    /// # Errors
    /// `Device`, when an error has been raised since the last time; also for more than can be bound.
    pub(crate) fn upload(&self, bytes: &[u8]) -> Result<Memory> {
        let memory = self.take(bytes.len() as u64, First::Upload)?;
        self.write(&memory, bytes);
        if self.uploaded.fetch_add(memory.bytes(), Ordering::AcqRel) > MOST_UPLOADED {
            self.submit(&mut self.recorder.lock())?;
        }
        self.check()?;
        Ok(memory)
    }

    /// Room for so many bytes, whatever is in it.
    ///
    /// # Errors
    /// As [`Self::upload`].
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Memory> {
        let memory = self.take(bytes, First::Command)?;
        self.check()?;
        Ok(memory)
    }

    /// So many zeros.
    ///
    /// # Errors
    /// As [`Self::upload`].
    pub(crate) fn zeroed(&self, bytes: u64) -> Result<Memory> {
        let memory = self.reserve(bytes)?;
        self.encoder(&mut self.recorder.lock().encoder).clear_buffer(memory.buffer(), 0, None);
        Ok(memory)
    }

    /// Bytes into a memory, from `offset` on, behind everything recorded so far.
    ///
    /// # Errors
    /// As [`Self::upload`].
    pub(crate) fn put(&self, memory: &Memory, offset: u64, bytes: &[u8]) -> Result<()> {
        let recorder = &mut *self.recorder.lock();
        if recorder.encoder.is_some() {
            self.submit(recorder)?;
        }
        self.queue.write_buffer(memory.buffer(), offset, bytes);
        self.check()
    }

    /// Records a dispatch, and submits what has gathered when it is enough.
    ///
    /// # Errors
    /// `Device`, also for an earlier dispatch.
    pub(crate) fn dispatch(&self, call: Dispatch<'_>) -> Result<()> {
        let kernel = call.kernel;
        let pipeline = self.pipelines.of(kernel);
        let uniform = self.pool.take(call.params.len() as u64, Use::Storage, First::Upload);
        self.write(&uniform, call.params);
        let memories = std::iter::once(&uniform).chain(call.memories.iter().copied());
        let entries: Vec<_> = (0u32..).zip(memories).map(|(binding, memory)| wgpu::BindGroupEntry { binding, resource: memory.binding() }).collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some(kernel.name()), layout: &pipeline.layout, entries: &entries });

        let recorder = &mut *self.recorder.lock();
        if recorder.times.is_none() {
            recorder.times = self.stopwatch.as_ref().map(Stopwatch::times);
        }
        let timestamp_writes = recorder.times.as_ref().map(|times| times.around(recorder.calls.len()));
        let mut pass = self.encoder(&mut recorder.encoder).begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some(kernel.name()), timestamp_writes });
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &group, &[]);
        let [x, y, z] = call.workgroups;
        pass.dispatch_workgroups(x, y, z);
        drop(pass);
        recorder.filled += call.work as f64 / self.share(kernel) as f64;
        recorder.calls.push(Call { kernel, work: call.work, bytes: call.bytes, operations: call.operations });
        if recorder.filled >= 1.0 || recorder.calls.len() == MOST_CALLS {
            self.submit(recorder)?;
        }
        self.check()
    }

    /// Submits what is recorded, with the copies that bring these memories to the host.
    ///
    /// # Errors
    /// `Device`, also for an earlier dispatch.
    pub(crate) fn read(&self, memories: &[&Memory]) -> Result<Pending<'_>> {
        let lengths: Vec<u64> = memories.iter().map(|memory| memory.bytes()).collect();
        let staging = self.pool.take(lengths.iter().sum(), Use::Staging, First::Command);
        let submit = {
            let recorder = &mut *self.recorder.lock();
            let encoder = self.encoder(&mut recorder.encoder);
            let mut offset = 0;
            for memory in memories {
                encoder.copy_buffer_to_buffer(memory.buffer(), 0, staging.buffer(), offset, memory.bytes());
                offset += memory.bytes();
            }
            self.submit(recorder)?
        };
        self.check()?;
        let (sender, receiver) = crossbeam_channel::bounded(1);
        staging.buffer().map_async(wgpu::MapMode::Read, 0..staging.bytes(), move |result| drop(sender.send(result)));
        Ok(Pending { engine: self, staging, lengths, submit, receiver })
    }

    /// What is in a memory.
    ///
    /// # Errors
    /// `Device`, also for an earlier dispatch.
    pub(crate) fn read_one(&self, memory: &Memory) -> Result<Vec<u8>> {
        let [bytes]: [Vec<u8>; 1] = self.read(&[memory])?.wait()?.try_into().map_err(|_| self.error("one output was expected"))?;
        Ok(bytes)
    }

    /// Submits what is recorded and waits for everything.
    ///
    /// # Errors
    /// `Device`.
    pub(crate) fn finish(&self) -> Result<()> {
        let recorder = &mut *self.recorder.lock();
        if recorder.encoder.is_some() {
            self.submit(recorder)?;
        }
        while !recorder.flights.is_empty() {
            self.land(recorder)?;
        }
        Ok(())
    }

    fn take(&self, bytes: u64, first: First) -> Result<Memory> {
        if bytes > self.max_binding_bytes {
            return Err(self.error(format!("{bytes} bytes do not fit a binding of {}", self.max_binding_bytes)));
        }
        Ok(self.pool.take(bytes, Use::Storage, first))
    }

    /// Bytes into the front of a memory; the queue writes whole words.
    fn write(&self, memory: &Memory, bytes: &[u8]) {
        let whole = bytes.len() / 4 * 4;
        if whole > 0 {
            self.queue.write_buffer(memory.buffer(), 0, &bytes[..whole]);
        }
        if whole < bytes.len() {
            let mut word = [0; 4];
            word[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.queue.write_buffer(memory.buffer(), whole as u64, &word);
        }
    }

    fn encoder<'a>(&self, current: &'a mut Option<wgpu::CommandEncoder>) -> &'a mut wgpu::CommandEncoder {
        current.get_or_insert_with(|| self.new_encoder())
    }

    fn new_encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("halftone") })
    }

    fn submit(&self, recorder: &mut Recorder) -> Result<(u64, wgpu::SubmissionIndex)> {
        let mut encoder = recorder.encoder.take().unwrap_or_else(|| self.new_encoder());
        let mut times = recorder.times.take();
        let calls = std::mem::take(&mut recorder.calls);
        recorder.filled = 0.0;
        if let Some(times) = &times {
            times.resolve(&mut encoder, calls.len());
        }
        let index = self.queue.submit([encoder.finish()]);
        self.uploaded.store(0, Ordering::Release);
        let number = self.submits.fetch_add(1, Ordering::AcqRel) + 1;
        self.pool.submitted();
        if let Some(times) = &mut times {
            times.fetch();
        }
        recorder.flights.push_back(Flight { number, index: index.clone(), submitted: Instant::now(), calls, times });
        while recorder.flights.len() > IN_FLIGHT {
            self.land(recorder)?;
        }
        Ok((number, index))
    }

    /// Waits for the oldest submit in flight and learns from its times.
    fn land(&self, recorder: &mut Recorder) -> Result<()> {
        let Some(flight) = recorder.flights.pop_front() else { return Ok(()) };
        self.wait(flight.index)?;
        let now = Instant::now();
        let whole = now - recorder.ended.map_or(flight.submitted, |ended| ended.max(flight.submitted));
        recorder.ended = Some(now);
        let measured = match (&self.stopwatch, flight.times) {
            (Some(stopwatch), Some(times)) => stopwatch.read(times, flight.calls.len()),
            _ => None,
        };
        let filled = |call: &Call| call.work as f64 / self.share(call.kernel) as f64;
        let sum: f64 = flight.calls.iter().map(filled).sum();
        let elapsed: Vec<Duration> =
            measured.unwrap_or_else(|| flight.calls.iter().map(|call| whole.mul_f64(if sum > 0.0 { filled(call) / sum } else { 1.0 })).collect());
        let mut sums: BTreeMap<Kernel, (u64, Duration)> = BTreeMap::new();
        for (call, elapsed) in flight.calls.iter().zip(elapsed) {
            self.meter.add(call.kernel, elapsed, call.bytes, call.operations);
            let (work, time) = sums.entry(call.kernel).or_default();
            *work += call.work;
            *time += elapsed;
        }
        sums.into_iter().for_each(|(kernel, (work, time))| self.paces[kernel as usize].record(work, time));
        Ok(())
    }

    fn wait(&self, index: wgpu::SubmissionIndex) -> Result<()> {
        let polled = self.device.poll(PollType::Wait { submission_index: Some(index), timeout: Some(PATIENCE) });
        // A device that was lost does not end either, and that is the cause.
        self.check()?;
        polled.map(drop).map_err(|e| self.error(format!("no end was seen in {} s: {e}", PATIENCE.as_secs())))
    }

    /// Fails once an error has been raised, from then on always: whose commands it came from is not known.
    fn check(&self) -> Result<()> {
        self.fault.lock().as_ref().map_or(Ok(()), |detail| Err(self.error(detail)))
    }
}

/// The first error is the cause, the rest follow from it.
fn note(fault: &Mutex<Option<String>>, text: String) {
    fault.lock().get_or_insert(text);
}

/// Results on their way to the host.
pub(crate) struct Pending<'a> {
    engine: &'a Engine,
    staging: Memory,
    lengths: Vec<u64>,
    submit: (u64, wgpu::SubmissionIndex),
    receiver: crossbeam_channel::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
}

impl Pending<'_> {
    /// The bytes of each memory, in order; each as long as it is bound, which is whole 16s.
    ///
    /// # Errors
    /// `Device`.
    pub(crate) fn wait(self) -> Result<Vec<Vec<u8>>> {
        let engine = self.engine;
        {
            let (number, index) = self.submit.clone();
            let recorder = &mut *engine.recorder.lock();
            while recorder.flights.front().is_some_and(|flight| flight.number <= number) {
                engine.land(recorder)?;
            }
            engine.wait(index)?;
        }
        match self.receiver.try_recv() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(engine.error(format!("results cannot be read: {e}"))),
            Err(_) => return Err(engine.error("results did not arrive")),
        }
        let view = self.staging.buffer().get_mapped_range(0..self.staging.bytes()).map_err(|e| engine.error(e.to_string()))?;
        let mut rest: &[u8] = &view;
        let mut results = Vec::with_capacity(self.lengths.len());
        for length in &self.lengths {
            let (result, tail) = rest.split_at(*length as usize);
            results.push(result.to_vec());
            rest = tail;
        }
        Ok(results)
    }
}

impl Drop for Pending<'_> {
    /// Whether it was waited for or not: a buffer that is mapped cannot be written again.
    fn drop(&mut self) {
        self.staging.buffer().unmap();
    }
}
