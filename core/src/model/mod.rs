//! The transformer, written once: config-driven, over candle on the CPU, one block of weights in memory at a time, with taps.

mod forward;
mod weights;

pub use forward::{Taps, Transformer, logits_of};
pub use weights::Weights;
