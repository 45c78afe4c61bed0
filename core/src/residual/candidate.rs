//! What a tensor may be stored as: a format, and beside it what is kept of its rounding error. Written as both are in a recipe, joined by `+`.

use super::Residual;
use crate::codec::Format;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A format with or without a residual: `Q4_0`, `INT3-g32+o0.5%+r16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Candidate {
    /// What the codes are.
    pub format: Format,
    /// What stands beside them.
    pub residual: Option<Residual>,
}

impl Candidate {
    /// What is really stored in rows of `columns`.
    pub fn for_columns(self, columns: usize) -> Self {
        Self { format: self.format.for_columns(columns), ..self }
    }

    /// Whether a runtime needs an operator for it that it does not have.
    pub fn needs_operator(self) -> bool {
        self.residual.is_some_and(Residual::needs_operator)
    }

    /// Exact bytes of an m × n matrix, codes and residual.
    pub fn bytes(self, rows: usize, columns: usize) -> u64 {
        self.format.tensor_bytes(rows, columns) + self.residual.map_or(0, |residual| residual.bytes(rows, columns))
    }

    /// Stored bits a weight of an m × n matrix.
    pub fn bits(self, rows: usize, columns: usize) -> f64 {
        self.format.bits() + self.residual.map_or(0.0, |residual| residual.bytes(rows, columns) as f64 * 8.0 / (rows * columns).max(1) as f64)
    }

    /// The values of a matrix with rows of `columns` from its codes and, behind them, its residual.
    pub fn decode(self, stored: &[u8], values: &mut [f32], columns: usize) {
        let codes = self.format.tensor_bytes(values.len() / columns.max(1), columns) as usize;
        let (codes, kept) = stored.split_at(codes.min(stored.len()));
        self.format.decode(codes, values);
        if let Some(residual) = self.residual {
            residual.add(kept, values, columns);
        }
    }
}

impl From<Format> for Candidate {
    fn from(format: Format) -> Self {
        Self { format, residual: None }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.residual {
            Some(residual) => f.pad(&format!("{}+{residual}", self.format)),
            None => f.pad(&self.format.to_string()),
        }
    }
}

impl FromStr for Candidate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.split_once('+') {
            Some((format, residual)) => Self { format: format.parse()?, residual: Some(residual.parse()?) },
            None => Self::from(text.parse::<Format>()?),
        })
    }
}

impl From<Candidate> for String {
    fn from(candidate: Candidate) -> Self {
        candidate.to_string()
    }
}

impl TryFrom<String> for Candidate {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_written_as_its_parts_joined_and_read_back() {
        for text in ["Q4_0", "INT3-g32+r16", "INT4-g128-asym+o0.5%+r8-int8", "F16"] {
            let candidate: Candidate = text.parse().unwrap();
            assert_eq!(candidate.to_string(), text);
            assert_eq!(candidate.residual.is_some(), text.contains('+'));
        }
        for bad in ["", "+r16", "Q4_0+", "Q4_0+Q8_0", "r16", "r16+Q4_0"] {
            assert!(bad.parse::<Candidate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_and_bits_are_those_of_both_parts() {
        let candidate: Candidate = "INT4-g32+r4".parse().unwrap();
        let (codes, kept) = ("INT4-g32".parse::<Format>().unwrap(), 2 * 4 * (64 + 96));
        assert_eq!(candidate.bytes(64, 96), codes.tensor_bytes(64, 96) + kept);
        assert!((candidate.bits(64, 96) - codes.bits() - kept as f64 * 8.0 / (64.0 * 96.0)).abs() < 1e-12);
        assert_eq!(Candidate::from(codes).bytes(64, 96), codes.tensor_bytes(64, 96));
    }
}
