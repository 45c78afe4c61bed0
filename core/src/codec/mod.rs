//! What a weight is stored as: exact bytes for a shape before anything runs, encode, decode. One family of formats a file.
//!
//! Rows are independent: a format is a law for one row of `columns` values, cut into blocks. Every encoder takes optional
//! per-column importances (the diagonal of H = XᵀX/T, an imatrix) and minimises Σ importance·(ŵ − w)² in its scale search.

mod bits;
mod element;
mod family;
mod format;
pub mod ggml;
mod granularity;
mod grid;
pub mod int;
mod learned;
mod minifloat;
mod mx;
mod normal_float;
mod nvfp4;
mod plain;
mod scale_fit;
pub mod scales;
mod span;
#[cfg(test)]
mod tests;
mod trits;

use halftone_shaders::lanes;

pub use element::Element;
pub(crate) use family::Heads;
pub use family::Layout;
pub use format::Format;
pub use ggml::GgmlType;
pub(crate) use ggml::octet::Octet;
pub use granularity::Granularity;
pub use grid::Codebook;
pub use int::IntFormat;
pub use learned::LearnedFormat;
pub use minifloat::FloatFormat;
pub use mx::MxFormat;
pub use normal_float::NormalFloatFormat;
pub use span::{Cleaned, Span};
pub use trits::TritFormat;
