//! How much of the vocabulary a text shows to the model.

use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;

/// Figures of some sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Tokens.
    pub tokens: usize,
    /// Different ones among them.
    pub distinct_tokens: usize,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
}

impl Coverage {
    /// Of these sequences.
    pub fn of(sequences: &[Vec<u32>], vocabulary: usize) -> Self {
        let distinct: HashSet<u32> = sequences.iter().flatten().copied().collect();
        Self { tokens: sequences.iter().map(Vec::len).sum(), distinct_tokens: distinct.len(), vocabulary }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = 100.0 * self.distinct_tokens as f64 / self.vocabulary.max(1) as f64;
        write!(f, "{} tokens, {} different ones ({share:.1} % of the vocabulary)", self.tokens, self.distinct_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_tokens_count_once() {
        let coverage = Coverage::of(&[vec![1, 2, 1], vec![2, 3, 3]], 30);
        assert_eq!((coverage.tokens, coverage.distinct_tokens), (6, 3), "{coverage}");
        assert_eq!(coverage.to_string(), "6 tokens, 3 different ones (10.0 % of the vocabulary)");
    }
}
