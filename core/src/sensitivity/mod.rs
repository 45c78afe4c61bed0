//! The table: tensor × candidate → bytes and errors. The evidence that allocation stands on.

mod measure;
mod meter;
mod probe;
mod table;

pub use measure::{MeasureOptions, measure};
pub use table::{Cell, Metric, Row, Table};
