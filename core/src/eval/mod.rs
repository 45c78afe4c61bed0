//! How far the outputs moved: KL, perplexity, top-1 agreement, per token and per tensor, with standard errors.

mod compare;
mod quantized;

pub use compare::{CompareOptions, Comparison, TokenComparison, compare, perplexity};
pub use quantized::Quantized;
