//! Checks that the slices of a [`KernelCall`] fit each other, once for every backend.

use super::{KernelCall, encoder};
use crate::error::{Error, Result};
use halftone_shaders::twin::lloyd_step::MOST_LEVELS;
use halftone_shaders::twin::statistics::BINS;

/// Refuses operands that do not fit.
///
/// # Errors
/// `Mismatch`, naming the operand.
pub(super) fn check(call: &KernelCall<'_>) -> Result<()> {
    match call {
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
        KernelCall::Rotate { rotation, rows, turned } => {
            const NAME: &str = "rotation";
            let size = rotation.size();
            ensure(NAME, "whole rows", size > 0 && rows.len().is_multiple_of(size), || format!("{} values, rows of {size}", rows.len()))?;
            length(NAME, "values", turned.len(), rows.len())
        }
        KernelCall::LloydStep { values, group, scales, importance, levels, .. } => {
            const NAME: &str = "Lloyd step";
            ensure(NAME, "whole groups", *group > 0 && values.len().is_multiple_of(*group), || format!("{} values, groups of {group}", values.len()))?;
            length(NAME, "scales", scales.len(), values.len() / group)?;
            let whole = importance.is_empty() || importance.len().is_multiple_of(*group) && values.len().is_multiple_of(importance.len());
            ensure(NAME, "an importance for each column, or none", whole, || importance.len().to_string())?;
            let count = levels.len();
            ensure(NAME, "2, 4, 8 or 16 levels that rise", count.is_power_of_two() && (2..=MOST_LEVELS).contains(&count) && levels.is_sorted(), || {
                format!("{levels:?}")
            })
        }
    }
}

fn ensure(operation: &'static str, expected: &str, holds: bool, got: impl Fn() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Mismatch { operation, expected: expected.to_owned(), got: got() }) }
}

fn length(operation: &'static str, what: &str, got: usize, expected: usize) -> Result<()> {
    ensure(operation, &format!("{expected} {what}"), got == expected, || got.to_string())
}
