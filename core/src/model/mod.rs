//! The transformer, written once: config-driven, in f32, one block of weights in memory at a time, with taps.
//!
//! Activations travel as candle tensors (tokens × width, one a sequence); inside a block they are slices, because faer multiplies
//! several times faster than candle here and lets attention choose its own parallelism, or rows in the memory of a device: every piece
//! runs where its input is. Invariants: on the CPU every output value is summed in the same order whatever the thread count; a device that
//! fails changes the bits but not the course of a pass, and its taps see every input once; a tensor that is missing or has another shape is an error that names it.
//! What an architecture's blocks are made of is said by [`crate::source::Anatomy`]; the code here asks for pieces, never for names.
//! Absent on purpose: encoder-decoders, state spaces, multi-head latent attention.

mod activation;
mod ahead;
mod arithmetic;
mod attention;
mod block;
mod embedding;
mod feed_forward;
mod forward;
mod generate;
mod head;
mod linear;
mod norm;
mod projections;
mod relative;
mod rope;
mod stream;
mod taps;
mod values;
mod vector;
mod weights;

#[cfg(test)]
mod naive;
#[cfg(test)]
pub(crate) mod random;
#[cfg(test)]
pub(crate) use random::RandomLlama;

pub use ahead::ahead;
pub use arithmetic::Arithmetic;
pub use block::{Block, KeyValueCache};
pub use forward::Transformer;
pub use generate::{GenerateOptions, Generator, generate};
pub use head::{Head, logits_of};
pub(crate) use linear::load_shaped;
pub(crate) use rope::{Angles, Rotary};
pub use stream::Stream;
pub use taps::Taps;
pub(crate) use values::{tensor_from, with_values};
pub(crate) use vector::exponentials;
pub use weights::{StoredWeight, Weights};
