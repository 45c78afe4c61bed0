//! Tensors as they lie in a file: element type, shape, borrowed bytes; and statistics of their values.

mod dtype;
pub mod statistics;
pub mod survey;
mod view;

pub use dtype::DType;
pub use statistics::Statistics;
pub use survey::survey;
pub use view::TensorView;
