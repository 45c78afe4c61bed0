//! Group-wise integer quantization ŵ = s·(q − z) with an importance-weighted search of the scale s and the zero point z.
//!
//! For each group of weights the search minimises Σ aᵢ·(ŵᵢ − wᵢ)² in three rounds, each around the best so far: 24 scales (three exact
//! anchors, then clip ratios below 1); the zero points beside it, unless symmetric; fractions of a step. On normal weights that is within
//! 0.1 % (symmetric, to 5 bits) to 7 % (8 bits) of an exhaustive search. The scale is rounded to f16 before a candidate is judged, so
//! what is judged is what is stored. Non-finite weights count as 0, non-finite or negative importances as 0; magnitudes saturate at 2²²,
//! far above what an f16 scale can represent.
//!
//! **Why every device gets the same integers.** Shading languages may contract a·b + c to one rounding, divide to 2.5 ulp and flush
//! subnormals, so a decision made in floats can differ. Here a group is first turned into fixed point by shifts: weights get 28 bits
//! below the exponent of the group's largest magnitude (the *unit*), importances 16 bits below the largest. A scale is an integer of at
//! most 11 significant bits in the same unit, which is exactly an f16 value. Codes, residuals and errors (64 bits) are then integers.
//! One float appears: w·(1/s) proposes a code, at most one off, and integer comparisons of the residual with ±s/2 correct it.
//!
//! Precision: codes are nearest to within 2⁻²⁰ of a step; the search compares errors whose residuals are rounded to 2⁻¹⁰ of a step.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `group_quantize.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Params {
    /// Columns a group; a multiple of 8.
    pub group: u32,
    /// Groups of this dispatch.
    pub groups: u32,
    /// Groups of a row.
    pub groups_per_row: u32,
    /// Number, in the whole tensor, of this dispatch's first group.
    pub first_group: u32,
    /// Bits of a code, 2–8.
    pub bits: u32,
    /// 1: the zero point is fixed in the middle; 0: it is searched.
    pub symmetric: u32,
    /// 1: `importance` has one entry a column; 0: all weights count the same.
    pub weighted: u32,
    /// Nothing.
    pub padding: u32,
}
layout!(Params { group, groups, groups_per_row, first_group, bits, symmetric, weighted, padding });

/// Candidate scales of the first round.
const COARSE: u32 = 24;
/// The first candidates divide the range by levels, levels − 1 and levels + 1: grids that other quantizers leave behind.
const ANCHORS: u32 = 3;
/// Step of the clip ratio by bits (from 2), in 1/1024: few levels gain from clipping a lot, many do not.
const RATIO_STEP: [u32; 7] = [33, 26, 20, 14, 10, 6, 4];
/// The second round moves the zero point, and with it the scale by so many steps (which clips one end only).
const ZERO_SHIFTS: [i32; 2] = [-1, 1];
const ZERO_STEPS: [i32; 5] = [-4, -2, 0, 2, 4];
/// The third round moves the scale by quarters of a step.
const FINE_QUARTERS: [i32; 6] = [-3, -2, -1, 1, 2, 3];
/// Bits of 2²² as f32.
const SATURATION: u32 = 0x4a80_0000;
/// Bits of the f32 infinity: everything from here on is not a number to quantize.
const INFINITY: u32 = 0x7f80_0000;
/// Importance of a column that counts fully.
const FULL_IMPORTANCE: u32 = 0xffff;
/// Largest residual in error units; its square times the importance, summed over 2¹⁶ columns, fits 64 bits.
const RESIDUAL_LIMIT: u32 = 0x7fff;

/// How weights are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scheme {
    /// Bits of a code, 2–8.
    pub bits: u32,
    /// Columns a group: a multiple of 8, at most 2¹⁶.
    pub group: usize,
    /// The zero point is fixed at 2^(bits−1).
    pub symmetric: bool,
}

/// The grid chosen for one group: ŵ = scale·(code − zero).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// A non-negative f16 value.
    pub scale: f32,
    /// 0 … 2^bits − 1.
    pub zero: u8,
}

/// Quantizes rows of `columns` weights. `importance` has one entry a column, or none when all count the same. Writes one code a weight
/// (0 … 2^bits − 1), one scale and one zero point a group.
///
/// The caller has checked that `columns` is a multiple of the group and that the slices fit; surplus output is left alone.
#[inline(always)]
pub fn quantize(weights: &[f32], columns: usize, importance: &[f32], scheme: Scheme, codes: &mut [u8], scales: &mut [f32], zeros: &mut [u8]) {
    let groups_per_row = (columns / scheme.group).max(1);
    let mut search = Search::new(scheme);
    let outputs = codes.chunks_exact_mut(scheme.group).zip(scales).zip(zeros);
    for (index, (weights, ((codes, scale), zero))) in weights.chunks_exact(scheme.group).zip(outputs).enumerate() {
        let first = index % groups_per_row * scheme.group;
        let grid = search.quantize_group(weights, importance.get(first..first + scheme.group).unwrap_or(&[]), codes);
        (*scale, *zero) = (grid.scale, grid.zero);
    }
}

/// ŵ = s·(q − z) of one group: exact in f32, since a scale has 11 significant bits and a code 8.
#[inline(always)]
pub fn dequantize_group(codes: &[u8], grid: Grid, out: &mut [f32]) {
    for (value, &code) in out.iter_mut().zip(codes) {
        *value = grid.scale * f32::from(i16::from(code) - i16::from(grid.zero));
    }
}

/// The search over one group, with its fixed-point scratch.
struct Search {
    scheme: Scheme,
    fixed: Vec<i32>,
    importance: Vec<u32>,
    exponent: u32,
}

/// A candidate in fixed point.
#[derive(Clone, Copy)]
struct Candidate {
    scale: u32,
    zero: i32,
}

/// A candidate that has been judged.
#[derive(Clone, Copy)]
struct Best {
    candidate: Candidate,
    error: u64,
}

impl Search {
    fn new(scheme: Scheme) -> Self {
        Self { scheme, fixed: vec![0; scheme.group], importance: vec![FULL_IMPORTANCE; scheme.group], exponent: 1 }
    }

    #[inline(always)]
    fn quantize_group(&mut self, weights: &[f32], importance: &[f32], codes: &mut [u8]) -> Grid {
        self.exponent = weights.iter().map(|w| magnitude(w.to_bits())).max().unwrap_or(0).max(1 << 23) >> 23;
        for (fixed, weight) in self.fixed.iter_mut().zip(weights) {
            *fixed = fixed_point(weight.to_bits(), self.exponent);
        }
        self.set_importance(importance);

        let best = self.best();
        if best.scale == 0 {
            codes.fill(best.zero as u8);
        } else {
            let inverse = 1.0 / best.scale as f32;
            for (code, &weight) in codes.iter_mut().zip(&self.fixed) {
                *code = (level(weight, best, inverse, self.levels()) + best.zero) as u8;
            }
        }
        Grid { scale: scale_to_f32(best.scale, self.exponent), zero: best.zero as u8 }
    }

    fn levels(&self) -> i32 {
        (1 << self.scheme.bits) - 1
    }

    /// The group's importances in 16 bits below the largest; all full when there are none or all are 0.
    #[inline(always)]
    fn set_importance(&mut self, importance: &[f32]) {
        let largest = importance.iter().map(|a| positive(a.to_bits())).max().unwrap_or(0);
        if largest == 0 {
            self.importance.fill(FULL_IMPORTANCE);
            return;
        }
        let exponent = largest.max(1 << 23) >> 23;
        for (fixed, value) in self.importance.iter_mut().zip(importance) {
            let bits = positive(value.to_bits());
            let shift = exponent - (bits >> 23).max(1);
            // A column that counts for nothing would leave the search without a reason to represent it at all: it counts a little.
            *fixed = if shift > 15 { 1 } else { ((mantissa(bits) >> 8) >> shift).max(1) };
        }
    }

    /// The candidate of least error; of equal ones the first.
    #[inline(always)]
    fn best(&self) -> Candidate {
        let (mut low, mut high) = (0, 0);
        for &weight in &self.fixed {
            (low, high) = (weight.min(low), weight.max(high));
        }
        if self.scheme.symmetric {
            high = high.max(-low);
            low = -high;
        }
        let (levels, range) = (self.levels() as u32, (high - low) as u32);
        let middle = (levels as i32 + 1) / 2;
        let base = range / levels;
        if base == 0 {
            return Candidate { scale: 0, zero: if self.scheme.symmetric { middle } else { 0 } };
        }
        let zero = if self.scheme.symmetric { middle } else { ((low.unsigned_abs() + base / 2) / base).min(levels) as i32 };
        let error_shift = leading_bit(base).saturating_sub(10);
        let step = (base >> 10) * RATIO_STEP[self.scheme.bits as usize - 2];

        let mut best = Best { candidate: Candidate { scale: 0, zero }, error: u64::MAX };
        for k in 0..COARSE {
            let target = match k {
                0 => base,
                1 => range / (levels - 1),
                2 => range / (levels + 1),
                _ => base - step * (k - ANCHORS + 1),
            };
            best = self.better(best, error_shift, Candidate { scale: round_scale(target, self.exponent), zero });
        }
        let center = best.candidate;
        if !self.scheme.symmetric {
            for (zero_shift, steps) in ZERO_SHIFTS.iter().flat_map(|z| ZERO_STEPS.map(|s| (z, s))) {
                let zero = center.zero + zero_shift;
                if (0..=levels as i32).contains(&zero) {
                    let target = (center.scale as i32 + step as i32 * steps).max(0) as u32;
                    best = self.better(best, error_shift, Candidate { scale: round_scale(target, self.exponent), zero });
                }
            }
        }
        let center = best.candidate;
        for quarters in FINE_QUARTERS {
            let target = center.scale as i32 + (step / 4) as i32 * quarters;
            best = self.better(best, error_shift, Candidate { scale: round_scale(target.max(0) as u32, self.exponent), zero: center.zero });
        }
        best.candidate
    }

    /// `candidate` if its error is below the best one's, else the best.
    #[inline(always)]
    fn better(&self, best: Best, error_shift: u32, candidate: Candidate) -> Best {
        let error = self.error(candidate, error_shift);
        if error < best.error { Best { candidate, error } } else { best }
    }

    /// Σ aᵢ·Dᵢ², D the residual in 2^`error_shift` units, rounded; the largest value for a scale of 0.
    #[inline(always)]
    fn error(&self, candidate: Candidate, error_shift: u32) -> u64 {
        if candidate.scale == 0 {
            return u64::MAX;
        }
        let (inverse, levels) = (1.0 / candidate.scale as f32, self.levels());
        let half = (1u32 << error_shift) >> 1;
        let mut sum = 0u64;
        for (&weight, &importance) in self.fixed.iter().zip(&self.importance) {
            let residual = weight - level(weight, candidate, inverse, levels) * candidate.scale as i32;
            let residual = ((residual.unsigned_abs() + half) >> error_shift).min(RESIDUAL_LIMIT);
            sum += u64::from(residual * residual) * u64::from(importance);
        }
        sum
    }
}

/// q − z of the code nearest to `weight`, ties upward.
#[inline(always)]
fn level(weight: i32, candidate: Candidate, inverse: f32, levels: i32) -> i32 {
    // Adding 1.5·2²³ leaves the nearest integer in the low bits. The proposal may be one off (here or on a device that rounds otherwise).
    const MAGIC: f32 = 12_582_912.0;
    let proposal = (weight as f32 * inverse + MAGIC).to_bits() as i32 - MAGIC.to_bits() as i32;
    let scale = candidate.scale as i32;
    let twice = 2 * (weight - proposal * scale);
    let nearest = proposal + i32::from(twice >= scale) - i32::from(twice < -scale);
    nearest.max(-candidate.zero).min(levels - candidate.zero)
}

/// The magnitude bits of a weight: 0 when it is not finite, saturated.
#[inline(always)]
fn magnitude(bits: u32) -> u32 {
    let magnitude = bits & 0x7fff_ffff;
    if magnitude >= INFINITY { 0 } else { magnitude.min(SATURATION) }
}

/// The bits of an importance: 0 when negative or not finite.
#[inline(always)]
fn positive(bits: u32) -> u32 {
    if bits >= INFINITY { 0 } else { bits }
}

/// 24-bit mantissa with the hidden bit.
#[inline(always)]
fn mantissa(bits: u32) -> u32 {
    (bits & 0x007f_ffff) | (u32::from(bits >= 1 << 23) << 23)
}

/// A weight in units of 2^(exponent − 154): 28 bits for the group's largest exponent, rounded half away from zero.
#[inline(always)]
fn fixed_point(bits: u32, exponent: u32) -> i32 {
    let magnitude = magnitude(bits);
    let shift = (exponent - (magnitude >> 23).max(1)).min(30);
    let value = (((mantissa(magnitude) << 4) + ((1 << shift) >> 1)) >> shift) as i32;
    if bits >> 31 == 0 { value } else { -value }
}

/// `target` (in the group's unit) rounded to the nearest f16 value, ties to even, in the same unit; at most 65504, possibly 0.
#[inline(always)]
fn round_scale(target: u32, exponent: u32) -> u32 {
    // 11 significant bits, but no bit below 2⁻²⁴, the smallest f16.
    let shift = (leading_bit(target) as i32 - 10).max(130 - exponent as i32).max(0) as u32;
    if shift > 30 {
        return 0;
    }
    let half = (1 << shift) >> 1;
    let even = (target >> shift) & 1;
    let rounded = if shift == 0 { target } else { ((target + half - 1 + even) >> shift) << shift };
    if exponent < 139 { rounded } else { rounded.min(2047 << (159 - exponent)) }
}

/// Position of the highest set bit; 0 for 0.
#[inline(always)]
fn leading_bit(value: u32) -> u32 {
    31 - (value | 1).leading_zeros()
}

/// A scale in the group's unit as f32, put together from its bits.
#[inline(always)]
fn scale_to_f32(scale: u32, exponent: u32) -> f32 {
    if scale == 0 {
        return 0.0;
    }
    let leading = leading_bit(scale);
    let fraction = ((scale << (31 - leading)) >> 8) & 0x007f_ffff;
    f32::from_bits(((leading + exponent - 27) << 23) | fraction)
}
