//! The scale of ŵ = s·level for any set of levels: the search of `encode_floats` over a span, with wide vectors.

use super::lanes::Lanes;
use super::span::Span;
use halftone_shaders::twin::encode_floats::{Grid, Weights, errors, products};
pub(super) use halftone_shaders::twin::encode_floats::{fit_scale, least};

/// Levels by rising value.
#[derive(Clone, Copy)]
pub(super) struct Table<'a>(pub(super) &'a [f32]);

impl Table<'_> {
    /// The index of the level nearest to `v`.
    pub(super) fn index(self, v: f32) -> u8 {
        self.0.windows(2).filter(|pair| v > 0.5 * (pair[0] + pair[1])).count() as u8
    }
}

impl Grid for Table<'_> {
    #[inline(always)]
    fn nearest(self, v: f32) -> f32 {
        let mut level = self.0[0];
        for pair in self.0.windows(2) {
            level = if v > 0.5 * (pair[0] + pair[1]) { pair[1] } else { level };
        }
        level
    }

    #[inline(always)]
    fn top(self) -> f32 {
        self.0[0].abs().max(self.0[self.0.len() - 1].abs())
    }
}

impl Weights for Span<'_> {
    fn range(&self) -> (f32, f32) {
        Self::range(*self)
    }

    fn products(&self, grid: impl Grid, inverse: &Lanes) -> [Lanes; 2] {
        self.add_rows(|x, w| pulp::Arch::new().dispatch(Products { grid, x, w, inverse }))
    }

    fn errors(&self, grid: impl Grid, scales: &Lanes) -> Lanes {
        let [errors] = self.add_rows(|x, w| [pulp::Arch::new().dispatch(Errors { grid, x, w, scales })]);
        errors
    }
}

/// Arguments for a function compiled for wide vectors. A named type because closures are not reliably inlined into it.
struct Products<'a, G> {
    grid: G,
    x: &'a [f32],
    w: &'a [f32],
    inverse: &'a Lanes,
}

impl<G: Grid> pulp::NullaryFnOnce for Products<'_, G> {
    type Output = [Lanes; 2];

    #[inline(always)]
    fn call(self) -> [Lanes; 2] {
        products(self.grid, self.x, self.w, self.inverse)
    }
}

struct Errors<'a, G> {
    grid: G,
    x: &'a [f32],
    w: &'a [f32],
    scales: &'a Lanes,
}

impl<G: Grid> pulp::NullaryFnOnce for Errors<'_, G> {
    type Output = Lanes;

    #[inline(always)]
    fn call(self) -> Lanes {
        errors(self.grid, self.x, self.w, self.scales)
    }
}
