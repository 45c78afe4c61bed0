//! Checks that the slices of a [`KernelCall`] fit each other, once for every backend.

use super::{KernelCall, encoder};
use crate::error::{Error, Result};
use halftone_shaders::twin::statistics::BINS;

/// Refuses operands that do not fit.
///
/// # Errors
/// `Mismatch`, naming the operand.
pub(super) fn check(call: &KernelCall<'_>) -> Result<()> {
    match call {
        KernelCall::GroupQuantize { weights, columns, importance, bits, group, codes, scales, zeros, .. } => {
            const NAME: &str = "quantize groups";
            ensure(NAME, "2 to 8 bits", (2..=8).contains(bits), || bits.to_string())?;
            let is_group = *group > 0 && group.is_multiple_of(8) && *group <= 1 << 16;
            ensure(NAME, "groups of a multiple of 8 columns, 65536 at most", is_group, || group.to_string())?;
            ensure(NAME, "rows of whole groups", *columns > 0 && columns.is_multiple_of(*group), || format!("{columns} columns, groups of {group}"))?;
            ensure(NAME, "whole rows of weights", weights.len().is_multiple_of(*columns), || format!("{} weights, rows of {columns}", weights.len()))?;
            ensure(NAME, "one importance a column, or none", importance.is_empty() || importance.len() == *columns, || importance.len().to_string())?;
            length(NAME, "codes", codes.len(), weights.len())?;
            length(NAME, "scales", scales.len(), weights.len() / group)?;
            length(NAME, "zero points", zeros.len(), weights.len() / group)
        }
        KernelCall::Encode { format, weights, columns, importance, bytes } => {
            const NAME: &str = "encode tensor";
            ensure(NAME, "a format that has a kernel", encoder(*format).is_some(), || format.to_string())?;
            format.check_shape(weights.len(), *columns, (!importance.is_empty()).then_some(*importance))?;
            length(NAME, "bytes", bytes.len(), format.tensor_bytes(weights.len() / columns, *columns) as usize)
        }
        KernelCall::Statistics { histogram, .. } => length("weight statistics", "bins", histogram.len(), BINS),
        KernelCall::LayerError { difference, columns, hessian, row_errors } => {
            const NAME: &str = "layer error";
            ensure(NAME, "whole rows", *columns > 0 && difference.len().is_multiple_of(*columns), || {
                format!("{} values, rows of {columns}", difference.len())
            })?;
            length(NAME, "entries of H", hessian.len(), columns.saturating_mul(*columns))?;
            length(NAME, "row errors", row_errors.len(), difference.len() / columns)
        }
    }
}

fn ensure(operation: &'static str, expected: &str, holds: bool, got: impl Fn() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Mismatch { operation, expected: expected.to_owned(), got: got() }) }
}

fn length(operation: &'static str, what: &str, got: usize, expected: usize) -> Result<()> {
    ensure(operation, &format!("{expected} {what}"), got == expected, || got.to_string())
}
