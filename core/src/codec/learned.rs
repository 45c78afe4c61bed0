//! Learned codebooks of 4, 8 or 16 levels under the scales of groups (any4, Elhoushi & Johnson 2025, section 3): one codebook a row, or one
//! for the tensor.
//!
//! The head of the row (or of the tensor) holds the levels, f16, rising; a group is a block of an f16 scale and the codes, `bits` each,
//! least significant bit first: ŵ = s·level. Levels and scales are fitted in turn: scales by a search for the levels there are, levels by
//! Lloyd's iteration on the weights divided by their scales, weighted by importance·s², which is what an error of a level costs. Scales are
//! positive; that the levels need not be symmetric takes the place of a zero point.
//!
//! Levels are fitted on the CPU on every machine, from a histogram summed in f64 in a fixed order. The kernel of a Lloyd step
//! ([`crate::compute::KernelCall::LloydStep`]) sums in f32: levels would differ between devices in their last bit, and codes with them.

use super::family::{Family, Feedback, Heads, Layout};
use super::granularity::Granularity;
use super::lanes::{TINY, to_half};
use super::normal_float::{decode_groups, encode_groups, group_scale};
use super::scale_fit::{Table, fit_scale};
use super::span::Cleaned;
use super::{Codebook, Format, bits::put_codes};
use half::f16;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// A learned codebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LearnedFormat {
    /// Bits of a code, 2 to 4.
    pub bits: u8,
    /// Columns that share a scale, a multiple of 8.
    pub group: u16,
    /// One codebook for all rows.
    pub shared: bool,
}

/// Levels of a codebook, as many as are used.
type Levels = [f32; 16];

/// Rounds of scales and levels.
const ROUNDS: usize = 2;

impl LearnedFormat {
    /// Reads `ANY4-G128` (a codebook a row) or `ANY3-G64-TENSOR`.
    pub(super) fn parse(upper: &str) -> Option<Format> {
        let (bits, rest) = upper.strip_prefix("ANY")?.split_once('-')?;
        let bits: u8 = bits.parse().ok().filter(|b| (2..=4).contains(b))?;
        let (group, shared) = rest.strip_suffix("-TENSOR").map_or((rest, false), |group| (group, true));
        match Granularity::parse(group)? {
            Granularity::Group(group) => Some(Format::Learned(Self { bits, group, shared })),
            _ => None,
        }
    }

    fn count(self) -> usize {
        1 << self.bits
    }

    /// The levels that stand in a head.
    fn read(self, heads: Heads<'_>) -> Levels {
        let mut levels = [0.0; 16];
        for (level, bytes) in levels.iter_mut().zip(if self.shared { heads.tensor } else { heads.row }.as_chunks::<2>().0) {
            *level = f16::from_le_bytes(*bytes).to_f32();
        }
        levels
    }

    /// What a row adds to the histogram: each weight over the scale of its group, which is the one that `levels` are best for, or the largest
    /// magnitude at first.
    fn tally(self, row: &[f32], importance: Option<&[f32]>, levels: Option<&Levels>, histogram: &mut Histogram) {
        let group = usize::from(self.group);
        let mut cleaned = Cleaned::default();
        for (i, values) in row.chunks_exact(group).enumerate() {
            let importance = importance.map(|all| &all[i * group..][..group]);
            let span = cleaned.set(values, group, importance);
            let largest = span.largest();
            if largest < TINY {
                continue;
            }
            let scale = levels.map_or(largest, |levels| fit_scale(Table(&levels[..self.count()]), &span, to_half));
            if scale == 0.0 {
                continue;
            }
            // Importances as they are, not relative to the group's largest: groups are compared.
            for (j, &x) in span.values().iter().enumerate() {
                let w = importance.map_or(1.0, |w| if w[j].is_finite() { w[j].max(0.0) } else { 0.0 });
                histogram.add(x / scale, f64::from(w) * f64::from(scale).powi(2));
            }
        }
    }

    /// Fits the levels for some rows; the histograms of rows are added in their order.
    fn fit(self, weights: &[f32], columns: usize, importance: Option<&[f32]>, head: &mut [u8]) {
        let mut levels: Option<Levels> = None;
        for _ in 0..ROUNDS {
            let known = levels;
            let mut histogram = Histogram::default();
            if weights.len() == columns {
                self.tally(weights, importance, known.as_ref(), &mut histogram);
            } else {
                // A part of many rows in parallel, part after part, so that few histograms exist at a time.
                for part in weights.chunks(64 * columns) {
                    let parts: Vec<Histogram> = part
                        .par_chunks(8 * columns)
                        .map(|rows| {
                            let mut histogram = Histogram::default();
                            rows.chunks_exact(columns).for_each(|row| self.tally(row, importance, known.as_ref(), &mut histogram));
                            histogram
                        })
                        .collect();
                    parts.iter().for_each(|part| histogram.join(part));
                }
            }
            levels = Some(histogram.lloyd(self.count()));
        }
        for (level, bytes) in levels.unwrap_or_default().iter().zip(head.as_chunks_mut::<2>().0) {
            *bytes = f16::from_f32(*level).to_le_bytes();
        }
    }
}

/// Weights on a line, in narrow bins: what is in each, and its weighted sum, so that means are exact.
struct Histogram {
    weight: Vec<f64>,
    sum: Vec<f64>,
}

/// Bins, from −[`REACH`] to [`REACH`].
const BINS: usize = 2048;
const REACH: f32 = 1.25;
/// Most rounds of Lloyd's iteration; it ends where nothing moves.
const LLOYD: usize = 60;

impl Default for Histogram {
    fn default() -> Self {
        Self { weight: vec![0.0; BINS], sum: vec![0.0; BINS] }
    }
}

/// The bin of a value.
fn bin(v: f32) -> usize {
    (((v / REACH + 1.0) * (BINS / 2) as f32) as usize).min(BINS - 1)
}

impl Histogram {
    fn add(&mut self, v: f32, weight: f64) {
        let bin = bin(v);
        self.weight[bin] += weight;
        self.sum[bin] += weight * f64::from(v);
    }

    fn join(&mut self, other: &Self) {
        self.weight.iter_mut().zip(&other.weight).for_each(|(a, b)| *a += b);
        self.sum.iter_mut().zip(&other.sum).for_each(|(a, b)| *a += b);
    }

    /// `count` levels of least weighted square error, from two starts: levels as dense as the cube root of the weights' density, which is best
    /// for many levels (Panter & Dite 1951), and evenly spaced ones.
    fn lloyd(&self, count: usize) -> Levels {
        let running = |of: &[f64]| {
            let mut total = 0.0;
            std::iter::once(0.0)
                .chain(of.iter().map(|v| {
                    total += v;
                    total
                }))
                .collect::<Vec<f64>>()
        };
        let (weight, sum) = (running(&self.weight), running(&self.sum));
        let coarse: Vec<f64> = self.weight.chunks(BINS / 64).map(|bins| bins.iter().sum::<f64>().cbrt()).collect();
        let density = running(&coarse);
        let centre = |place: f64| (place / 32.0 - 1.0) as f32 * REACH;
        let dense = |k: usize| {
            let wanted = density[64] * (k as f64 + 0.5) / count as f64;
            let at = density.partition_point(|d| *d < wanted).clamp(1, 64);
            centre(at as f64 - (density[at] - wanted) / (density[at] - density[at - 1]).max(1e-300))
        };
        let even = |k: usize| 2.0 * k as f32 / (count - 1) as f32 - 1.0;
        let starts: [&dyn Fn(usize) -> f32; 2] = [&dense, &even];
        let settled = starts.map(|start| {
            let mut levels = [0.0f32; 16];
            (0..count).for_each(|k| levels[k] = start(k));
            let mut gain = 0.0;
            for _ in 0..LLOYD {
                let before = levels;
                let mut from = 0;
                gain = 0.0;
                for k in 0..count {
                    let to = if k + 1 < count { bin(0.5 * (before[k] + before[k + 1])).max(from) } else { BINS };
                    let (w, s) = (weight[to] - weight[from], sum[to] - sum[from]);
                    if w > 0.0 {
                        levels[k] = (s / w) as f32;
                        gain += s * s / w;
                    }
                    from = to;
                }
                if levels == before {
                    break;
                }
            }
            levels[..count].sort_by(f32::total_cmp);
            (gain, levels)
        });
        if settled[0].0 >= settled[1].0 { settled[0].1 } else { settled[1].1 }
    }
}

impl Family for LearnedFormat {
    fn name(&self) -> String {
        format!("ANY{}-g{}{}", self.bits, self.group, if self.shared { "-tensor" } else { "" })
    }

    fn layout(&self) -> Layout {
        let (head, blocks) = (2 * self.count(), Granularity::Group(self.group).layout(2, self.bits));
        if self.shared { Layout { tensor_head: head, ..blocks } } else { Layout { row_head: head, ..blocks } }
    }

    fn encode_tensor_head(&self, weights: &[f32], columns: usize, importance: Option<&[f32]>, head: &mut [u8]) {
        if self.shared {
            self.fit(weights, columns, importance, head);
        }
    }

    fn encode_row_head(&self, _: &[u8], row: &[f32], importance: Option<&[f32]>, head: &mut [u8]) {
        if !self.shared {
            self.fit(row, row.len(), importance, head);
        }
    }

    fn encode(&self, heads: Heads<'_>, values: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        encode_groups(Table(&self.read(heads)[..self.count()]), self.bits, self.layout(), values, importance, out);
    }

    fn decode(&self, heads: Heads<'_>, bytes: &[u8], out: &mut [f32]) {
        decode_groups(Table(&self.read(heads)[..self.count()]), self.bits, self.layout(), bytes, out);
    }

    fn feedback(&self) -> Option<&dyn Feedback> {
        Some(self)
    }
}

impl Feedback for LearnedFormat {
    fn codebook(&self) -> Codebook {
        Codebook::Block(self.count())
    }

    fn levels(&self, heads: Heads<'_>, _: &[u8], levels: &mut [f32]) {
        levels.copy_from_slice(&self.read(heads)[..self.count()]);
    }

    fn law(&self, _: Heads<'_>, block: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        scales.fill(group_scale(block));
        offsets.fill(0.0);
    }

    fn put_indices(&self, block: &mut [u8], indices: &[u8]) {
        put_codes(self.bits, &mut block[2..], indices);
    }
}
