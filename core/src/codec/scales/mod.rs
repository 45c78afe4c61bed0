//! How group-wise integers get their scale s and zero point z: the searches for min Σ w·(s·(q − z) − x)². One a file, one line in [`SCALES`]; the
//! default, NeUQI, is the twin of a kernel.
//!
//! Whatever a search says, the plain min–max grid is taken where that makes less weighted error: no group is worse than min–max. Scales are
//! half-precision numbers (single precision for a channel or tensor) and not negative, and ranges hold 0, as the runtimes expect.

mod grid;
mod hqq;
mod min_max;
mod pairs;
mod percentile;

use super::IntFormat;
use super::span::Span;
pub use halftone_shaders::twin::encode_groups::Pair;
use halftone_shaders::twin::encode_groups::{self as twin, Scheme};

/// A way to choose scale and zero point.
pub struct ScaleSearch {
    /// Its name.
    pub name: &'static str,
    /// A scale and a zero point (a whole number from 0 to the largest code) for weights that are not all zero.
    search: for<'a> fn(Scheme, &Span<'a>) -> Pair,
    /// Whether the pairs beside what it finds are tried too.
    refined: bool,
}

/// The searches by name.
pub const SCALES: &[ScaleSearch] = &[
    ScaleSearch { name: "min-max", search: min_max::search, refined: false },
    ScaleSearch { name: "percentile", search: percentile::search, refined: false },
    ScaleSearch { name: "hqq", search: hqq::search, refined: false },
    ScaleSearch { name: "grid", search: grid::search, refined: true },
    ScaleSearch { name: "neuqi", search: |scheme, span| twin::search(scheme, span), refined: true },
];

/// The search of the encoders: the one of least weighted error (`benches/scales.rs`).
pub(super) const DEFAULT: &ScaleSearch = &SCALES[4];

/// The search of this name.
pub fn scale_search(name: &str) -> Option<&'static ScaleSearch> {
    SCALES.iter().find(|s| s.name == name)
}

impl ScaleSearch {
    /// Scale, as it is stored, and zero point; (0, middle) for zeros.
    pub fn fit(&self, format: IntFormat, span: Span<'_>) -> Pair {
        twin::fit(format.scheme(), &span, self.search, self.refined)
    }
}

#[cfg(test)]
mod tests {
    use super::super::granularity::Granularity;
    use super::super::span::Cleaned;
    use super::*;
    use proptest::prelude::*;

    fn error(format: IntFormat, span: Span<'_>, (scale, zero): Pair) -> f64 {
        let level = |x: f32| if scale == 0.0 { 0.0 } else { (x / scale).round_ties_even().clamp(-zero, f32::from(format.top()) - zero) };
        span.values().iter().zip(span.importances()).map(|(&x, &w)| f64::from(w) * f64::from(scale * level(x) - x).powi(2)).sum()
    }

    proptest! {
        #[test]
        fn no_search_is_worse_than_min_max(
            bits in 2u8..=8, symmetric: bool, shift in -1.0f32..1.0, power in 1i32..5,
            values in proptest::collection::vec((-1.0f32..1.0, 0.0f32..1.0), 64),
        ) {
            let format = IntFormat { bits, scope: Granularity::Group(64), symmetric };
            let x: Vec<f32> = values.iter().map(|(v, _)| 0.1 * (v.powi(power) + 0.3 * shift)).collect();
            let w: Vec<f32> = values.iter().map(|(_, w)| w.powi(3)).collect();
            let mut cleaned = Cleaned::default();
            let span = cleaned.set(&x, 64, Some(&w));
            let plain = error(format, span, SCALES[0].fit(format, span));
            for search in SCALES {
                let (scale, zero) = search.fit(format, span);
                prop_assert!(scale >= 0.0 && zero == zero.round() && (0.0..=f32::from(format.top())).contains(&zero), "{}: {scale} {zero}", search.name);
                prop_assert!(!symmetric || zero == f32::from(format.middle()), "{}: zero point {zero}", search.name);
                let ours = error(format, span, (scale, zero));
                prop_assert!(ours <= plain * 1.000_1, "{}: {ours} against {plain}", search.name);
            }
        }
    }

    /// All scales (finely) and all zero points that the scheme has.
    #[test]
    fn neuqi_is_near_the_best_of_all_pairs() {
        let mut state = 3u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        };
        for (bits, symmetric) in [2, 3, 4].into_iter().flat_map(|bits| [(bits, false), (bits, true)]) {
            let format = IntFormat { bits, scope: Granularity::Group(32), symmetric };
            let zeros = if symmetric { format.middle()..=format.middle() } else { 0..=format.top() };
            let (mut ours, mut least, mut grid, mut plain) = (0.0, 0.0, 0.0, 0.0);
            for _ in 0..40 {
                let x: Vec<f32> = (0..32).map(|_| random() + random() * random()).collect();
                let w: Vec<f32> = (0..32).map(|_| (2.0 * random()).exp()).collect();
                let mut cleaned = Cleaned::default();
                let span = cleaned.set(&x, 32, Some(&w));
                let of = |name| error(format, span, scale_search(name).unwrap().fit(format, span));
                let (low, high) = span.range();
                // A range around zero has its larger half on both sides.
                let range = if symmetric { 2.0 * high.max(-low) } else { high - low };
                let scale = |k: u16| range * f32::from(k) / 320.0 / f32::from(format.top());
                let pairs = (1..=400).flat_map(|k| zeros.clone().map(move |z| (scale(k), f32::from(z))));
                least += pairs.map(|pair| error(format, span, pair)).fold(f64::INFINITY, f64::min);
                ours += of("neuqi");
                grid += of("grid");
                plain += of("min-max");
            }
            println!("INT{bits}, symmetric {symmetric}: {ours} of NeUQI, {grid} of the grid, {plain} of min-max, {least} at best");
            assert!(ours < 1.05 * least, "INT{bits}, symmetric {symmetric}: {ours} against {least}");
            assert!(ours <= 1.005 * grid, "INT{bits}, symmetric {symmetric}: {ours} against {grid} of the grid");
            assert!(plain > 1.05 * least, "INT{bits}, symmetric {symmetric}: min-max would pass, {plain} against {least}");
        }
    }
}
