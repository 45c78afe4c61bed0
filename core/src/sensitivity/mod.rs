//! The table: tensor × candidate → bytes and errors. The evidence that allocation stands on.

mod cells;
mod curvature;
mod descriptors;
mod fit;
mod measure;
mod merge;
mod meter;
mod metrics;
mod probe;
mod refine;
mod table;
mod trust;
mod work;

pub use descriptors::Descriptors;
pub use fit::Fit;
pub use measure::{MeasureOptions, measure};
pub use table::{Cell, Evidence, Measures, Metric, Row, Table};
pub use trust::{Correlation, Joint, ProbedCell, Trust, judge};
pub use work::{JUDGED_TOKENS, PROBE_LENGTH, PROBE_SEQUENCES, calibration_work, gradient_sequences, gradient_work, probe_sequences, probe_work};
