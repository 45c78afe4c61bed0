//! Min–max: the grid ends at the least and the greatest weight.

use crate::codec::span::Span;
use halftone_shaders::twin::encode_groups::{Pair, Scheme, Weights, min_max};

pub(super) fn search(scheme: Scheme, span: &Span<'_>) -> Pair {
    min_max(scheme, Weights::range(span))
}
