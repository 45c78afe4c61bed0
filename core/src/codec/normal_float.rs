//! NF4 (QLoRA, Dettmers et al. 2023, section 3): sixteen levels at quantiles of the normal distribution, one of them 0, under the scale of a
//! group of columns.
//!
//! A group is a block: f16 scale, then the codes, four bits each. Levels: eight quantiles for the negative half and nine for the positive
//! one, evenly spaced in probability from ½ to 1 − ½(1/30 + 1/32), both halves with 0, divided by the largest.

use super::bits::{each_code, put_codes};
use super::family::{Family, Feedback, Heads, Layout};
use super::granularity::Granularity;
use super::lanes::{finite, reciprocal, to_half};
use super::scale_fit::{Table, fit_scale};
use super::span::Cleaned;
use super::{Codebook, Format};
use half::f16;
use serde::{Deserialize, Serialize};

/// The levels.
pub static LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// NF4 with a scale for this many columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NormalFloatFormat {
    /// Columns of a group, a multiple of 8.
    pub group: u16,
}

impl NormalFloatFormat {
    /// Reads `NF4-G64`.
    pub(super) fn parse(upper: &str) -> Option<Format> {
        match Granularity::parse(upper.strip_prefix("NF4-")?)? {
            Granularity::Group(group) => Some(Format::NormalFloat(Self { group })),
            _ => None,
        }
    }
}

/// Encodes groups under a table of levels: f16 scale, codes.
pub(super) fn encode_groups(table: Table<'_>, bits: u8, layout: Layout, values: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let columns = layout.block_columns;
    let (mut cleaned, mut codes) = (Cleaned::default(), vec![0; columns]);
    for (i, (values, out)) in values.chunks_exact(columns).zip(out.chunks_exact_mut(layout.block_bytes)).enumerate() {
        let span = cleaned.set(values, columns, importance.map(|all| &all[i * columns..][..columns]));
        let scale = fit_scale(table, &span, to_half);
        out[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        let inverse = reciprocal(scale);
        for (code, &v) in codes.iter_mut().zip(values) {
            *code = table.index(finite(v) * inverse);
        }
        put_codes(bits, &mut out[2..], &codes);
    }
}

/// Decodes groups under a table of levels.
pub(super) fn decode_groups(table: Table<'_>, bits: u8, layout: Layout, bytes: &[u8], out: &mut [f32]) {
    for (bytes, out) in bytes.chunks_exact(layout.block_bytes).zip(out.chunks_exact_mut(layout.block_columns)) {
        let scale = group_scale(bytes);
        // A scale of 0 makes no negative zeros.
        each_code(bits, &bytes[2..], out, |code| scale * table.0[usize::from(code)] + 0.0);
    }
}

/// The scale at the front of a group.
pub(super) fn group_scale(block: &[u8]) -> f32 {
    f16::from_le_bytes([block[0], block[1]]).to_f32()
}

impl Family for NormalFloatFormat {
    fn name(&self) -> String {
        format!("NF4-g{}", self.group)
    }

    fn layout(&self) -> Layout {
        Granularity::Group(self.group).layout(2, 4)
    }

    fn encode(&self, _: Heads<'_>, values: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        encode_groups(Table(&LEVELS), 4, self.layout(), values, importance, out);
    }

    fn decode(&self, _: Heads<'_>, bytes: &[u8], out: &mut [f32]) {
        decode_groups(Table(&LEVELS), 4, self.layout(), bytes, out);
    }

    fn feedback(&self) -> Option<&dyn Feedback> {
        Some(self)
    }
}

impl Feedback for NormalFloatFormat {
    fn codebook(&self) -> Codebook {
        Codebook::Table(&LEVELS)
    }

    fn law(&self, _: Heads<'_>, block: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        scales.fill(group_scale(block));
        offsets.fill(0.0);
    }

    fn put_indices(&self, block: &mut [u8], indices: &[u8]) {
        put_codes(4, &mut block[2..], indices);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Φ(z) − ½ by Simpson's rule.
    fn half_normal(z: f64) -> f64 {
        let (n, density) = (2000, |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt());
        let h = z / f64::from(n);
        let inner = (1..n).map(|i| f64::from(2 + 2 * (i % 2)) * density(h * f64::from(i))).sum::<f64>();
        h / 3.0 * (density(0.0) + density(z) + inner)
    }

    fn quantile(p: f64) -> f64 {
        let (mut low, mut high) = (0.0, 6.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if half_normal(middle) < p - 0.5 { low = middle } else { high = middle }
        }
        0.5 * (low + high)
    }

    #[test]
    fn levels_are_the_quantiles_of_the_rule() {
        let end = 1.0 - 0.5 * (1.0 / 30.0 + 1.0 / 32.0);
        let half = |steps: i32| (0..=steps).map(move |i| quantile(0.5 + (end - 0.5) * f64::from(i) / f64::from(steps)));
        let negative: Vec<f64> = half(7).skip(1).map(|v| -v).collect();
        let levels: Vec<f64> = negative.into_iter().rev().chain(half(8)).collect();
        for (i, (got, want)) in LEVELS.iter().zip(&levels).enumerate() {
            assert!((f64::from(*got) - want / quantile(end)).abs() < 1e-6, "level {i}: {got} instead of {}", want / quantile(end));
        }
    }
}
