//! THE definitions of every figure the program reports, and the small number formats.

pub mod metric;
pub mod minifloat;
pub mod product;
pub mod quadratic;
