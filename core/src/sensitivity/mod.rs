//! The table: tensor × candidate → bytes and errors. The evidence that allocation stands on.

mod measure;
mod meter;
mod probe;
mod table;
mod work;

pub use measure::{MeasureOptions, measure};
pub use table::{Cell, Metric, Row, Table};
pub use work::{PROBE_LENGTH, PROBE_SEQUENCES, calibration_work, probe_sequences, probe_work};
