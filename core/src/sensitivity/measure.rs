//! Filling the table.

use super::Table;
use crate::calibrate::Calibration;
use crate::codec::Format;
use crate::error::Result;
use crate::job::JobContext;
use crate::source::Source;

/// What to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasureOptions {
    /// The candidates.
    pub formats: Vec<Format>,
    /// Rounder whose errors are measured.
    pub rounding: String,
    /// Held-out sequences for the gains of [`super::Metric::PredictedKl`]; none: that metric is left out.
    pub probe: Vec<Vec<u32>>,
}

impl Default for MeasureOptions {
    fn default() -> Self {
        use crate::codec::GgmlType as T;
        let ggml = [T::Q4_0, T::IQ4_NL, T::Q4_1, T::Q4_K, T::Q5_0, T::Q5_1, T::Q5_K, T::Q6_K, T::Q8_0];
        Self { formats: ggml.map(Format::Ggml).to_vec(), rounding: "nearest".to_owned(), probe: Vec::new() }
    }
}

/// Encodes every quantizable tensor as every candidate and measures the errors. Weight-only without a calibration.
///
/// # Errors
/// `Mismatch` for a calibration of another model; `Cancelled`.
pub fn measure(source: &Source, calibration: Option<&Calibration>, options: &MeasureOptions, cx: &JobContext) -> Result<Table> {
    let _ = (source, calibration, options, cx);
    todo!("sensitivity room")
}
