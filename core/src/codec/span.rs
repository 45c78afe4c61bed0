//! The weights under one scale, as a search sees them: one run of columns, or all rows of a tensor.

use super::lanes::{LANES, Lanes, clean, fold, max, min, normalise};
use rayon::prelude::*;

/// Weights and their importances; more weights than importances are further rows of the same columns.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    x: &'a [f32],
    w: &'a [f32],
}

/// Cleaned copies of weights and importances: the owner of a [`Span`].
#[derive(Debug, Default)]
pub struct Cleaned {
    x: Vec<f32>,
    w: Vec<f32>,
}

impl Cleaned {
    /// Takes other weights; `importance` has one value a column, `values` whole rows of as many. The columns from `first` on count.
    pub fn set(&mut self, values: &[f32], columns: usize, importance: Option<&[f32]>) -> Span<'_> {
        self.x.clear();
        self.x.extend(values.iter().map(|&v| clean(v)));
        self.w.clear();
        match importance {
            Some(importance) => {
                self.w.extend_from_slice(importance);
                normalise(&mut self.w);
            }
            None => self.w.resize(columns, 1.0),
        }
        Span { x: &self.x, w: &self.w }
    }
}

impl<'a> Span<'a> {
    /// The weights: finite, at most 10⁹ in magnitude.
    pub fn values(self) -> &'a [f32] {
        self.x
    }

    /// The importances: 0 … 1, one of them 1, of every row.
    pub fn importances(self) -> &'a [f32] {
        self.w
    }

    /// The least and the greatest weight, or 0.
    pub fn range(self) -> (f32, f32) {
        (fold(self.x, 0.0, min), fold(self.x, 0.0, max))
    }

    /// The largest magnitude.
    pub fn largest(self) -> f32 {
        let (low, high) = self.range();
        high.max(-low)
    }

    /// Adds up what `sums` says of each row. Many rows are summed in parallel, and added in their order in double precision.
    pub(super) fn add_rows<const K: usize>(self, sums: impl Fn(&[f32], &[f32]) -> [Lanes; K] + Sync) -> [Lanes; K] {
        if self.x.len() == self.w.len() {
            return sums(self.x, self.w);
        }
        let rows: Vec<[Lanes; K]> = self.x.par_chunks(self.w.len()).map(|x| sums(x, self.w)).collect();
        let mut total = [[0.0f64; LANES]; K];
        for row in &rows {
            total.as_flattened_mut().iter_mut().zip(row.as_flattened()).for_each(|(total, v)| *total += f64::from(*v));
        }
        total.map(|lanes| lanes.map(|v| v as f32))
    }
}
