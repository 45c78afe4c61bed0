//! Statistics of a tensor's values: moments, histogram, outliers. Mergeable sums, so that shards can run apart.

use serde::{Deserialize, Serialize};

/// Bins of a [`Statistics`] histogram.
pub const HISTOGRAM_BINS: usize = 128;

/// What the inspector shows of one tensor, and what the map colours by when there is no calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Number of finite values.
    pub count: u64,
    /// NaN or infinite values.
    pub non_finite: u64,
    /// Flat index of the first non-finite value.
    pub first_non_finite: Option<usize>,
    /// Smallest finite value.
    pub min: f32,
    /// Largest finite value.
    pub max: f32,
    /// Mean.
    pub mean: f64,
    /// Standard deviation (of the population).
    pub deviation: f64,
    /// Kurtosis, E[(x − mean)⁴] / deviation⁴; 3 for a normal distribution.
    pub kurtosis: f64,
    /// Counts of `HISTOGRAM_BINS` equal bins over `[−absmax, absmax]`.
    pub histogram: Vec<u64>,
    /// Largest |w| of every row.
    pub row_absmax: Vec<f32>,
    /// Largest |w| of every column.
    pub column_absmax: Vec<f32>,
}

impl Statistics {
    /// Largest magnitude.
    pub fn absmax(&self) -> f32 {
        self.min.abs().max(self.max.abs())
    }
}
