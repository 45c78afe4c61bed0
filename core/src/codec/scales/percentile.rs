//! Percentiles: the grid ends where half a percent of the weights lie beyond, at either end (Wu et al. 2020, section 3).

use super::min_max;
use crate::codec::span::Span;
use halftone_shaders::twin::encode_groups::{self as twin, Pair, Scheme};

/// Share of the weights beyond each end.
const BEYOND: f64 = 0.005;

pub(super) fn search(scheme: Scheme, span: &Span<'_>) -> Pair {
    let mut values = span.values().to_vec();
    let (low, high) = (percentile(&mut values, BEYOND).min(0.0), percentile(&mut values, 1.0 - BEYOND).max(0.0));
    if low < high { twin::min_max(scheme, (low, high)) } else { min_max::search(scheme, span) }
}

/// Linear between the two values at either side.
fn percentile(values: &mut [f32], share: f64) -> f32 {
    let place = share * (values.len() - 1) as f64;
    let at = place as usize;
    let (_, &mut below, above) = values.select_nth_unstable_by(at, f32::total_cmp);
    let above = above.iter().copied().fold(f32::INFINITY, f32::min);
    if above.is_finite() { below + (place - at as f64) as f32 * (above - below) } else { below }
}
