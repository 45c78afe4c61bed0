//! Each weight to the nearest code, after the format's importance-weighted scale search.

use super::{Evidence, Rounded, Rounder};
use crate::codec::Format;
use crate::error::Result;

/// Nearest.
#[derive(Debug, Clone, Copy)]
pub struct Nearest;

impl Rounder for Nearest {
    fn name(&self) -> &'static str {
        "nearest"
    }

    fn round(&self, weights: &[f32], columns: usize, format: Format, evidence: Evidence<'_>) -> Result<Rounded> {
        Ok(Rounded { bytes: format.encode(weights, columns, evidence.importance)?, remark: None, device: None })
    }
}
