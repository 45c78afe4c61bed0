//! Integers of 2 to 8 bits under a scale and a zero point for some columns, ŵ = s·(q − z): NeUQI (Lin et al. 2025, section 3). For a given scale
//! the best zero point is found exactly, and the scale from coarse to fine.
//!
//! The paper relaxes the zero point to a real number and scans the breaks of its piecewise quadratic loss. Here it is one of the 2^b codes,
//! as runtimes store it, so the scan tries them all: the lanes hold sixteen zero points at one scale (or fewer at several). Each pair is
//! judged with its scale fitted by least squares to its codes. Beyond four bits the sixteen zero points are those that shift the clipping
//! from one end of the range to the other. With the zero point in the middle, as symmetric grids have it, only the scale is left.

pub use crate::blocks::Params;
use crate::lanes::{LANES, LEAST, Lanes, TINY, array, quotient, reciprocal, round, smallest, spread, to_half, whole};

/// Scales of the coarse round.
const COARSE: usize = 24;

/// How weights are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scheme {
    /// Bits of a code, 2–8.
    pub bits: u8,
    /// The zero point is fixed at 2^(bits−1).
    pub symmetric: bool,
    /// Scales are half-precision numbers.
    pub half: bool,
}

impl Scheme {
    /// The largest code, 2^bits − 1.
    #[inline(always)]
    pub fn top(self) -> f32 {
        f32::from(u8::MAX >> (8 - self.bits))
    }

    /// The zero point of symmetric codes.
    #[inline(always)]
    pub fn middle(self) -> f32 {
        f32::from(1u8 << (self.bits - 1))
    }

    /// A scale as it is stored.
    #[inline(always)]
    pub fn stored(self, scale: f32) -> f32 {
        if self.half { to_half(scale) } else { scale }
    }

    /// The smallest share of the range that is worth keeping: few levels are worth much clipping.
    pub fn least_share(self) -> f32 {
        1.0 - 1.5 / (self.top() + 1.0).sqrt()
    }

    /// Between the neighbours of a scale, relative.
    pub fn step(self) -> f32 {
        0.03 / (self.top() + 1.0).sqrt()
    }
}

/// A scale and a zero point.
pub type Pair = (f32, f32);

/// Sixteen pairs of a scale and a zero point, tried together.
#[derive(Clone, Copy, Debug)]
pub struct Pairs {
    /// The scales.
    pub scale: Lanes,
    /// The zero points.
    pub zero: Lanes,
}

/// What a search asks of the weights under one scale: whoever has them says how they are gone through.
pub trait Weights {
    /// The least and the greatest weight, or 0.
    fn range(&self) -> (f32, f32);

    /// Σ w·x·level and Σ w·level² of each pair; see [`products`].
    fn products(&self, pairs: &Pairs, top: f32) -> [Lanes; 2];

    /// Σ w·(ŵ − x)² of each pair; see [`errors`].
    fn errors(&self, pairs: &Pairs, top: f32) -> Lanes;
}

/// The level q − z nearest to `v`. (`f32::clamp` would check its bounds, which keeps the loops from becoming vector code.)
#[inline(always)]
pub fn level(v: f32, zero: f32, top: f32) -> f32 {
    let (low, high) = (-zero, top - zero);
    let v = if v > low { v } else { low };
    round(if v < high { v } else { high })
}

/// Σ w·x·level and Σ w·level².
#[inline(always)]
pub fn products(x: &[f32], w: &[f32], pairs: &Pairs, top: f32) -> [Lanes; 2] {
    let (inverse, zero): (Lanes, Lanes) = (array(|c| reciprocal(pairs.scale[c])), pairs.zero);
    let (mut xv, mut vv) = ([0.0; LANES], [0.0; LANES]);
    for (&x, &w) in x.iter().zip(w) {
        for c in 0..LANES {
            let v = level(x * inverse[c], zero[c], top);
            xv[c] += w * x * v;
            vv[c] += w * v * v;
        }
    }
    [whole(xv), whole(vv)]
}

/// Σ w·(ŵ − x)².
#[inline(always)]
pub fn errors(x: &[f32], w: &[f32], pairs: &Pairs, top: f32) -> Lanes {
    let inverse: Lanes = array(|c| reciprocal(pairs.scale[c]));
    let (scale, zero) = (pairs.scale, pairs.zero);
    let mut errors = [LEAST; LANES];
    for (&x, &w) in x.iter().zip(w) {
        for c in 0..LANES {
            let r = x - scale[c] * level(x * inverse[c], zero[c], top);
            errors[c] += w * (r * r);
        }
    }
    whole(errors)
}

impl Pairs {
    /// One of them.
    pub fn at(&self, c: usize) -> Pair {
        (self.scale[c], self.zero[c])
    }

    /// Fits each scale by least squares to the codes it gives; returns also the losses, up to a constant.
    pub fn refit(&mut self, weights: &impl Weights, top: f32) -> Lanes {
        let [xv, vv] = weights.products(self, top);
        self.scale = array(|c| quotient(xv[c], vv[c]));
        array(|c| -(LEAST + self.scale[c] * xv[c]))
    }

    /// The pair of least Σ w·(ŵ − x)².
    pub fn best(&self, weights: &impl Weights, top: f32) -> Pair {
        self.at(smallest(&weights.errors(self, top)))
    }
}

/// Min–max: the grid ends at the least and the greatest weight, which hold 0 between them (Krishnamoorthi 2018, section 2.2).
pub fn min_max(scheme: Scheme, (low, high): (f32, f32)) -> Pair {
    let (top, middle) = (scheme.top(), scheme.middle());
    if scheme.symmetric {
        ((-low / middle).max(high / (middle - 1.0)), middle)
    } else {
        let scale = (high - low) / top;
        (scale, zero_point(low, scale, top))
    }
}

/// The code that stands for 0 when code 0 stands for `low`.
#[inline(always)]
fn zero_point(low: f32, scale: f32, top: f32) -> f32 {
    round((-low / scale).clamp(0.0, top))
}

/// Scales around a pair's, as they are stored.
pub fn neighbours(scheme: Scheme, (scale, zero): Pair) -> Pairs {
    let step = scheme.step();
    Pairs { scale: array(|c| scheme.stored(scale * (1.0 + step * (c as f32 - 8.0)))), zero: [zero; LANES] }
}

/// Symmetric: 32 scales relative to each of the two plain ones; else all pairs of 8 shares kept below and 8 above.
pub fn starts(scheme: Scheme, (low, high): (f32, f32)) -> [Pairs; 4] {
    let (top, middle) = (scheme.top(), scheme.middle());
    let least = scheme.least_share();
    if scheme.symmetric {
        let half = 0.5 + 0.5 * least;
        let (below, above) = (-low / middle, high / (middle - 1.0));
        let start = |share: Lanes, widest: f32| Pairs { scale: array(|c| share[c] * widest), zero: [middle; LANES] };
        let (narrow, wide) = (spread(least, half), spread(half, 1.06));
        [start(narrow, below), start(wide, below), start(narrow, above), start(wide, above)]
    } else {
        let shares = spread(least, 1.02);
        [0, 1, 2, 3].map(|batch| {
            let lows: Lanes = array(|c| low * shares[2 * (2 * batch + c / 8) + 1]);
            let scale: Lanes = array(|c| (high * shares[2 * (c % 8) + 1] - lows[c]) / top);
            Pairs { scale, zero: array(|c| zero_point(lows[c], scale[c], top)) }
        })
    }
}

/// The best pair found by a search: its loss with its least-squares scale.
#[derive(Debug)]
pub struct Best {
    /// The loss.
    pub loss: f32,
    /// The pair.
    pub pair: Pair,
}

impl Best {
    /// Nothing yet.
    pub fn none(scheme: Scheme) -> Self {
        Self { loss: -LEAST, pair: (0.0, scheme.middle()) }
    }

    /// Takes the best of these pairs after so many rounds of least squares, if it is better.
    pub fn judge(&mut self, mut tried: Pairs, weights: &impl Weights, top: f32, rounds: usize) {
        let mut losses = tried.refit(weights, top);
        for _ in 1..rounds {
            losses = tried.refit(weights, top);
        }
        let c = smallest(&losses);
        if losses[c] < self.loss {
            *self = Self { loss: losses[c], pair: tried.at(c) };
        }
    }
}

/// A scale and a zero point for weights that are not all zero.
pub fn search(scheme: Scheme, weights: &impl Weights) -> Pair {
    let top = scheme.top();
    let (low, high) = weights.range();
    let mut best = Best::none(scheme);
    if scheme.symmetric {
        for tried in starts(scheme, (low, high)) {
            best.judge(tried, weights, top, 2);
        }
    } else {
        let widest = (high - low) / top;
        let least = 0.8 * scheme.least_share();
        let at_once = (LANES >> scheme.bits).max(1);
        for first in (0..COARSE).step_by(at_once) {
            let share = |c: usize| least + (1.05 - least) * ((first + c * at_once / LANES) as f32 + 0.5) / COARSE as f32;
            best.judge(zero_points(scheme, (low, high), |c| widest * share(c)), weights, top, 1);
        }
        // Fine: up to half the distance of two coarse scales to either side, with the neighbouring zero points.
        let (scale, zero) = best.pair;
        let step = 0.2 * (1.05 - least) / COARSE as f32 * widest;
        let near = Pairs { scale: array(|c| scale + step * ((c / 3) as f32 - 2.0)), zero: array(|c| (zero + (c % 3) as f32 - 1.0).clamp(0.0, top)) };
        best.judge(near, weights, top, 2);
    }
    neighbours(scheme, best.pair).best(weights, top)
}

/// For each scale all zero points, or the sixteen that matter.
fn zero_points(scheme: Scheme, (low, high): (f32, f32), scale: impl Fn(usize) -> f32) -> Pairs {
    let top = scheme.top();
    let zero = |c: usize| {
        if scheme.bits <= 4 {
            return (c % (1 << scheme.bits)) as f32;
        }
        // Between nothing clipped below and nothing clipped above, and a little beyond.
        let (below, above) = (-low / scale(c), top - high / scale(c));
        let (middle, half) = (0.5 * (below + above), 0.5 * (below - above).abs() + 2.0);
        round((middle + half * (c as f32 - 7.5) / 7.5).clamp(0.0, top))
    };
    Pairs { scale: array(&scale), zero: array(zero) }
}

/// What `search` finds, a pair beside it if it is to be `refined`, or the plain min–max grid, whichever makes the least error; scale as it is
/// stored. (0, middle) for zeros. (At eight bits the losses of neighbouring pairs are too near each other for single precision; errors are not.)
pub fn fit<W: Weights>(scheme: Scheme, weights: &W, search: impl Fn(Scheme, &W) -> Pair, refined: bool) -> Pair {
    let (low, high) = weights.range();
    if high.max(-low) < TINY {
        return (0.0, scheme.middle());
    }
    let (plain, top) = (min_max(scheme, (low, high)), scheme.top());
    let (scale, zero) = search(scheme, weights);
    let step = 0.25 * scheme.step();
    let pair = |c: usize| match c {
        0 => (scale, zero),
        1 => plain,
        _ if !refined => (scale, zero),
        _ => {
            let shift = if scheme.symmetric {
                0.0
            } else if c < 9 {
                -1.0
            } else {
                1.0
            };
            (scale * (1.0 + step * (((c - 2) % 7) as f32 - 3.0)), (zero + shift).clamp(0.0, top))
        }
    };
    Pairs { scale: array(|c| scheme.stored(pair(c).0)), zero: array(|c| pair(c).1) }.best(weights, top)
}
