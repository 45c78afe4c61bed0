//! THE definitions of every figure the program reports, and the small number formats.

mod hadamard;
pub mod metric;
pub mod minifloat;
pub mod product;
pub mod quadratic;
pub mod rotation;
