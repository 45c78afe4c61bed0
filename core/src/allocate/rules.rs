//! What a user decides before the solver does: runtime, pins, exclusions, limits.

use super::Target;
use crate::codec::Format;
use crate::residual::Residual;
use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Serialize};

/// Fewest and most stored bits a weight that a tensor may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// At least so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

impl Limits {
    /// Whether a number of bits is within.
    pub fn allow(self, bits: f64) -> bool {
        self.min.is_none_or(|min| bits >= min - 1e-9) && self.max.is_none_or(|max| bits <= max + 1e-9)
    }

    /// What holds for tensors that share a format.
    pub fn and(self, other: Self) -> Self {
        let pick = |a: Option<f64>, b: Option<f64>, of: fn(f64, f64) -> f64| a.zip(b).map(|(a, b)| of(a, b)).or(a).or(b);
        Self { min: pick(self.min, other.min, f64::max), max: pick(self.max, other.max, f64::min) }
    }
}

impl std::fmt::Display for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) => write!(f, "{min} to {max} bits a weight"),
            (Some(min), None) => write!(f, "at least {min} bits a weight"),
            (None, Some(max)) => write!(f, "at most {max} bits a weight"),
            (None, None) => f.write_str("any number of bits"),
        }
    }
}

/// The rules of an allocation. Names are canonical tensor names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// The runtime.
    pub target: Target,
    /// Tensors that are decided already. Inside a tie the largest pin holds for all.
    pub pins: IndexMap<String, Format>,
    /// What is kept of the rounding error of pinned tensors.
    pub residuals: IndexMap<String, Residual>,
    /// Tensors that stay as they are in the source; inside a tie, all of it. Stronger than a pin.
    pub excluded: IndexSet<String>,
    /// Limits of the solver's choice; a pin is not bound by them.
    pub limits: IndexMap<String, Limits>,
}

impl Rules {
    /// Nothing but a runtime and pins.
    pub fn pinned(target: Target, pins: IndexMap<String, Format>) -> Self {
        Self { target, pins, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_a_tie_are_the_strictest_of_its_members() {
        let (a, b) = (Limits { min: Some(4.0), max: None }, Limits { min: Some(5.0), max: Some(6.0) });
        assert_eq!(a.and(b), Limits { min: Some(5.0), max: Some(6.0) });
        assert_eq!(b.and(a), a.and(b));
        let both = a.and(b);
        assert!(both.allow(5.0) && both.allow(6.0) && !both.allow(4.5) && !both.allow(6.5625));
        assert_eq!(both.to_string(), "5 to 6 bits a weight");
        assert!(Limits::default().allow(0.1));
    }
}
