//! Formats with a kernel: the bytes of the twin on every device.

use super::{devices, normal};
use halftone_core::codec::Format;
use halftone_core::compute::{Backend, KernelCall, formats_with_kernel};
use halftone_core::error::Error;
use halftone_core::job::CancelToken;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Longer groups and shorter ones than the table has.
const FURTHER: [&str; 3] = ["INT8-g8", "INT8-g768-asym", "INT2-g64-asym"];
const COLUMNS: usize = 768;

/// A format and rows.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub format: Format,
    pub columns: usize,
}

/// What stands where nothing was written.
pub const GUARD: u8 = 0xa5;

impl Case {
    /// Encodes on a device, guards where nothing was written.
    pub fn on(self, device: &dyn Backend, weights: &[f32], importance: &[f32], cancel: &CancelToken) -> (Vec<u8>, Result<(), Error>) {
        let format = self.format;
        let mut bytes = vec![GUARD; format.tensor_bytes(weights.len() / self.columns, self.columns) as usize];
        let call = KernelCall::Encode { format, weights, columns: self.columns, importance, bytes: &mut bytes };
        let result = device.run(call, cancel);
        (bytes, result)
    }
}

/// Rows of every kind: normal, heavy-tailed, offset, flat, on grids, tiny, subnormal, huge, with zeros, not-a-numbers and infinities.
fn hostile_weights(seed: u64) -> Vec<f32> {
    let mut values = normal(21 * COLUMNS, seed);
    for (row, values) in values.chunks_exact_mut(COLUMNS).enumerate() {
        for (column, value) in values.iter_mut().enumerate() {
            let v = *value;
            *value = match (row, column % 61) {
                (1, 5) => f32::NAN,
                (1, 40) => f32::NEG_INFINITY,
                (2, _) => 0.01 * v.powi(3),
                (3, _) => 0.02 * v + 1.5,
                (4, _) => 0.37,
                (5, _) => (v * 2.0).round() * 0.25,
                (6, _) => (v * 2.0).round() * 0.1,
                (7, _) => v * 1e-7,
                (8, _) => v * 1e-6,
                (9, _) => v * 1e-11,
                (10, _) => v * 1e-40,
                (11, _) => v * 1e5,
                (12, _) => v * 1e30,
                (13, 0..30) => 0.0,
                (14, _) => 0.0,
                (15, c) if c != 3 => 0.0,
                (16, _) => v.abs() + 0.1,
                (17, _) => 1.0 + v * 1e-7,
                (18, _) => v * 10f32.powi(-(column as i32 / 32)),
                (19, _) => v * 10f32.powi(-(column as i32 % 16)),
                (20, _) => -1.0 - 0.001 * v,
                _ => v * 0.02,
            };
        }
    }
    values
}

/// None; over six decades with zeros, not-a-numbers and negative ones; all zero; and with next to nothing but one column in fifty.
fn importances(seed: u64) -> [Vec<f32>; 4] {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut value = |column: usize| match column % 23 {
        4 => 0.0,
        6 => 900.0,
        8 => f32::NAN,
        10 => -1.0,
        _ => random.random::<f32>().powi(4),
    };
    let hostile = (0..COLUMNS).map(&mut value).collect();
    let tiny = (0..COLUMNS).map(|column| if column % 50 == 7 { 1.0 } else { 1e-30 * 10f32.powi(column as i32 % 31) }).collect();
    [Vec::new(), hostile, vec![0.0; COLUMNS], tiny]
}

/// The first byte in which two encodings differ, with its row and block.
fn difference(format: Format, a: &[u8], b: &[u8]) -> Option<String> {
    let at = a.iter().zip(b).position(|(a, b)| a != b)?;
    let layout = format.layout();
    let block = (at - layout.tensor_head.min(at)) / layout.block_bytes;
    let (row, byte) = (block * layout.block_columns / COLUMNS, (at - layout.tensor_head) % layout.block_bytes);
    let differing = a.chunks(layout.block_bytes).zip(b.chunks(layout.block_bytes)).filter(|(a, b)| a != b).count();
    Some(format!("row {row}, block {block}, byte {byte}: {} {}; {differing} blocks in all", a[at], b[at]))
}

#[test]
fn blocks_are_the_same_bytes_on_every_device() {
    let formats: Vec<Format> = formats_with_kernel().into_iter().chain(FURTHER.map(|name| name.parse().expect("a format"))).collect();
    assert!(formats.len() > 40, "{formats:?}");
    for (seed, format) in (0..).zip(formats) {
        let weights = hostile_weights(seed);
        for (which, importance) in importances(seed + 50).iter().enumerate() {
            let want = format.encode(&weights, COLUMNS, (!importance.is_empty()).then_some(importance)).expect("encode");
            // The CPU is the twin with wide vectors: one look at its backend is enough.
            for device in devices().into_iter().skip(usize::from(which != 1)) {
                let (mut got, result) = Case { format, columns: COLUMNS }.on(device, &weights, importance, &CancelToken::default());
                let of = format!("{format}, importances {which}, on {}", device.capabilities().name);
                result.unwrap_or_else(|e| panic!("{of}: {e}"));
                assert_eq!(difference(format, &want, &got), None, "{of}");
                let last = want.len() - 1;
                got[last] ^= 1;
                assert!(difference(format, &want, &got).is_some(), "a changed bit must be seen: {of}");
            }
        }
    }
}
