//! Statistics of a tensor's values: moments, histogram, outliers. Built from mergeable sums in two passes (the extremes, then what needs
//! them), so that tensors larger than memory and shards run block by block.

use crate::compute::{Backend, Cpu, KernelCall};
use crate::error::{Error, Result};
use crate::job::CancelToken;
use halftone_shaders::twin::statistics::BINS;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Bins of a [`Statistics`] histogram.
pub const HISTOGRAM_BINS: usize = BINS;

/// Values of a parallel block; fixed, so that nothing depends on the number of threads.
const BLOCK_VALUES: usize = 1 << 16;

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
    /// Skewness, E[(x − mean)³] / deviation³; 0 for a symmetric distribution.
    pub skewness: f64,
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
    /// Statistics of rows of `columns` values: extremes on the CPU, sums and histogram on the backend.
    ///
    /// # Errors
    /// `Mismatch` when the values are not whole rows; what the backend says.
    pub fn of(values: &[f32], columns: usize, backend: &dyn Backend, cancel: &CancelToken) -> Result<Self> {
        let mut extremes = Extremes::new(columns);
        extremes.add(values)?;
        let mut sums = Sums::new(extremes.absmax());
        sums.add(values, backend, cancel)?;
        Ok(Self::from_parts(extremes, &sums))
    }

    /// The same on the CPU, without a way to stop; an incomplete last row is left out.
    pub fn from_slice(values: &[f32], columns: usize) -> Self {
        let columns = columns.max(1);
        let whole = &values[..values.len() / columns * columns];
        let mut extremes = Extremes::new(columns);
        let mut sums = Sums::new(0.0);
        // Whole rows on the CPU with a token that nobody cancels: nothing can fail.
        if extremes.add(whole).is_ok() {
            sums = Sums::new(extremes.absmax());
            let _ = sums.add(whole, &Cpu::default(), &CancelToken::default());
        }
        Self::from_parts(extremes, &sums)
    }

    /// Puts the two passes together.
    pub fn from_parts(extremes: Extremes, sums: &Sums) -> Self {
        let [first, second, third, fourth, count, non_finite] = sums.sums;
        let n = count.max(1.0);
        let (mean, square, cube, fourth) = (first / n, second / n, third / n, fourth / n);
        // Central moments from raw ones; a variance below what the sums resolve is that of equal values.
        let variance = square - mean * mean;
        let variance = if variance > 1e-12 * square { variance } else { 0.0 };
        let third = cube - 3.0 * mean * square + 2.0 * mean.powi(3);
        let fourth = fourth - 4.0 * mean * cube + 6.0 * mean * mean * square - 3.0 * mean.powi(4);
        let standardized = |moment: f64, power: i32| if variance > 0.0 { moment / variance.sqrt().powi(power) } else { 0.0 };
        Self {
            count: count as u64,
            non_finite: non_finite as u64,
            first_non_finite: extremes.first_non_finite,
            min: if extremes.min.is_finite() { extremes.min } else { 0.0 },
            max: if extremes.max.is_finite() { extremes.max } else { 0.0 },
            mean,
            deviation: variance.sqrt(),
            skewness: standardized(third, 3),
            kurtosis: standardized(fourth.max(0.0), 4),
            histogram: sums.histogram.to_vec(),
            row_absmax: extremes.row_absmax,
            column_absmax: extremes.column_absmax,
        }
    }

    /// Largest magnitude.
    pub fn absmax(&self) -> f32 {
        self.min.abs().max(self.max.abs())
    }

    /// Appends the rows of a shard of the same tensor. Moments are exact; when the ranges differ, each bin of the narrower histogram
    /// goes where its middle lies.
    ///
    /// # Errors
    /// `Mismatch` when the shards have different columns.
    pub fn merge(&mut self, next: &Self) -> Result<()> {
        if self.column_absmax.len() != next.column_absmax.len() {
            return Err(Error::Mismatch {
                operation: "merge statistics",
                expected: format!("{} columns", self.column_absmax.len()),
                got: next.column_absmax.len().to_string(),
            });
        }
        let range = self.absmax().max(next.absmax());
        let values = self.row_absmax.len() * self.column_absmax.len();
        self.histogram = [rebin(&self.histogram, self.absmax(), range), rebin(&next.histogram, next.absmax(), range)]
            .iter()
            .fold(vec![0; HISTOGRAM_BINS], |sum, more| sum.iter().zip(more).map(|(a, b)| a + b).collect());
        let powers = [self.power_sums(), next.power_sums()];
        let merged = Sums { absmax: range, histogram: [0; BINS], sums: std::array::from_fn(|k| powers[0][k] + powers[1][k]) };
        let mut extremes = Extremes {
            min: [&*self, next].iter().filter(|s| s.count > 0).map(|s| s.min).fold(f32::INFINITY, f32::min),
            max: [&*self, next].iter().filter(|s| s.count > 0).map(|s| s.max).fold(f32::NEG_INFINITY, f32::max),
            first_non_finite: self.first_non_finite.or(next.first_non_finite.map(|first| first + values)),
            row_absmax: std::mem::take(&mut self.row_absmax),
            column_absmax: self.column_absmax.iter().zip(&next.column_absmax).map(|(a, b)| a.max(*b)).collect(),
        };
        extremes.row_absmax.extend_from_slice(&next.row_absmax);
        let histogram = std::mem::take(&mut self.histogram);
        *self = Self { histogram, ..Self::from_parts(extremes, &merged) };
        Ok(())
    }

    /// The `k` columns whose largest magnitude stands out most, as (column, ratio to the median column), largest first.
    pub fn outlier_columns(&self, k: usize) -> Vec<(usize, f32)> {
        let mut sorted = self.column_absmax.clone();
        sorted.sort_by(f32::total_cmp);
        let Some(&median) = sorted.get(sorted.len() / 2) else { return Vec::new() };
        let ratio = |absmax: f32| if median > 0.0 { absmax / median } else { 0.0 };
        let mut columns: Vec<(usize, f32)> = self.column_absmax.iter().map(|&a| ratio(a)).enumerate().collect();
        columns.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        columns.truncate(k);
        columns
    }

    /// Σx … Σx⁴, count and non-finite count, back from the moments.
    fn power_sums(&self) -> [f64; 6] {
        let (n, mean, variance) = (self.count as f64, self.mean, self.deviation.powi(2));
        let (third, fourth) = (self.skewness * self.deviation.powi(3), self.kurtosis * variance * variance);
        let raw = [
            mean,
            variance + mean.powi(2),
            third + 3.0 * mean * variance + mean.powi(3),
            fourth + 4.0 * mean * third + 6.0 * mean.powi(2) * variance + mean.powi(4),
        ];
        [raw[0] * n, raw[1] * n, raw[2] * n, raw[3] * n, n, self.non_finite as f64]
    }
}

/// Counts of a histogram over ±`from` moved to one over ±`to`.
fn rebin(histogram: &[u64], from: f32, to: f32) -> Vec<u64> {
    if from >= to {
        return histogram.to_vec();
    }
    let half = HISTOGRAM_BINS as f64 / 2.0;
    let mut out = vec![0; HISTOGRAM_BINS];
    for (bin, &count) in histogram.iter().enumerate() {
        let middle = (bin as f64 + 0.5 - half) * f64::from(from) / f64::from(to);
        out[((middle + half) as usize).min(HISTOGRAM_BINS - 1)] += count;
    }
    out
}

/// The first pass: what must be known before there are bins.
#[derive(Clone, Debug, PartialEq)]
pub struct Extremes {
    min: f32,
    max: f32,
    first_non_finite: Option<usize>,
    row_absmax: Vec<f32>,
    column_absmax: Vec<f32>,
}

impl Extremes {
    /// Of nothing yet, in rows of `columns`.
    pub fn new(columns: usize) -> Self {
        Self { min: f32::INFINITY, max: f32::NEG_INFINITY, first_non_finite: None, row_absmax: Vec::new(), column_absmax: vec![0.0; columns] }
    }

    /// Largest finite magnitude so far.
    pub fn absmax(&self) -> f32 {
        self.row_absmax.iter().copied().fold(0.0, f32::max)
    }

    /// Appends rows.
    ///
    /// # Errors
    /// `Mismatch` when the values are not whole rows.
    pub fn add(&mut self, values: &[f32]) -> Result<()> {
        let columns = self.column_absmax.len();
        if columns == 0 || !values.len().is_multiple_of(columns) {
            let (expected, got) = (format!("rows of {columns} columns"), format!("{} values", values.len()));
            return Err(Error::Mismatch { operation: "weight statistics", expected, got });
        }
        let block = (BLOCK_VALUES / columns).max(1) * columns;
        let blocks: Vec<Self> = values.par_chunks(block).map(|rows| Self::of_block(rows, columns)).collect();
        for block in blocks {
            let before = self.row_absmax.len() * columns;
            self.min = self.min.min(block.min);
            self.max = self.max.max(block.max);
            self.first_non_finite = self.first_non_finite.or(block.first_non_finite.map(|first| before + first));
            self.row_absmax.extend_from_slice(&block.row_absmax);
            for (most, more) in self.column_absmax.iter_mut().zip(&block.column_absmax) {
                *most = most.max(*more);
            }
        }
        Ok(())
    }

    /// Works on the bits, as integers of the same order as the values: unlike float comparisons, these vectorize.
    fn of_block(values: &[f32], columns: usize) -> Self {
        const INFINITY: u32 = f32::INFINITY.to_bits();
        let mut block = Self::new(columns);
        let mut column_bits = vec![0u32; columns];
        let (mut lowest, mut highest) = (i32::MAX, i32::MIN);
        for row in values.chunks_exact(columns) {
            let (mut row_bits, mut largest) = (0, 0);
            for (most, value) in column_bits.iter_mut().zip(row) {
                let bits = value.to_bits();
                let magnitude = bits & 0x7fff_ffff;
                largest = magnitude.max(largest);
                let finite = if magnitude < INFINITY { magnitude } else { 0 };
                *most = finite.max(*most);
                row_bits = finite.max(row_bits);
                let ordered = if bits >> 31 == 0 { magnitude as i32 } else { -(magnitude as i32) };
                lowest = lowest.min(if magnitude < INFINITY { ordered } else { i32::MAX });
                highest = highest.max(if magnitude < INFINITY { ordered } else { i32::MIN });
            }
            if largest >= INFINITY && block.first_non_finite.is_none() {
                let within = row.iter().position(|v| !v.is_finite()).unwrap_or(0);
                block.first_non_finite = Some(block.row_absmax.len() * columns + within);
            }
            block.row_absmax.push(f32::from_bits(row_bits));
        }
        if lowest <= highest {
            let value = |ordered: i32| f32::from_bits(ordered.unsigned_abs()).copysign(ordered as f32);
            (block.min, block.max) = (value(lowest), value(highest));
        }
        block.column_absmax = column_bits.into_iter().map(f32::from_bits).collect();
        block
    }
}

/// The second pass: histogram and power sums over a known range.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    absmax: f32,
    histogram: [u64; BINS],
    sums: [f64; 6],
}

impl Sums {
    /// Of nothing yet, with bins over ±`absmax`.
    pub fn new(absmax: f32) -> Self {
        Self { absmax, histogram: [0; BINS], sums: [0.0; 6] }
    }

    /// Adds values.
    ///
    /// # Errors
    /// What the backend says.
    pub fn add(&mut self, values: &[f32], backend: &dyn Backend, cancel: &CancelToken) -> Result<()> {
        let (mut histogram, mut sums) = ([0u64; BINS], [0.0f64; 6]);
        backend.run(KernelCall::Statistics { values, absmax: self.absmax, histogram: &mut histogram, sums: &mut sums }, cancel)?;
        for (total, more) in self.histogram.iter_mut().zip(histogram) {
            *total += more;
        }
        for (total, more) in self.sums.iter_mut().zip(sums) {
            *total += more;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    fn noise(count: usize, seed: u64) -> Vec<f32> {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        // Twelve uniforms make a normal.
        (0..count).map(|_| (0..12).map(|_| random.random::<f32>()).sum::<f32>() - 6.0).collect()
    }

    #[test]
    fn moments_of_four_values_are_the_hand_computed_ones() {
        let s = Statistics::from_slice(&[1.0, 2.0, 3.0, 6.0], 2);
        assert_eq!((s.count, s.min, s.max, s.mean), (4, 1.0, 6.0, 3.0), "count, extremes, mean");
        assert!((s.deviation - 3.5f64.sqrt()).abs() < 1e-12, "deviation {}", s.deviation);
        assert!((s.skewness - 4.5 / 3.5f64.powf(1.5)).abs() < 1e-12, "skewness {}", s.skewness);
        assert!((s.kurtosis - 24.5 / 12.25).abs() < 1e-12, "kurtosis {}", s.kurtosis);
        assert_eq!((s.row_absmax, s.column_absmax), (vec![2.0, 6.0], vec![3.0, 6.0]), "row and column maxima");
    }

    #[test]
    fn a_normal_has_kurtosis_near_three_and_every_value_in_a_bin() {
        let values = noise(300_000, 1);
        let s = Statistics::from_slice(&values, 100);
        assert!((s.kurtosis - 2.9).abs() < 0.05, "twelve uniforms have kurtosis 2.9, got {}", s.kurtosis);
        assert_eq!(s.histogram.iter().sum::<u64>(), 300_000, "bins count every value");
    }

    #[test]
    fn non_finite_values_are_counted_and_left_out() {
        let mut values = noise(640, 2);
        values[130] = f32::NAN;
        values[131] = f32::NEG_INFINITY;
        let s = Statistics::from_slice(&values, 64);
        assert_eq!((s.count, s.non_finite, s.first_non_finite), (638, 2, Some(130)), "counts and place");
        assert!(s.absmax() < 7.0 && s.mean.is_finite() && s.kurtosis.is_finite(), "figures are of the finite ones");
        assert!(s.column_absmax.iter().chain(&s.row_absmax).all(|a| a.is_finite()), "maxima are of the finite ones");
    }

    #[test]
    fn empty_and_zero_tensors_have_figures() {
        let empty = Statistics::from_slice(&[], 4);
        assert_eq!((empty.count, empty.absmax(), empty.mean), (0, 0.0, 0.0), "empty");
        let zero = Statistics::from_slice(&[0.0; 8], 4);
        assert_eq!((zero.count, zero.histogram[64], zero.deviation, zero.kurtosis), (8, 8, 0.0, 0.0), "zeros");
        let infinite = Statistics::from_slice(&[f32::INFINITY; 4], 4);
        assert_eq!((infinite.count, infinite.non_finite, infinite.min), (0, 4, 0.0), "no finite value");
    }

    #[test]
    fn merged_shards_are_the_whole() {
        let values = noise(64 * 300, 3);
        let whole = Statistics::from_slice(&values, 64);
        let (top, rest) = values.split_at(64 * 77);
        let mut merged = Statistics::from_slice(top, 64);
        merged.merge(&Statistics::from_slice(rest, 64)).expect("same columns");
        for (name, a, b) in [
            ("mean", merged.mean, whole.mean),
            ("deviation", merged.deviation, whole.deviation),
            ("skewness", merged.skewness, whole.skewness),
            ("kurtosis", merged.kurtosis, whole.kurtosis),
        ] {
            assert!((a - b).abs() < 1e-9, "{name} {a} {b}");
        }
        assert_eq!((merged.min, merged.max, &merged.row_absmax, &merged.column_absmax), (whole.min, whole.max, &whole.row_absmax, &whole.column_absmax));
        assert_eq!(merged.histogram.iter().sum::<u64>(), whole.count, "no count is lost");
        assert!(merged.merge(&Statistics::from_slice(&[1.0], 1)).is_err(), "other columns are refused");
    }

    #[test]
    fn the_outlier_column_comes_first() {
        let mut values = noise(64 * 50, 4);
        values[64 * 20 + 17] = 60.0;
        let outliers = Statistics::from_slice(&values, 64).outlier_columns(3);
        assert_eq!((outliers.len(), outliers[0].0), (3, 17), "{outliers:?}");
        assert!(outliers[0].1 > 10.0, "ratio to the median {outliers:?}");
    }
}
