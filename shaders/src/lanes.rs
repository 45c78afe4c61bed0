//! Sixteen candidate scales tried at once, the tool of every scale search.
//!
//! A search tries many scales on few weights, so the vector lanes hold candidates and the loop runs over the weights: no reduction across
//! lanes, and every sum is in the order of the weights, the same on every machine. Everything is branch-free and `#[inline(always)]`, so that
//! it becomes vector code inside functions that the caller compiles for wide vectors. Rust never contracts a·b + c, so the results are the
//! same for all of them.
//!
//! A GPU gives the same bits (`wgsl/common/exact.wgsl`) where nothing depends on subnormal numbers, which it may take for zeros. So weights
//! below 2⁻⁶⁰ and importances below 2⁻⁴⁰ of the largest count as zeros, quotients below [`LEAST`] too, and sums of squares begin with [`LEAST`].

/// Candidates tried together.
pub const LANES: usize = 16;

/// One value for each candidate.
pub type Lanes = [f32; LANES];

/// Rounds |v| < 2²² to the nearest integer, ties to even; two additions on every machine.
#[inline(always)]
pub fn round(v: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0; // 1.5 · 2²³: no bits left for a fraction
    (v + SHIFT) - SHIFT
}

/// The nearest integer to |v| < 2²², ties to even. (A saturating cast from floats to bytes is not vector code.)
#[inline(always)]
pub fn to_integer(v: f32) -> i32 {
    const SHIFT: f32 = 12_582_912.0;
    (v + SHIFT).to_bits() as i32 - SHIFT.to_bits() as i32
}

/// The nearest half-precision number, ties to even, saturating instead of infinite.
#[inline(always)]
pub fn to_half(v: f32) -> f32 {
    let v = v.clamp(-65504.0, 65504.0);
    let bits = v.to_bits();
    // Ten of 23 bits of the fraction stay. Subnormal halves are multiples of 2⁻²⁴, the last place of 0.75.
    let normal = f32::from_bits(bits.wrapping_add(0x0FFF + (bits >> 13 & 1)) & 0xFFFF_E000);
    let subnormal = (v + 0.75) - 0.75;
    if v.abs() < 6.103_515_6e-5 { subnormal } else { normal }
}

/// `[value(0), value(1), …]`. (The standard `array::from_fn` and `map` are not always inlined, and then are not compiled for wide vectors.)
#[inline(always)]
pub fn array<T: Copy + Default, const N: usize>(value: impl Fn(usize) -> T) -> [T; N] {
    let mut values = [T::default(); N];
    for (i, v) in values.iter_mut().enumerate() {
        *v = value(i);
    }
    values
}

/// 2⁻¹⁰⁰: far below every error that matters, far above the subnormal numbers.
pub const LEAST: f32 = f32::from_bits(27 << 23);

/// 1/d, and 0 for what is next to nothing.
#[inline(always)]
pub fn reciprocal(d: f32) -> f32 {
    if d.abs() < LEAST { 0.0 } else { 1.0 / d }
}

/// a/b for a b that is 0 only where a is; what is next to nothing is 0, and so is 0/0.
#[inline(always)]
pub fn quotient(a: f32, b: f32) -> f32 {
    let quotient = a / b;
    if quotient.abs() >= LEAST { quotient } else { 0.0 }
}

/// a/b for a positive b, else 0; what is next to nothing is 0, below the line too.
#[inline(always)]
pub fn ratio(a: f32, b: f32) -> f32 {
    // Two choices, one after the other, are vector code; one of two conditions is not.
    let quotient = quotient(a, b);
    if b < LEAST { 0.0 } else { quotient }
}

/// Index of the smallest value, the first of equals; not-a-number never wins.
#[inline(always)]
pub fn smallest(values: &Lanes) -> usize {
    let least = tree(*values, min);
    let mut index = 0;
    for c in (0..LANES).rev() {
        index = if values[c] == least { c } else { index };
    }
    index
}

/// The smaller number: `a` when `b` is not a number.
#[inline(always)]
pub fn min(a: f32, b: f32) -> f32 {
    if b < a { b } else { a }
}

/// The larger number: `a` when `b` is not a number.
#[inline(always)]
pub fn max(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// Combines all values from `start` on, in sixteen lanes and then pairwise: always in the same order, but not one after the other.
#[inline(always)]
pub fn fold(values: &[f32], start: f32, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for chunk in chunks {
        for c in 0..LANES {
            lanes[c] = combine(lanes[c], chunk[c]);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane = combine(*lane, v);
    }
    tree(lanes, combine)
}

#[inline(always)]
fn tree(mut lanes: Lanes, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for c in 0..width {
            lanes[c] = combine(lanes[c], lanes[c + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Factors from `low` to `high`, evenly spaced.
pub const fn spread(low: f32, high: f32) -> Lanes {
    let mut factors = [0.0; LANES];
    let mut i = 0;
    while i < LANES {
        factors[i] = low + (high - low) * i as f32 / (LANES - 1) as f32;
        i += 1;
    }
    factors
}

/// The same values, kept together in memory: otherwise the optimiser, seeing what single lanes are later used for, takes the vectors of the
/// loop before apart.
#[inline(always)]
pub fn whole(lanes: Lanes) -> Lanes {
    std::hint::black_box(lanes)
}

/// Below this largest magnitude a block is zero: no half-precision scale can hold it.
pub const TINY: f32 = 1e-12;

/// Larger magnitudes are cut: no block type can hold them, and their squares would overflow.
const LARGEST: f32 = 1e9;

/// Not-a-number and infinities are 0, the rest at most 10⁹ in magnitude.
#[inline(always)]
pub fn finite(weight: f32) -> f32 {
    if weight.is_finite() { weight.clamp(-LARGEST, LARGEST) } else { 0.0 }
}

/// A weight as the searches may rely on it: finite, and 0 below 2⁻⁶⁰.
#[inline(always)]
pub fn clean(weight: f32) -> f32 {
    const SMALLEST: f32 = f32::from_bits((127 - 60) << 23);
    if weight.abs() < SMALLEST { 0.0 } else { finite(weight) }
}

/// Scales importances so that the largest is 1, up to its last place; ones where none is positive. What is negative, not finite or below 2⁻⁴⁰
/// of the largest is 0.
#[inline(always)]
pub fn normalise(importance: &mut [f32]) {
    const SMALLEST: f32 = f32::from_bits((127 - 40) << 23);
    // Two choices in a row, because two conditions joined are a branch and no vector code.
    for v in &mut *importance {
        let positive = max(0.0, *v);
        *v = if positive < f32::INFINITY { positive } else { 0.0 };
    }
    let largest = largest(importance);
    // One division for all; that of the smallest numbers would overflow.
    let (factor, offset) = if largest > 0.0 { (min(f32::MAX, 1.0 / largest), 0.0) } else { (0.0, 1.0) };
    for v in importance {
        let share = *v * factor;
        *v = if share >= SMALLEST { share } else { 0.0 } + offset;
    }
}

/// The largest of some numbers, at least 0.
#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for c in 0..LANES {
            lanes[c] = max(lanes[c], chunk[c]);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane = max(*lane, v);
    }
    tree(whole(lanes), max)
}

/// Whether all importances are the same.
#[inline(always)]
pub fn is_flat(w: &[f32]) -> bool {
    w.iter().all(|&v| v == w[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    #[test]
    fn to_half_gives_the_nearest_half_and_saturates() {
        let mut v = 1e-9f32;
        while v < 1e6 {
            for v in [v, -v] {
                let (got, want) = (to_half(v), f16::from_f32(v.clamp(-65504.0, 65504.0)).to_f32());
                assert_eq!(f16::from_f32(got).to_f32(), got, "{got} is a half");
                assert!((got - v.clamp(-65504.0, 65504.0)).abs() <= (want - v.clamp(-65504.0, 65504.0)).abs(), "{v}: {got} against {want}");
            }
            v *= 1.000_37;
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_even() {
        for (v, want) in [(0.5, 0.0), (1.5, 2.0), (-0.5, 0.0), (-2.5, -2.0), (126.49, 126.0), (-127.51, -128.0)] {
            assert_eq!(round(v), want, "round({v})");
            assert_eq!(to_integer(v), want as i32, "to_integer({v})");
        }
    }

    #[test]
    fn importances_without_a_positive_one_are_ones() {
        let mut w = [0.0, -1.0, f32::NAN, f32::INFINITY];
        normalise(&mut w);
        assert_eq!(w, [1.0; 4], "no usable importance");
        let mut w = [0.0, 2.0, 4.0, f32::NAN];
        normalise(&mut w);
        assert_eq!(w, [0.0, 0.5, 1.0, 0.0], "largest is one");
    }
}
