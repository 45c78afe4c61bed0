//! What a device can do at best: bytes a second of its memory, operations a second of its arithmetic. The floor of a kernel is the longer of
//! its bytes over the one and its operations over the other.

use super::engine::{Dispatch, Engine};
use crate::error::Result;
use bytemuck::bytes_of;
use halftone_shaders::Kernel;
use halftone_shaders::twin::{multiply_add, stream_copy};
use serde::Serialize;

/// Bytes that are copied: far more than any cache.
const COPIED: u64 = 128 << 20;
/// Threads of the copy and of the arithmetic.
const THREADS: u32 = 1 << 18;
/// Threads of a workgroup.
const GROUP: u32 = 256;
/// Times that are taken; the best counts.
const TAKEN: usize = 5;

/// The best of a device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Peaks {
    /// Bytes read and written a second, by a copy.
    pub bytes_per_second: f64,
    /// f32 operations a second; a multiplication with an addition counts as two.
    pub operations_per_second: f64,
}

impl Peaks {
    /// The shortest time for so many bytes and operations, seconds.
    pub fn floor(&self, bytes: u64, operations: u64) -> f64 {
        (bytes as f64 / self.bytes_per_second).max(operations as f64 / self.operations_per_second)
    }
}

/// Measures a device; a software one on less, because it takes seconds else.
pub(super) fn measure(engine: &Engine, is_software: bool) -> Result<Peaks> {
    let copied = COPIED.min(engine.max_binding_bytes()) >> if is_software { 3 } else { 0 };
    let (from, to) = (engine.reserve(copied)?, engine.reserve(copied)?);
    let params = stream_copy::Params { count: (copied / 16) as u32, stride: THREADS, ..Default::default() };
    let copy = || {
        engine.dispatch(Dispatch {
            kernel: Kernel::StreamCopy,
            params: bytes_of(&params),
            memories: &[&from, &to],
            workgroups: [THREADS / GROUP, 1, 1],
            work: copied,
            bytes: 2 * copied,
            operations: 0,
        })
    };
    let bytes_per_second = 2.0 * copied as f64 / best(engine, Kernel::StreamCopy, copy)?;

    let (threads, rounds) = if is_software { (THREADS >> 6, 64) } else { (THREADS, 1024) };
    let (from, to) = (engine.zeroed(u64::from(threads) * 4)?, engine.reserve(u64::from(threads) * 4)?);
    let params = multiply_add::Params { threads, rounds, factor: 0.999, addend: 0.5 };
    let operations = u64::from(threads) * u64::from(rounds) * u64::from(multiply_add::CHAINS) * 2;
    let multiply = || {
        engine.dispatch(Dispatch {
            kernel: Kernel::MultiplyAdd,
            params: bytes_of(&params),
            memories: &[&from, &to],
            workgroups: [threads.div_ceil(GROUP), 1, 1],
            work: operations,
            bytes: u64::from(threads) * 8,
            operations,
        })
    };
    let operations_per_second = operations as f64 / best(engine, Kernel::MultiplyAdd, multiply)?;
    Ok(Peaks { bytes_per_second, operations_per_second })
}

/// The shortest time of a dispatch, seconds.
fn best(engine: &Engine, kernel: Kernel, dispatch: impl Fn() -> Result<()>) -> Result<f64> {
    let spent = || engine.used().iter().find(|used| used.kernel == kernel.name()).map_or(0.0, |used| used.seconds);
    let mut best = f64::INFINITY;
    for _ in 0..TAKEN {
        engine.finish()?;
        let before = spent();
        dispatch()?;
        engine.finish()?;
        best = best.min(spent() - before);
    }
    Ok(best.max(1e-9))
}
