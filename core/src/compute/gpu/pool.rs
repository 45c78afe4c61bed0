//! Memory on the device that is used again: buffers of a few sizes, which go back when dropped.
//!
//! Uploads happen before the commands that are being recorded, whatever the order of the calls. So a buffer that those commands may still
//! read is only handed out for an upload once they are submitted; until then it is in limbo.

use parking_lot::Mutex;
use std::sync::Arc;
use wgpu::BufferUsages;

/// Freed memory that is kept, bytes; more goes back to the driver.
const KEPT_BYTES: u64 = 1 << 30;
const STORAGE: BufferUsages = BufferUsages::STORAGE.union(BufferUsages::UNIFORM).union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);
const STAGING: BufferUsages = BufferUsages::MAP_READ.union(BufferUsages::COPY_DST);

/// What a buffer is for; buffers of one use are not handed out for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Bound to kernels.
    Storage,
    /// Read by the host.
    Staging,
}

/// Who writes a buffer first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// The host, before all commands that are not yet submitted.
    Upload,
    /// A command.
    Command,
}

#[derive(Default)]
struct Freed {
    free: Vec<(Use, wgpu::Buffer)>,
    limbo: Vec<(Use, wgpu::Buffer)>,
}

/// The buffers of one device.
pub(super) struct Pool {
    device: wgpu::Device,
    freed: Mutex<Freed>,
}

/// Bytes on the device; back to the pool when dropped.
pub(crate) struct Memory {
    buffer: Option<wgpu::Buffer>,
    bytes: u64,
    kind: Use,
    pool: Arc<Pool>,
}

impl Pool {
    pub(super) fn new(device: wgpu::Device) -> Arc<Self> {
        Arc::new(Self { device, freed: Mutex::default() })
    }

    /// At least `bytes`, of which exactly so many (in whole 16s, at least 16) will be bound.
    pub(super) fn take(self: &Arc<Self>, bytes: u64, kind: Use, first: First) -> Memory {
        let bytes = bytes.next_multiple_of(16).max(16);
        let size = class(bytes);
        let mut freed = self.freed.lock();
        let fits = |list: &[(Use, wgpu::Buffer)]| list.iter().position(|(k, buffer)| *k == kind && buffer.size() == size);
        let buffer = match (fits(&freed.free), first) {
            (Some(at), _) => Some(freed.free.swap_remove(at).1),
            (None, First::Command) if kind == Use::Storage => fits(&freed.limbo).map(|at| freed.limbo.swap_remove(at).1),
            (None, _) => None,
        };
        drop(freed);
        let usage = if kind == Use::Storage { STORAGE } else { STAGING };
        let buffer = buffer.unwrap_or_else(|| self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false }));
        Memory { buffer: Some(buffer), bytes, kind, pool: Arc::clone(self) }
    }

    /// What was recorded has been submitted: everything in limbo is free.
    pub(super) fn submitted(&self) {
        let freed = &mut *self.freed.lock();
        freed.free.append(&mut freed.limbo);
        let mut kept = 0;
        // The newest are the likeliest to be wanted again.
        let from = freed.free.iter().rposition(|(_, buffer)| {
            kept += buffer.size();
            kept > KEPT_BYTES
        });
        freed.free.drain(..from.map_or(0, |at| at + 1));
    }
}

impl Memory {
    /// Bytes that are bound.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn buffer(&self) -> &wgpu::Buffer {
        self.buffer.as_ref().expect("a memory has its buffer until it is dropped")
    }

    pub(super) fn binding(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: self.buffer(), offset: 0, size: wgpu::BufferSize::new(self.bytes) })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.pool.freed.lock().limbo.push((self.kind, buffer));
        }
    }
}

/// The size that a buffer for so many bytes gets: at most a quarter more, so that a pool has few sizes.
fn class(bytes: u64) -> u64 {
    let step = (bytes.next_power_of_two() / 8).max(256);
    bytes.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_wastes_a_quarter_at_most_and_small_ones_are_all_alike() {
        for bytes in (16..100_000).step_by(16).chain([1 << 27, (1 << 27) - 16]) {
            let size = class(bytes);
            assert!(size >= bytes && size <= (bytes + bytes / 4).max(bytes.next_multiple_of(256)), "{bytes} became {size}");
        }
        assert_eq!((class(16), class(256), class(257)), (256, 256, 512), "in steps of 256");
    }
}
