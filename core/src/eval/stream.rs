//! The residual streams of two models side by side.

use crate::error::{Error, Result};
use crate::model::with_values;
use crate::numeric::metric::ratio;
use candle_core::Tensor;

/// ‖b − a‖² / ‖a‖² over all sequences, and the mean over tokens of cos(a, b).
pub(super) fn stream_error(a: &[Tensor], b: &[Tensor]) -> Result<(f64, f64)> {
    let (mut error, mut norm, mut cosines, mut tokens) = (0.0f64, 0.0f64, 0.0f64, 0usize);
    for (a, b) in a.iter().zip(b) {
        let width = a.dim(1)?.max(1);
        with_values(a, |a| {
            with_values(b, |b| {
                for (a, b) in a.chunks_exact(width).zip(b.chunks_exact(width)) {
                    let (mut e, mut aa, mut bb, mut ab) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
                    for (&a, &b) in a.iter().zip(b) {
                        let (a, b) = (f64::from(a), f64::from(b));
                        e += (b - a) * (b - a);
                        aa += a * a;
                        bb += b * b;
                        ab += a * b;
                    }
                    error += e;
                    norm += aa;
                    cosines += if e == 0.0 { 1.0 } else { ratio(ab, (aa * bb).sqrt()) };
                    tokens += 1;
                }
                Ok(())
            })
        })?;
    }
    Ok((ratio(error, norm), cosines / tokens.max(1) as f64))
}

/// Refuses a stream with NaN or infinity, naming where the first is.
///
/// # Errors
/// `Input`.
pub(super) fn check_finite(which: &str, block: usize, stream: &[Tensor]) -> Result<()> {
    for (sequence, tensor) in stream.iter().enumerate() {
        let width = tensor.dim(1)?.max(1);
        let bad = with_values(tensor, |x| Ok(x.iter().position(|v| !v.is_finite())))?;
        if let Some(at) = bad {
            let (token, channel) = (at / width, at % width);
            return Err(Error::Input(format!(
                "{which} gives NaN or infinity: behind block {block}, channel {channel}, first at token {token} of chunk {sequence}; inspect its weights with --statistics"
            )));
        }
    }
    Ok(())
}
