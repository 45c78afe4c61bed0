//! Sixteen pairs of a scale and a zero point judged over a span, with wide vectors.

use crate::codec::lanes::Lanes;
use crate::codec::span::Span;
use halftone_shaders::twin::encode_groups::{Pairs, Weights, errors, products};
use pulp::NullaryFnOnce;

impl Weights for Span<'_> {
    fn range(&self) -> (f32, f32) {
        Self::range(*self)
    }

    fn products(&self, pairs: &Pairs, top: f32) -> [Lanes; 2] {
        self.add_rows(|x, w| pulp::Arch::new().dispatch(Products { pairs, x, w, top }))
    }

    fn errors(&self, pairs: &Pairs, top: f32) -> Lanes {
        let [errors] = self.add_rows(|x, w| [pulp::Arch::new().dispatch(Errors { pairs, x, w, top })]);
        errors
    }
}

/// Arguments for a function compiled for wide vectors. A named type because closures are not reliably inlined into it.
struct Products<'a> {
    pairs: &'a Pairs,
    x: &'a [f32],
    w: &'a [f32],
    top: f32,
}

impl NullaryFnOnce for Products<'_> {
    type Output = [Lanes; 2];

    #[inline(always)]
    fn call(self) -> [Lanes; 2] {
        products(self.x, self.w, self.pairs, self.top)
    }
}

struct Errors<'a> {
    pairs: &'a Pairs,
    x: &'a [f32],
    w: &'a [f32],
    top: f32,
}

impl NullaryFnOnce for Errors<'_> {
    type Output = Lanes;

    #[inline(always)]
    fn call(self) -> Lanes {
        errors(self.x, self.w, self.pairs, self.top)
    }
}
