//! What rounding left, kept beside the codes and paid for in bytes like bits are: a low-rank part, single outliers, a shift of the bias.
//!
//! A residual is asked for beside a format (`r16`, `r16-int8`, `o0.5%`, `shift`, joined by `+`). Its bytes are known before anything runs; it is
//! computed after rounding from Δ = W − Ŵ in the metric of the inputs, outliers first, then the low rank of what is left, then the shift.
//! Invariant: each part lowers tr(ΔHΔᵀ), or at least never raises it by more than the rounding of what is stored. Runtimes have no operator for the first two,
//! so they live in job folders, in comparisons and in dequantized files; a shift is a bias, which GGUF can hold.

mod candidate;
mod low_rank;
mod metric;
mod outliers;

pub use candidate::Candidate;
pub use low_rank::{Factors, low_rank};
pub use metric::Metric;

use crate::error::{Error, Result};
use crate::round::Inputs;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What is kept of the difference between a weight and its codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Residual {
    /// Rank of the low-rank part; 0 for none.
    pub rank: u16,
    /// Its factors are stored in 8 bits instead of half precision.
    pub in_8_bits: bool,
    /// Weights in a million that are corrected one by one.
    pub outliers_per_million: u32,
    /// The mean of Δ·x goes into the bias.
    pub shift: bool,
}

/// Largest rank and share of outliers; more is another format.
const LARGEST_RANK: u16 = 4096;
const LARGEST_SHARE: u32 = 100_000;

impl Residual {
    /// Whether a runtime needs an operator for it that it does not have.
    pub fn needs_operator(self) -> bool {
        self.rank > 0 || self.outliers_per_million > 0
    }

    /// Exact bytes for an m × n matrix.
    pub fn bytes(self, rows: usize, columns: usize) -> u64 {
        let sparse = if self.outliers_per_million > 0 { outliers::bytes(self.outliers_per_million, rows, columns) } else { 0 };
        let shift = if self.shift { 4 * rows as u64 } else { 0 };
        sparse + low_rank::bytes(self.rank.into(), self.in_8_bits, rows, columns) + shift
    }

    /// Encodes what is left of `weights` behind `quantized`; both have rows of the metric's columns. `mean` is E\[x\] of the inputs, for the
    /// shift; where it is unknown the shift is zero.
    ///
    /// # Errors
    /// `Mismatch` when the matrices have other shapes.
    pub fn encode(self, weights: &[f32], quantized: &[f32], metric: &Metric<'_>, mean: Option<&[f32]>) -> Result<Vec<u8>> {
        let columns = metric.columns();
        if weights.len() != quantized.len() || columns == 0 || !weights.len().is_multiple_of(columns) || mean.is_some_and(|mean| mean.len() != columns) {
            let got = format!("{} and {} values, {} means", weights.len(), quantized.len(), mean.map_or(0, <[f32]>::len));
            return Err(Error::Mismatch { operation: "encode residual", expected: format!("two matrices with rows of {columns}"), got });
        }
        let rows = weights.len() / columns;
        let mut difference: Vec<f32> = weights.iter().zip(quantized).map(|(w, q)| w - q).collect();
        let mut out = Vec::with_capacity(self.bytes(rows, columns) as usize);
        if self.outliers_per_million > 0 {
            outliers::encode(&mut difference, self.outliers_per_million, metric, &mut out);
        }
        if self.rank > 0 {
            let start = out.len();
            low_rank::encode(&difference, self.rank.into(), self.in_8_bits, metric, &mut out);
            let mut minus = vec![0.0; difference.len()];
            low_rank::add(&out[start..], self.rank.into(), self.in_8_bits, &mut minus, columns);
            difference.iter_mut().zip(minus).for_each(|(d, m)| *d -= m);
        }
        if self.shift {
            let shift = |row: &[f32]| mean.map_or(0.0, |mean| row.iter().zip(mean).map(|(d, m)| f64::from(*d) * f64::from(*m)).sum::<f64>() as f32);
            out.extend(difference.chunks_exact(columns).flat_map(|row| shift(row).to_le_bytes()));
        }
        Ok(out)
    }

    /// As [`Self::encode`] for a tensor with these inputs: in the metric of H where it is known, else of its diagonal, else of the weights alone.
    pub(crate) fn encode_for(self, inputs: &Inputs<'_>, tensor: &str, weights: &[f32], quantized: &[f32], columns: usize) -> Result<Vec<u8>> {
        let hessian = inputs.hessian(tensor, columns)?;
        let importance = inputs.importance(tensor, columns).unwrap_or_else(|| vec![1.0; columns]);
        let metric = hessian.as_ref().map_or(Metric::Diagonal(&importance), |hessian| Metric::Full(hessian.values()));
        self.encode(weights, quantized, &metric, inputs.mean(tensor, columns).as_deref())
    }

    /// Adds what is stored to the decoded values of a matrix with rows of `columns`; the shift is not part of the matrix.
    pub fn add(self, stored: &[u8], values: &mut [f32], columns: usize) {
        let rows = values.len() / columns.max(1);
        let sparse = if self.outliers_per_million > 0 { outliers::bytes(self.outliers_per_million, rows, columns) } else { 0 };
        let (sparse, rest) = stored.split_at((sparse as usize).min(stored.len()));
        if self.outliers_per_million > 0 {
            outliers::add(sparse, self.outliers_per_million, values, columns);
        }
        if self.rank > 0 {
            let length = low_rank::bytes(self.rank.into(), self.in_8_bits, rows, columns) as usize;
            low_rank::add(&rest[..length.min(rest.len())], self.rank.into(), self.in_8_bits, values, columns);
        }
    }

    /// What is added to the bias, when there is a shift.
    pub fn shift_of(self, stored: &[u8], rows: usize) -> Option<Vec<f32>> {
        let from = stored.len().checked_sub(4 * rows).filter(|_| self.shift)?;
        Some(stored[from..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }
}

impl fmt::Display for Residual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.outliers_per_million > 0 {
            parts.push(format!("o{}%", f64::from(self.outliers_per_million) / 1e4));
        }
        if self.rank > 0 {
            parts.push(format!("r{}{}", self.rank, if self.in_8_bits { "-int8" } else { "" }));
        }
        if self.shift {
            parts.push("shift".to_owned());
        }
        f.pad(&parts.join("+"))
    }
}

impl FromStr for Residual {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::Input(format!("unknown residual {text}; known are r1 … r{LARGEST_RANK}, r16-int8, o0.5%, shift, and sums of them (o0.5%+r16)"));
        let mut residual = Self::default();
        for part in text.to_ascii_lowercase().split('+') {
            if part == "shift" {
                residual.shift = true;
            } else if let Some(share) = part.strip_prefix('o').and_then(|p| p.strip_suffix('%')) {
                let per_million = (share.parse::<f64>().map_err(|_| unknown())? * 1e4).round();
                residual.outliers_per_million = Some(per_million).filter(|v| (1.0..=f64::from(LARGEST_SHARE)).contains(v)).ok_or_else(unknown)? as u32;
            } else {
                let rank = part.strip_prefix('r').ok_or_else(unknown)?;
                residual.in_8_bits = rank.ends_with("-int8");
                let rank = rank.strip_suffix("-int8").unwrap_or(rank).parse().map_err(|_| unknown())?;
                residual.rank = Some(rank).filter(|r| (1..=LARGEST_RANK).contains(r)).ok_or_else(unknown)?;
            }
        }
        Ok(residual)
    }
}

impl From<Residual> for String {
    fn from(residual: Residual) -> Self {
        residual.to_string()
    }
}

impl TryFrom<String> for Residual {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    /// A random difference and H of inputs that are correlated, have large channels and a mean.
    pub(super) fn example(rows: usize, columns: usize, seed: u64) -> (Vec<f32>, Vec<f32>) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let difference = (0..rows * columns).map(|_| (random.random::<f32>() - 0.5).powi(3)).collect();
        let tokens = 3 * columns;
        let mut x = Vec::with_capacity(tokens * columns);
        for _ in 0..tokens {
            let common: f32 = random.random();
            x.extend((0..columns).map(|j| (random.random::<f32>() - 0.3 + common) * if j % 7 == 0 { 5.0 } else { 1.0 }));
        }
        let hessian =
            (0..columns * columns).map(|ij| (0..tokens).map(|t| x[t * columns + ij / columns] * x[t * columns + ij % columns]).sum::<f32>() / tokens as f32);
        (difference, hessian.collect())
    }

    pub(super) fn remainder(difference: &[f32], part: &[f32]) -> Vec<f32> {
        difference.iter().zip(part).map(|(d, p)| d - p).collect()
    }

    #[test]
    fn every_residual_lowers_the_error_and_has_the_bytes_it_said() {
        let (rows, columns) = (48, 32);
        let (weights, hessian) = example(rows, columns, 1);
        let quantized = vec![0.0; weights.len()];
        let diagonal: Vec<f32> = (0..columns).map(|j| hessian[j * columns + j]).collect();
        for metric in [Metric::Full(&hessian), Metric::Diagonal(&diagonal)] {
            let mut before = metric.power(&weights);
            for text in ["o0.1%", "o1%", "r2", "o1%+r2-int8", "r8-int8", "r8", "o2%+r8", "o2%+r31"] {
                let residual: Residual = text.parse().unwrap();
                assert_eq!(residual.to_string(), text);
                let stored = residual.encode(&weights, &quantized, &metric, None).unwrap();
                assert_eq!(stored.len() as u64, residual.bytes(rows, columns), "{text}");
                let mut sum = quantized.clone();
                residual.add(&stored, &mut sum, columns);
                let after = metric.power(&remainder(&weights, &sum));
                assert!(after < metric.power(&weights), "{text}: {after}");
                if text.starts_with('r') || text == "o1%" {
                    assert!(after < before, "{text}: {after} after {before}");
                    before = after;
                }
            }
        }
    }

    #[test]
    fn a_shift_takes_away_what_the_mean_of_the_inputs_costs() {
        let (rows, columns) = (6, 16);
        let (weights, hessian) = example(rows, columns, 2);
        let mean: Vec<f32> = (0..columns).map(|j| 0.1 * (j % 5) as f32).collect();
        let residual: Residual = "shift".parse().unwrap();
        let stored = residual.encode(&weights, &vec![0.0; rows * columns], &Metric::Full(&hessian), Some(&mean)).unwrap();
        let shift = residual.shift_of(&stored, rows).unwrap();
        for (row, shift) in weights.chunks(columns).zip(&shift) {
            let want: f32 = row.iter().zip(&mean).map(|(w, m)| w * m).sum();
            assert!((shift - want).abs() < 1e-6, "{shift} instead of {want}");
        }
        let mut values = vec![1.0; rows * columns];
        residual.add(&stored, &mut values, columns);
        assert_eq!(values, vec![1.0; rows * columns], "the matrix stays");
    }

    #[test]
    fn what_is_not_a_residual_is_refused() {
        for bad in ["", "r0", "r5000", "x4", "o0%", "o50%", "r4-int4", "shift+"] {
            assert!(bad.parse::<Residual>().is_err(), "{bad}");
        }
        assert_eq!("SHIFT+R4+O0.5%".parse::<Residual>().unwrap().to_string(), "o0.5%+r4+shift");
    }
}
