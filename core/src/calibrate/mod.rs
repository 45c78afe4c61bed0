//! Text → tokens → block-by-block forward → Σx² and H = XᵀX of every linear's input.

mod calibration;
mod imatrix;
mod split;
mod text;

pub use calibration::{Calibration, CalibrationOptions, InputStatistics, calibrate};
pub use split::{TextSplit, text_hash};
pub use imatrix::{read_imatrix, write_imatrix};
pub use text::{read_texts, sequences};
