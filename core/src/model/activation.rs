//! The curves of feed-forwards and soft caps, as plain loops that the compiler vectorises (see [`super::vector`]).

use super::vector::exp;
use crate::source::Activation;
use pulp::NullaryFnOnce;
use rayon::prelude::*;
use std::marker::PhantomData;

const CHUNK: usize = 16_384;

/// A named type for each curve, because closures are not reliably inlined into the functions that pulp compiles for wide vectors.
trait Curve: Send {
    fn of(x: f32) -> f32;
}

/// x·σ(x).
struct Silu;

impl Curve for Silu {
    #[inline(always)]
    fn of(x: f32) -> f32 {
        x / (1.0 + exp(-x))
    }
}

/// x·½(1 + tanh √(2/π)(x + 0.044715 x³)), the tanh written as a logistic function (Hendrycks & Gimpel 2016).
struct GeluTanh;

impl Curve for GeluTanh {
    #[inline(always)]
    fn of(x: f32) -> f32 {
        let u = 0.797_884_6 * (x + 0.044_715 * x * x * x);
        x / (1.0 + exp(-2.0 * u))
    }
}

/// x·½(1 + erf x/√2).
struct Gelu;

impl Curve for Gelu {
    #[inline(always)]
    fn of(x: f32) -> f32 {
        0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
    }
}

/// erf to about 2·10⁻⁷ (Abramowitz & Stegun 7.1.26).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let p = 1.061_405_4 * t - 1.453_152;
    let p = p * t + 1.421_413_8;
    let p = p * t - 0.284_496_72;
    let p = (p * t + 0.254_829_6) * t;
    (1.0 - p * exp(-x * x)).copysign(x)
}

/// tanh to a few ulp; near zero by its series, where 1 − 2/(e²ˣ + 1) would cancel.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let s = x * x;
    let series = x * (1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 + s * (-17.0 / 315.0 + s * (62.0 / 2835.0)))));
    let quotient = 1.0 - 2.0 / (exp(2.0 * x) + 1.0);
    if s < 0.09 { series } else { quotient }
}

/// The elementwise part of a gated feed-forward (Shazeer 2020): gate ← f(gate)·up.
pub(super) fn gate(activation: Activation, gate: &mut [f32], up: &[f32]) {
    match activation {
        Activation::Silu => gate_with::<Silu>(gate, up),
        Activation::GeluTanh => gate_with::<GeluTanh>(gate, up),
        Activation::Gelu => gate_with::<Gelu>(gate, up),
    }
}

fn gate_with<C: Curve>(gate: &mut [f32], up: &[f32]) {
    gate.par_chunks_mut(CHUNK).zip(up.par_chunks(CHUNK)).for_each(|(gate, up)| pulp::Arch::new().dispatch(Gate::<C> { gate, up, curve: PhantomData }));
}

struct Gate<'a, C> {
    gate: &'a mut [f32],
    up: &'a [f32],
    curve: PhantomData<C>,
}

impl<C: Curve> NullaryFnOnce for Gate<'_, C> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (g, &u) in self.gate.iter_mut().zip(self.up) {
            *g = C::of(*g) * u;
        }
    }
}

/// x ← f(x).
pub(super) fn activate(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Silu => activate_with::<Silu>(values),
        Activation::GeluTanh => activate_with::<GeluTanh>(values),
        Activation::Gelu => activate_with::<Gelu>(values),
    }
}

fn activate_with<C: Curve>(values: &mut [f32]) {
    values.par_chunks_mut(CHUNK).for_each(|values| pulp::Arch::new().dispatch(Activate::<C> { values, curve: PhantomData }));
}

struct Activate<'a, C> {
    values: &'a mut [f32],
    curve: PhantomData<C>,
}

impl<C: Curve> NullaryFnOnce for Activate<'_, C> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for v in self.values.iter_mut() {
            *v = C::of(*v);
        }
    }
}

/// x ← cap·tanh(scale·x / cap): scores that cannot leave ±cap.
pub(super) fn soft_cap(values: &mut [f32], scale: f32, cap: f32) {
    pulp::Arch::new().dispatch(SoftCap { values, factor: scale / cap, cap });
}

struct SoftCap<'a> {
    values: &'a mut [f32],
    factor: f32,
    cap: f32,
}

impl NullaryFnOnce for SoftCap<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for v in self.values.iter_mut() {
            *v = self.cap * tanh(*v * self.factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_their_formulas() {
        for i in -2000..2000 {
            let x = i as f32 / 100.0;
            let d = f64::from(x);
            let near =
                |got: f32, want: f64, what: &str| assert!((f64::from(got) - want).abs() < 1e-6 * want.abs().max(1.0), "{what}({x}) = {got} instead of {want}");
            near(tanh(x), d.tanh(), "tanh");
            near(Silu::of(x), d / (1.0 + (-d).exp()), "silu");
            near(GeluTanh::of(x), 0.5 * d * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (d + 0.044_715 * d.powi(3))).tanh()), "gelu_tanh");
        }
        assert!((tanh(1e-3) - 1e-3f32.tanh()).abs() < 1e-10, "no cancellation near zero");
        // erf at 0, ½, 1, 2 from tables.
        for (x, want) in [(0.0, 0.0), (0.5, 0.520_499_9), (1.0, 0.842_700_8), (2.0, 0.995_322_3), (-1.0, -0.842_700_8)] {
            assert!((erf(x) - want).abs() < 3e-7, "erf({x}) = {}", erf(x));
        }
        assert!(tanh(f32::NAN).is_nan() && erf(f32::NAN).is_nan(), "NaN stays");
    }
}
