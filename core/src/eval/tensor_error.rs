//! What quantization did to single tensors: SQNR from the records, histograms of the values before and after.

use crate::codec::Format;
use crate::job::Artifact;
use crate::numeric::metric::sqnr_from_relative_error;
use serde::Serialize;

/// A quantized tensor's error.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorError {
    /// Canonical name.
    pub tensor: String,
    /// What it is stored as.
    pub stored_as: Format,
    /// ‖Δ‖²/‖W‖².
    pub weight_error: f64,
    /// The same in decibel; infinite for an exact copy.
    pub sqnr_db: f64,
}

/// Errors of all quantized tensors, in the recipe's order. Read from the records; nothing is decoded.
pub fn tensor_errors(artifact: &Artifact) -> Vec<TensorError> {
    artifact
        .tensors()
        .map(|record| TensorError {
            tensor: record.tensor.clone(),
            stored_as: record.stored_as,
            weight_error: record.weight_error,
            sqnr_db: sqnr_from_relative_error(record.weight_error),
        })
        .collect()
}

/// Two histograms over one range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramPair {
    /// Counts of the values before.
    pub before: Vec<u64>,
    /// Counts of the values after.
    pub after: Vec<u64>,
}

/// Histograms of a tensor before and after, in `bins` equal bins over [−m, m], and m, the largest finite magnitude of either. Values
/// that are not finite are not counted.
pub fn histogram_pair(before: &[f32], after: &[f32], bins: usize) -> (f32, HistogramPair) {
    let largest = before.iter().chain(after).filter(|v| v.is_finite()).fold(0.0f32, |m, v| m.max(v.abs()));
    let count = |values: &[f32]| {
        let mut counts = vec![0u64; bins];
        let Some(last) = bins.checked_sub(1) else { return counts };
        let scale = if largest > 0.0 { bins as f64 / (2.0 * f64::from(largest)) } else { 0.0 };
        for &v in values.iter().filter(|v| v.is_finite()) {
            let bin = ((f64::from(v) + f64::from(largest)) * scale) as usize;
            counts[bin.min(last)] += 1;
        }
        counts
    };
    (largest, HistogramPair { before: count(before), after: count(after) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_histograms_share_the_wider_range_and_count_every_finite_value() {
        let (largest, pair) = histogram_pair(&[-1.0, -0.9, 0.1, f32::NAN], &[2.0, 0.0], 4);
        assert_eq!(largest, 2.0, "the wider range");
        assert_eq!(pair.before, [0, 2, 1, 0], "bins of width 1 from -2");
        assert_eq!(pair.after, [0, 0, 1, 1], "the largest value is in the last bin");
    }

    #[test]
    fn zeros_and_no_bins_are_no_trouble() {
        assert_eq!(histogram_pair(&[0.0; 3], &[], 2).1.before, [3, 0], "a range of nothing");
        assert_eq!(histogram_pair(&[1.0], &[1.0], 0).1.before, Vec::<u64>::new(), "no bins");
    }
}
