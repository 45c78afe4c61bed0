//! The device's own times of single dispatches, by timestamp queries.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use wgpu::{BufferUsages, QuerySet};

/// Timestamps of one submit.
pub(super) struct Times {
    set: QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    arrived: Option<Arc<Mutex<Option<bool>>>>,
}

/// Makes them, and uses them again.
pub(super) struct Stopwatch {
    device: wgpu::Device,
    most: usize,
    nanoseconds_per_tick: f64,
    free: Mutex<Vec<Times>>,
}

impl Stopwatch {
    pub(super) fn new(device: &wgpu::Device, queue: &wgpu::Queue, most: usize) -> Self {
        Self { device: device.clone(), most, nanoseconds_per_tick: f64::from(queue.get_timestamp_period()), free: Mutex::default() }
    }

    /// Room for the timestamps of a submit.
    pub(super) fn times(&self) -> Times {
        self.free.lock().pop().unwrap_or_else(|| {
            let count = 2 * self.most as u32;
            let set = self.device.create_query_set(&wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count });
            let buffer =
                |usage| self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: u64::from(count) * 8, usage, mapped_at_creation: false });
            Times {
                set,
                resolved: buffer(BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC),
                staging: buffer(BufferUsages::MAP_READ | BufferUsages::COPY_DST),
                arrived: None,
            }
        })
    }

    /// How long each of `calls` dispatches took, once its submit has ended; `None` when the times did not come, or make no sense.
    pub(super) fn read(&self, mut times: Times, calls: usize) -> Option<Vec<Duration>> {
        let arrived = times.arrived.take()?;
        if *arrived.lock() != Some(true) {
            return None;
        }
        let ticks: Vec<u64> = {
            let view = times.staging.get_mapped_range(0..calls as u64 * 16).ok()?;
            view.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
        };
        times.staging.unmap();
        self.free.lock().push(times);
        let elapsed = |pair: &[u64; 2]| pair[1].checked_sub(pair[0]).map(|ticks| Duration::from_nanos((ticks as f64 * self.nanoseconds_per_tick) as u64));
        ticks.as_chunks::<2>().0.iter().map(elapsed).collect()
    }
}

impl Times {
    /// Where the pass of dispatch `at` leaves its times.
    pub(super) fn around(&self, at: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        let first = 2 * at as u32;
        wgpu::ComputePassTimestampWrites { query_set: &self.set, beginning_of_pass_write_index: Some(first), end_of_pass_write_index: Some(first + 1) }
    }

    /// Records the copies to the host, behind the last dispatch.
    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder, calls: usize) {
        if calls > 0 {
            encoder.resolve_query_set(&self.set, 0..2 * calls as u32, &self.resolved, 0);
            encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, calls as u64 * 16);
        }
    }

    /// Asks for them, after the submit.
    pub(super) fn fetch(&mut self) {
        let arrived = Arc::new(Mutex::new(None));
        self.arrived = Some(Arc::clone(&arrived));
        self.staging.map_async(wgpu::MapMode::Read, .., move |result| *arrived.lock() = Some(result.is_ok()));
    }
}
