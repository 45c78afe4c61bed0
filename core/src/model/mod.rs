//! The transformer, written once: config-driven, on the CPU in f32, one block of weights in memory at a time, with taps.
//!
//! Activations travel as candle tensors (tokens × width, one a sequence); inside a block they are slices, because faer multiplies
//! several times faster than candle here and lets attention choose its own parallelism. Invariants: every output value is summed in
//! the same order whatever the thread count; a tensor that is missing or has another shape is an error that names it.
//! Absent on purpose: mixture of experts, sliding windows and every architecture but llama.

mod arithmetic;
mod attention;
mod block;
mod forward;
mod generate;
mod linear;
mod rope;
mod values;
mod vector;
mod weights;

#[cfg(test)]
mod naive;
#[cfg(test)]
pub(crate) mod random;

pub use arithmetic::Arithmetic;
pub use block::{Block, KeyValueCache};
pub(crate) use forward::logits_as;
pub use forward::{Taps, Transformer, logits_of};
pub use generate::{GenerateOptions, Generator, generate};
#[cfg(test)]
pub(crate) use values::tensor_from;
pub(crate) use values::with_values;
pub use weights::Weights;
