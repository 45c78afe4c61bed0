//! Which code each weight gets. One algorithm a file: nearest (here, through the codec's own search) is the first.

use crate::codec::Format;
use crate::error::Result;

/// What a rounder may use beside the weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// Per-column importance, diag(H); `columns` values.
    pub importance: Option<&'a [f32]>,
    /// H = XᵀX / T, `columns × columns`, full and symmetric.
    pub hessian: Option<&'a [f32]>,
}

/// An algorithm that turns a weight matrix into the bytes of a format.
pub trait Rounder: Send + Sync {
    /// Its name in recipes and on the command line.
    fn name(&self) -> &'static str;

    /// Encodes `weights` (rows of `columns`) as `format`.
    ///
    /// # Errors
    /// What the codec says of shapes; what the algorithm says of its evidence.
    fn round(&self, weights: &[f32], columns: usize, format: Format, evidence: Evidence<'_>) -> Result<Vec<u8>>;
}

/// Each weight to the nearest code, after the codec's importance-weighted scale search.
#[derive(Debug, Clone, Copy)]
pub struct Nearest;

impl Rounder for Nearest {
    fn name(&self) -> &'static str {
        "nearest"
    }

    fn round(&self, weights: &[f32], columns: usize, format: Format, evidence: Evidence<'_>) -> Result<Vec<u8>> {
        format.encode(weights, columns, evidence.importance)
    }
}

/// The rounders by name.
pub const ROUNDERS: &[&dyn Rounder] = &[&Nearest];

/// The rounder of this name.
pub fn rounder(name: &str) -> Option<&'static dyn Rounder> {
    ROUNDERS.iter().copied().find(|r| r.name() == name)
}
