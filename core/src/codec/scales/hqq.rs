//! HQQ (Badri & Shaji 2023): half-quadratic splitting for a loss that forgives outliers, with the scale of min–max and the zero point free.
//!
//! Alternates a shrinkage of the residuals (the proximal step of |e|^p) and the zero point that is best for what is left. The codes of the
//! paper have a real zero point; here it is rounded at the end. Importances are not used: the method is one without data.

use super::min_max;
use crate::codec::lanes::round;
use crate::codec::span::Span;
use halftone_shaders::twin::encode_groups::{Pair, Scheme, level};

/// p of the loss, first penalty, its growth, and most rounds; the paper's.
const P: f32 = 0.7;
const BETA: f32 = 10.0;
const KAPPA: f32 = 1.01;
const ROUNDS: usize = 20;

pub(super) fn search(scheme: Scheme, span: &Span<'_>) -> Pair {
    let (scale, mut zero) = min_max::search(scheme, span);
    if scheme.symmetric || scale == 0.0 {
        return (scale, zero);
    }
    let (top, values) = (scheme.top(), span.values());
    let (mut beta, mut least) = (BETA, f64::INFINITY);
    let mut best = zero;
    for _ in 0..ROUNDS {
        let (mut sum, mut error) = (0.0f64, 0.0f64);
        for &x in values {
            // q is a code; the zero point may lie between codes.
            let q = round((x / scale + zero).clamp(0.0, top));
            let residual = x - scale * (q - zero);
            let magnitude = residual.abs();
            let shrunk = (magnitude - magnitude.max(1e-8).powf(P - 1.0) / beta).max(0.0).copysign(residual);
            sum += f64::from(q - (x - shrunk) / scale);
            error += f64::from(magnitude);
        }
        if error >= least {
            break;
        }
        (least, best) = (error, zero);
        zero = (sum / values.len() as f64) as f32;
        beta *= KAPPA;
    }
    (scale, level(best, 0.0, top))
}
