//! A grid of clipped ranges, by weighted squares: 64 ways of cutting the range, each with its least-squares scale twice over; then the
//! neighbours of the best by the error they really make.

use crate::codec::span::Span;
use halftone_shaders::twin::encode_groups::{Best, Pair, Scheme, Weights, neighbours, starts};

pub(super) fn search(scheme: Scheme, span: &Span<'_>) -> Pair {
    let top = scheme.top();
    let mut best = Best::none(scheme);
    for tried in starts(scheme, Weights::range(span)) {
        best.judge(tried, span, top, 2);
    }
    neighbours(scheme, best.pair).best(span, top)
}
