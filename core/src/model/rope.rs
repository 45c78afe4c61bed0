//! Rotary position embedding (Su et al. 2021): channel pairs of a head turned by position × frequency.

use super::linear::load_shaped;
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::source::{LongRope, Rope, RopeLayout, RopeScaling};
use rayon::prelude::*;
use std::f64::consts::TAU;

/// The frequencies of a model, ready to turn heads.
pub(crate) struct Rotary {
    frequencies: Vec<f64>,
    long: Option<Long>,
    layout: RopeLayout,
}

/// What longrope changes.
struct Long {
    /// Frequencies of sequences longer than `original_context`.
    frequencies: Vec<f64>,
    original_context: usize,
    /// Factor of all rotated channels.
    magnitude: f32,
}

/// Cosine and sine of each (position, pair), positions consecutive.
pub(crate) struct Angles {
    pairs: usize,
    cos_sin: Vec<(f32, f32)>,
}

impl Rotary {
    /// From the configuration; a `rope_freqs.weight` tensor (llama.cpp's divisors, how Llama 3 is stored in GGUF) stands in for the scaling.
    pub(crate) fn load(weights: &dyn Weights, rope: &Rope, long: Option<&LongRope>, head_dim: usize) -> Result<Self> {
        if rope.dimensions == 0 || !rope.dimensions.is_multiple_of(2) || rope.dimensions > head_dim {
            return Err(Error::Mismatch {
                operation: "rotary embedding",
                expected: format!("an even number of rotated channels up to {head_dim}"),
                got: rope.dimensions.to_string(),
            });
        }
        let mut frequencies = frequencies(rope);
        let divided = |divisors: Vec<f32>| unscaled(rope).zip(divisors).map(|(f, d)| f / f64::from(d)).collect::<Vec<f64>>();
        let name = "rope_freqs.weight";
        if weights.load(name)?.is_some() {
            frequencies = divided(load_shaped(weights, name, &[frequencies.len()])?);
        }
        let name = "rope_factors_short.weight";
        let long = match long {
            None => None,
            // The context is said, but nothing changes beyond it.
            Some(long) if long.short.is_empty() && weights.load(name)?.is_none() => None,
            Some(long) => {
                let divisors = |listed: &[f32], name: &str| {
                    if listed.is_empty() { load_shaped(weights, name, &[rope.dimensions / 2]) } else { Ok(listed.to_vec()) }
                };
                frequencies = divided(divisors(&long.short, name)?);
                let frequencies = divided(divisors(&long.long, "rope_factors_long.weight")?);
                Some(Long { frequencies, original_context: long.original_context, magnitude: long.attention_factor })
            }
        };
        if long.as_ref().is_some_and(|l| l.frequencies.len() != frequencies.len()) || frequencies.len() != rope.dimensions / 2 {
            let expected = format!("{} factors of rotary frequencies", rope.dimensions / 2);
            return Err(Error::Mismatch { operation: "rotary embedding", expected, got: frequencies.len().to_string() });
        }
        Ok(Self { frequencies, long, layout: rope.layout })
    }

    /// Pairs of channels of a head that turn.
    pub(super) fn pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// Whether neighbours are a pair.
    pub(super) fn is_interleaved(&self) -> bool {
        self.layout == RopeLayout::Interleaved
    }

    /// Whether a sequence of so many tokens has other frequencies than a short one.
    pub(crate) fn is_long(&self, tokens: usize) -> bool {
        self.long.as_ref().is_some_and(|long| tokens > long.original_context)
    }

    /// Angles of positions `first .. first + count`, in a sequence that [is long](Self::is_long) or is not.
    pub(crate) fn angles(&self, first: usize, count: usize, is_long: bool) -> Angles {
        let frequencies = self.long.as_ref().filter(|_| is_long).map_or(&self.frequencies, |long| &long.frequencies);
        let magnitude = self.long.as_ref().map_or(1.0, |long| long.magnitude);
        let cos_sin = (first..first + count)
            .into_par_iter()
            .flat_map_iter(|position| {
                frequencies.iter().map(move |f| {
                    let (sin, cos) = (position as f64 * f).sin_cos();
                    (cos as f32 * magnitude, sin as f32 * magnitude)
                })
            })
            .collect();
        Angles { pairs: frequencies.len(), cos_sin }
    }

    /// Turns every head of consecutive tokens, the first of which has the angles' first position. `width` = heads · head_dim.
    pub(crate) fn turn(&self, angles: &Angles, tokens: &mut [f32], width: usize, head_dim: usize) {
        let pairs = angles.pairs;
        tokens.par_chunks_mut(width).zip(angles.cos_sin.par_chunks(pairs)).for_each(|(token, angles)| {
            for head in token.chunks_exact_mut(head_dim) {
                for (i, &(cos, sin)) in angles.iter().enumerate() {
                    let (a, b) = match self.layout {
                        RopeLayout::Interleaved => (2 * i, 2 * i + 1),
                        RopeLayout::Half => (i, i + pairs),
                    };
                    (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
                }
            }
        });
    }
}

impl Angles {
    /// Row by row.
    pub(super) fn cosines_and_sines(&self) -> impl Iterator<Item = [f32; 2]> + '_ {
        self.cos_sin.iter().map(|&(cos, sin)| [cos, sin])
    }

    /// What turns back what these turned, times the square of the magnitude: the transposed map, which carries gradients.
    pub(crate) fn transposed(&self) -> Self {
        Self { pairs: self.pairs, cos_sin: self.cos_sin.iter().map(|&(cos, sin)| (cos, -sin)).collect() }
    }
}

fn unscaled(rope: &Rope) -> impl Iterator<Item = f64> {
    let (theta, dimensions) = (f64::from(rope.theta), rope.dimensions as f64);
    (0..rope.dimensions / 2).map(move |i| theta.powf(-2.0 * i as f64 / dimensions))
}

fn frequencies(rope: &Rope) -> Vec<f64> {
    unscaled(rope)
        .map(|frequency| match rope.scaling {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / f64::from(factor),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                // Between the two wavelengths the share of the unscaled frequency grows linearly in context / wavelength.
                let turns = f64::from(original_context) * frequency / TAU;
                let (low, high) = (f64::from(low_freq_factor), f64::from(high_freq_factor));
                let share = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (share + (1.0 - share) / f64::from(factor))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(scaling: RopeScaling) -> Rope {
        Rope { theta: 10_000.0, dimensions: 64, layout: RopeLayout::Half, scaling }
    }

    #[test]
    fn llama3_scaling_leaves_high_frequencies_and_divides_low_ones() {
        let plain = frequencies(&rope(RopeScaling::None));
        let scaled = frequencies(&rope(RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 256.0 }));
        assert_eq!(plain[0], scaled[0], "256 tokens are 40 turns of the fastest pair");
        assert!((plain[31] / scaled[31] - 8.0).abs() < 1e-12, "less than one turn of the slowest");
        assert!(plain.iter().zip(&scaled).any(|(p, s)| s < p && *s > p / 8.0 + 1e-9), "a smooth middle");
        assert!(scaled.windows(2).all(|w| w[0] > w[1]), "still decreasing");
    }

    #[test]
    fn linear_scaling_is_a_slower_clock() {
        let plain = frequencies(&rope(RopeScaling::None));
        let scaled = frequencies(&rope(RopeScaling::Linear { factor: 4.0 }));
        assert!(plain.iter().zip(&scaled).all(|(p, s)| (p / s - 4.0).abs() < 1e-12), "every frequency divided");
    }
}
