//! How far the outputs moved: KL, perplexity, top-1 agreement, per token, per block and per tensor, with standard errors.

mod compare;
mod continuations;
mod quantized;
mod score;
mod tensor_error;

pub use compare::{CompareOptions, Comparison, TokenComparison, compare, perplexity};
pub use continuations::{Continuations, continue_both};
pub use quantized::Quantized;
pub use tensor_error::{HistogramPair, TensorError, histogram_pair, tensor_errors};
