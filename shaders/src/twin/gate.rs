//! The curves of feed-forwards: x ← f(x), or x ← f(x)·up (Shazeer 2020), with f SiLU, either GELU (Hendrycks & Gimpel 2016), or a soft cap.
//!
//! Devices must come within [`TOLERANCE`] of (|f(x)| + min(|x|, 1))·|up|: near a zero of the curve the value itself is no measure.

use crate::params::layout;
use bytemuck::{Pod, Zeroable};

/// Parameters of `gate.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// Values.
    pub count: u32,
    /// As [`Curve`] has it.
    pub curve: u32,
    /// 1: times `up`.
    pub gated: u32,
    /// Of a soft cap.
    pub cap: f32,
}
layout!(Params { count, curve, gated, cap });

/// Largest difference between devices; see the top.
pub const TOLERANCE: f64 = 2e-6;

/// What is done to a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Curve {
    /// x·σ(x).
    Silu,
    /// x·½(1 + tanh √(2/π)(x + 0.044715 x³)).
    GeluTanh,
    /// x·½(1 + erf x/√2), erf to 2·10⁻⁷ (Abramowitz & Stegun 7.1.26).
    Gelu,
    /// cap·tanh(x / cap).
    SoftCap(f32),
}

impl Curve {
    /// The number it has in [`Params::curve`].
    pub const fn number(self) -> u32 {
        match self {
            Self::Silu => 0,
            Self::GeluTanh => 1,
            Self::Gelu => 2,
            Self::SoftCap(_) => 3,
        }
    }

    /// f(x).
    pub fn of(self, x: f32) -> f64 {
        let x = f64::from(x);
        match self {
            Self::Silu => x / (1.0 + (-x).exp()),
            Self::GeluTanh => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()),
            Self::Gelu => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            Self::SoftCap(cap) => f64::from(cap) * (x / f64::from(cap)).tanh(),
        }
    }
}

fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let p = ((((1.061_405_429 * t - 1.453_152_027) * t + 1.421_413_741) * t - 0.284_496_736) * t + 0.254_829_592) * t;
    (1.0 - p * (-x * x).exp()).copysign(x)
}

/// x ← f(x), times `up` where there is one. Returns the ceiling of the difference for each value.
pub fn gate(curve: Curve, x: &mut [f32], up: &[f32]) -> Vec<f64> {
    let value = |(i, x): (usize, &mut f32)| {
        let factor = f64::from(up.get(i).copied().unwrap_or(1.0));
        let ceiling = TOLERANCE * (curve.of(*x).abs() + f64::from(x.abs()).min(1.0)) * factor.abs();
        *x = (curve.of(*x) * factor) as f32;
        ceiling
    };
    x.iter_mut().enumerate().map(value).collect()
}
