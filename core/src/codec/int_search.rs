//! Scale (and zero point) search of group-wise integers: minimises Σ w·(s·(q − z) − x)² over each group.
//!
//! Sixteen ways of cutting the range are tried at once, each with its least-squares scale; then the neighbours of the best, and the plain
//! ones, are measured with the half-precision scale that is stored. Scales are not negative and ranges hold 0, as the runtimes expect.

use super::IntFormat;
use super::lanes::{LANES, Lanes, TINY, array, finite, fold, max, min, normalise, reciprocal, round, smallest, spread, to_half, whole};

/// Encodes whole groups of one row into codes, scales (half-precision numbers) and zero points.
pub(super) fn encode_groups(format: IntFormat, row: &[f32], importance: Option<&[f32]>, codes: &mut [u8], scales: &mut [f32], zeros: &mut [u8]) {
    pulp::Arch::new().dispatch(Row { format, row, importance, codes, scales, zeros });
}

/// The arguments of [`encode_groups`]: a named type, so that the work is inlined into the functions pulp compiles for AVX.
struct Row<'a> {
    format: IntFormat,
    row: &'a [f32],
    importance: Option<&'a [f32]>,
    codes: &'a mut [u8],
    scales: &'a mut [f32],
    zeros: &'a mut [u8],
}

impl pulp::NullaryFnOnce for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let group = usize::from(self.format.group);
        let (mut x, mut w) = (vec![0.0; group], vec![1.0; group]);
        for (i, row) in self.row.chunks_exact(group).enumerate() {
            for (x, &v) in x.iter_mut().zip(row) {
                *x = finite(v);
            }
            if let Some(importance) = self.importance.and_then(|all| all.get(i * group..(i + 1) * group)) {
                w.copy_from_slice(importance);
                normalise(&mut w);
            }
            let (scale, zero) = fit(self.format, &x, &w);
            let (inverse, top) = (reciprocal(scale), f32::from(self.format.top()));
            for (code, &x) in self.codes[i * group..].iter_mut().zip(&x) {
                *code = (level(x * inverse, zero, top) + zero) as u8;
            }
            (self.scales[i], self.zeros[i]) = (scale, zero as u8);
        }
    }
}

/// The level q − z nearest to `v`. (`f32::clamp` would check its bounds, which keeps the loops from becoming vector code.)
#[inline(always)]
fn level(v: f32, zero: f32, top: f32) -> f32 {
    let (low, high) = (-zero, top - zero);
    let v = if v > low { v } else { low };
    round(if v < high { v } else { high })
}

/// Sixteen pairs of a scale and a zero point.
struct Candidates {
    scale: Lanes,
    zero: Lanes,
}

impl Candidates {
    /// Fits each scale by least squares to the codes it gives; returns also the losses, up to a constant.
    #[inline(always)]
    fn refit(&mut self, x: &[f32], w: &[f32], top: f32) -> Lanes {
        let inverse: Lanes = array(|c| reciprocal(self.scale[c]));
        let (mut xv, mut vv) = ([0.0; LANES], [0.0; LANES]);
        for (&x, &w) in x.iter().zip(w) {
            for c in 0..LANES {
                let v = level(x * inverse[c], self.zero[c], top);
                xv[c] += w * x * v;
                vv[c] += w * v * v;
            }
        }
        self.scale = array(|c| if vv[c] > 0.0 { xv[c] / vv[c] } else { 0.0 });
        array(|c| -self.scale[c] * xv[c])
    }

    /// Σ w·(ŵ − x)² of each pair as it is.
    #[inline(always)]
    fn errors(&self, x: &[f32], w: &[f32], top: f32) -> Lanes {
        let inverse: Lanes = array(|c| reciprocal(self.scale[c]));
        let mut error = [0.0; LANES];
        for (&x, &w) in x.iter().zip(w) {
            for c in 0..LANES {
                let r = x - self.scale[c] * level(x * inverse[c], self.zero[c], top);
                error[c] += w * (r * r);
            }
        }
        whole(error)
    }
}

/// The best (scale, zero point) of one group; (0, z) for a group of zeros.
#[inline(always)]
fn fit(format: IntFormat, x: &[f32], w: &[f32]) -> (f32, f32) {
    let (top, middle) = (f32::from(format.top()), f32::from(format.middle()));
    let (low, high) = (fold(x, 0.0, min), fold(x, 0.0, max));
    if low.abs().max(high) < TINY {
        return (0.0, middle);
    }
    let (batches, plain) = starts(format, low, high);
    let mut best = (f32::INFINITY, 0.0, middle);
    for mut tried in batches {
        let mut losses = [0.0; LANES];
        for _ in 0..2 {
            losses = tried.refit(x, w, top);
        }
        let c = smallest(&losses);
        if losses[c] < best.0 {
            best = (losses[c], tried.scale[c], tried.zero[c]);
        }
    }
    let step = 0.03 / (top + 1.0).sqrt();
    let mut scale: Lanes = array(|c| to_half(best.1 * (1.0 + step * (c as f32 - 9.0))));
    let mut zero = [best.2; LANES];
    (scale[0], zero[0]) = plain[0];
    (scale[1], zero[1]) = plain[1];
    let measured = Candidates { scale: whole(scale), zero: whole(zero) };
    let c = smallest(&measured.errors(x, w, top));
    (measured.scale[c], measured.zero[c])
}

/// What a search starts from: 64 ways of cutting the range `low ..= high`, and the two plain grids.
#[inline(always)]
fn starts(format: IntFormat, low: f32, high: f32) -> ([Candidates; 4], [(f32, f32); 2]) {
    let (top, middle) = (f32::from(format.top()), f32::from(format.middle()));
    // Shares of the range that are kept: few levels are worth much clipping.
    let least = 1.0 - 1.5 / (top + 1.0).sqrt();
    if format.symmetric {
        let half = 0.5 + 0.5 * least;
        let (below, above) = (-low / middle, high / (middle - 1.0));
        let start = |share: Lanes, widest: f32| Candidates { scale: array(|c| share[c] * widest), zero: [middle; LANES] };
        let (narrow, wide) = (spread(least, half), spread(half, 1.06));
        let plain = [(to_half((-low).max(high) / middle), middle), (to_half(below.max(above)), middle)];
        ([start(narrow, below), start(wide, below), start(narrow, above), start(wide, above)], plain)
    } else {
        // All pairs of 8 shares below and above.
        let shares = spread(least, 1.02);
        let batches = [0, 1, 2, 3].map(|batch| {
            let lows: Lanes = array(|c| low * shares[2 * (2 * batch + c / 8) + 1]);
            let scale: Lanes = array(|c| (high * shares[2 * (c % 8) + 1] - lows[c]) / top);
            Candidates { scale, zero: array(|c| zero_point(lows[c], scale[c], top)) }
        });
        let scale = to_half((high - low) / top);
        (batches, [(scale, zero_point(low, scale, top)); 2])
    }
}

/// The code that stands for 0 when code 0 stands for `low`.
#[inline(always)]
fn zero_point(low: f32, scale: f32, top: f32) -> f32 {
    round((-low * reciprocal(scale)).clamp(0.0, top))
}
