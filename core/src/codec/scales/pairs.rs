//! Sixteen pairs of a scale and a zero point, tried together.

use super::Pair;
use crate::codec::lanes::{LANES, Lanes, array, reciprocal, round, smallest, whole};
use crate::codec::span::Span;
use pulp::NullaryFnOnce;

pub(super) struct Pairs {
    pub(super) scale: Lanes,
    pub(super) zero: Lanes,
}

impl Pairs {
    /// Up to sixteen pairs, the last repeated.
    pub(super) fn of(pairs: &[Pair]) -> Self {
        let at = |c: usize| pairs[c.min(pairs.len() - 1)];
        Self { scale: array(|c| at(c).0), zero: array(|c| at(c).1) }
    }

    pub(super) fn at(&self, c: usize) -> Pair {
        (self.scale[c], self.zero[c])
    }

    /// Fits each scale by least squares to the codes it gives; returns also the losses, up to a constant.
    pub(super) fn refit(&mut self, span: Span<'_>, top: f32) -> Lanes {
        let [xv, vv] = span.add_rows(|x, w| pulp::Arch::new().dispatch(Sums::<false> { pairs: self, x, w, top }));
        self.scale = array(|c| if vv[c] > 0.0 { xv[c] / vv[c] } else { 0.0 });
        array(|c| -self.scale[c] * xv[c])
    }

    /// The pair of least Σ w·(ŵ − x)².
    pub(super) fn best(&self, span: Span<'_>, top: f32) -> Pair {
        let [errors, _] = span.add_rows(|x, w| pulp::Arch::new().dispatch(Sums::<true> { pairs: self, x, w, top }));
        self.at(smallest(&errors))
    }
}

/// The level q − z nearest to `v`. (`f32::clamp` would check its bounds, which keeps the loops from becoming vector code.)
#[inline(always)]
pub(super) fn level(v: f32, zero: f32, top: f32) -> f32 {
    let (low, high) = (-zero, top - zero);
    let v = if v > low { v } else { low };
    round(if v < high { v } else { high })
}

/// Σ w·x·level and Σ w·level²; or, with `ERRORS`, Σ w·(ŵ − x)² and nothing. A named type because closures are not reliably inlined into the
/// functions pulp compiles for AVX.
struct Sums<'a, const ERRORS: bool> {
    pairs: &'a Pairs,
    x: &'a [f32],
    w: &'a [f32],
    top: f32,
}

impl<const ERRORS: bool> NullaryFnOnce for Sums<'_, ERRORS> {
    type Output = [Lanes; 2];

    #[inline(always)]
    fn call(self) -> [Lanes; 2] {
        let inverse: Lanes = array(|c| reciprocal(self.pairs.scale[c]));
        let (scale, zero) = (self.pairs.scale, self.pairs.zero);
        let (mut first, mut second) = ([0.0; LANES], [0.0; LANES]);
        for (&x, &w) in self.x.iter().zip(self.w) {
            for c in 0..LANES {
                let v = level(x * inverse[c], zero[c], self.top);
                if ERRORS {
                    let r = x - scale[c] * v;
                    first[c] += w * (r * r);
                } else {
                    first[c] += w * x * v;
                    second[c] += w * v * v;
                }
            }
        }
        [whole(first), whole(second)]
    }
}
