//! One position of a compact base: how it is chosen, written, and compared with another model's logits.
//!
//! Bytes, little-endian: f32 log-sum-exp, f32 −log p of the true token, f32 tail mass, f32 Σ p·log p of the tail, f32 largest p of the tail,
//! f32 lowest and highest kept log p, 5 × u24 most likely ids, u8 kept for themselves, u8 drawn; then the two lists in the order of ids, each
//! entry a varint (id less the id before) and a u16 log p.

use crate::eval::score::{Score, TOP};
use crate::numeric::metric::log_sum_exp;

/// Tokens that a record keeps: 4 bytes each, and the head, are below 1024 bytes for vocabularies up to 2²⁴.
pub const ENTRIES: usize = 228;
/// At least this many of them are drawn from the tail, so that the draw's error can be told.
const DRAWN: usize = 12;
/// Largest vocabulary: ids are written in three bytes.
const VOCAB_LIMIT: usize = 1 << 24;

/// What one position of the original says.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    log_z: f32,
    nll: f32,
    top: [u32; TOP],
    tail: Tail,
    /// Tokens kept for themselves and their log p, in the order of ids.
    kept: Vec<(u32, f32)>,
    /// Tokens drawn from the tail and their log p, in the order of ids.
    drawn: Vec<(u32, f32)>,
    /// Half a step of the stored log p.
    half_step: f32,
}

/// The tokens that are not kept for themselves, together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tail {
    /// Σ p.
    mass: f32,
    /// Σ p·log p.
    negative_entropy: f32,
    /// Largest p.
    largest: f32,
}

/// The KL of one position as far as a record knows it; nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KlEstimate {
    /// Unbiased over the draw of the tail.
    pub estimate: f64,
    /// Its standard error, from the spread among the drawn tokens.
    pub error: f64,
    /// What the 16-bit log p can change at most.
    pub rounding: f64,
    /// Certainly not above the exact KL: the tail as one token (log-sum inequality).
    pub lowest: f64,
    /// Certainly not below the exact KL: the tail's mass on its tokens that are least likely after, as much on each as the largest had.
    pub highest: f64,
}

impl Record {
    /// Chooses what to keep of a row of logits; `position` seeds the draw.
    pub fn of(logits: &[f32], target: u32, position: u64) -> Self {
        let score = Score::of(logits, target);
        let log_p = |id: usize| (f64::from(logits[id]) - score.log_z) as f32;
        // Only the most likely ENTRIES can be kept for themselves.
        let candidates = ENTRIES.min(logits.len());
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let larger = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        if candidates < order.len() {
            order.select_nth_unstable_by(candidates - 1, larger);
        }
        order[..candidates].sort_unstable_by(larger);
        let p: Vec<f64> = order.iter().map(|&id| f64::from(log_p(id as usize)).exp()).collect();
        let count = if logits.len() <= ENTRIES { logits.len() } else { kept_for_themselves(&p) };

        let mut kept: Vec<u32> = order[..count].to_vec();
        kept.sort_unstable();
        let tail_mass: f64 = p[count..].iter().sum();
        let largest = p[count..].iter().copied().fold(0.0, f64::max);
        let negative_entropy: f64 = order[count..].iter().zip(&p[count..]).map(|(&id, p)| if *p > 0.0 { p * f64::from(log_p(id as usize)) } else { 0.0 }).sum();
        let drawn = draw(&mut order[count..], |id| f64::from(log_p(id as usize)).exp(), tail_mass, ENTRIES.saturating_sub(count), position);

        let with_log_p = |ids: Vec<u32>| ids.into_iter().map(|id| (id, log_p(id as usize))).collect();
        let (kept, drawn): (Vec<(u32, f32)>, Vec<(u32, f32)>) = (with_log_p(kept), with_log_p(drawn));
        let (low, high) = range(&kept, &drawn);
        Self {
            log_z: score.log_z as f32,
            nll: score.nll as f32,
            top: score.top,
            // Rounded away from the certain side.
            tail: Tail { mass: tail_mass as f32, negative_entropy: negative_entropy as f32, largest: (largest * (1.0 + 1e-6)) as f32 },
            kept,
            drawn,
            half_step: (high - low) / 65_535.0 / 2.0,
        }
    }

    /// What the original said of the position.
    pub(in crate::eval) fn score(&self) -> Score {
        Score { log_z: f64::from(self.log_z), nll: f64::from(self.nll), top: self.top }
    }

    /// KL(original ‖ these logits), whose log-sum-exp is `log_z`.
    pub fn kl(&self, logits: &[f32], log_z: f64) -> KlEstimate {
        let log_q = |id: u32| f64::from(logits[id as usize]) - log_z;
        let half_step = f64::from(self.half_step);
        let (mut head, mut rounding, mut q_kept) = (0.0, 0.0, 0.0);
        for &(id, log_p) in &self.kept {
            let (log_p, log_q) = (f64::from(log_p), log_q(id));
            head += log_p.exp() * (log_p - log_q);
            rounding += log_p.exp() * half_step * (1.0 + (log_p - log_q).abs()) * 1.01;
            q_kept += log_q.exp();
        }
        let mass = f64::from(self.tail.mass);
        if mass <= 0.0 {
            return KlEstimate { estimate: head, error: 0.0, rounding, lowest: head - rounding, highest: head + rounding };
        }
        let n = self.drawn.len() as f64;
        let ratios: Vec<f64> = self.drawn.iter().map(|&(id, log_p)| f64::from(log_p) - log_q(id)).collect();
        let (mean, spread) = crate::numeric::metric::mean_and_standard_error(&ratios);
        // The tail as one token; its q is what the kept ones leave.
        let merged = mass * (mass.ln() - (1.0 - q_kept).max(f64::MIN_POSITIVE).ln());
        // f32 sums of the tail, relative.
        let (negative_entropy, limit) = (f64::from(self.tail.negative_entropy), self.cross_entropy_limit(logits, log_z));
        let slack = 1e-5 * (mass + negative_entropy.abs() + limit);
        KlEstimate {
            estimate: head + if n > 0.0 { mass * mean } else { merged },
            error: mass * spread,
            rounding: rounding + if n > 0.0 { mass * half_step } else { 0.0 },
            lowest: head + merged - rounding - slack,
            highest: head + negative_entropy + limit + rounding + slack,
        }
    }

    /// The most that −Σ p·log q of the tail can be: its mass on the least likely tokens, each up to the tail's largest p.
    fn cross_entropy_limit(&self, logits: &[f32], log_z: f64) -> f64 {
        let largest = f64::from(self.tail.largest).max(f64::MIN_POSITIVE);
        let mut rest = f64::from(self.tail.mass);
        let mut tail: Vec<f32> = Vec::with_capacity(logits.len());
        let mut kept = self.kept.iter().map(|k| k.0 as usize).peekable();
        for (id, &logit) in logits.iter().enumerate() {
            if kept.peek() == Some(&id) {
                kept.next();
            } else {
                tail.push(logit);
            }
        }
        let places = ((rest / largest).ceil() as usize + 1).min(tail.len());
        if places == 0 {
            return 0.0;
        }
        tail.select_nth_unstable_by(places - 1, f32::total_cmp);
        tail[..places].sort_unstable_by(f32::total_cmp);
        let mut limit = 0.0;
        for &logit in &tail[..places] {
            let here = largest.min(rest);
            limit += here * (log_z - f64::from(logit));
            rest -= here;
        }
        limit + rest.max(0.0) * (log_z - f64::from(tail[0]))
    }

    /// As bytes; see the module.
    pub fn encode(&self) -> Vec<u8> {
        let (low, high) = range(&self.kept, &self.drawn);
        let mut out = Vec::with_capacity(1024);
        for value in [self.log_z, self.nll, self.tail.mass, self.tail.negative_entropy, self.tail.largest, low, high] {
            out.extend(value.to_le_bytes());
        }
        for id in self.top {
            out.extend(&id.to_le_bytes()[..3]);
        }
        out.extend([self.kept.len() as u8, self.drawn.len() as u8]);
        let steps = if high > low { 65_535.0 / (high - low) } else { 0.0 };
        for list in [&self.kept, &self.drawn] {
            let mut last = 0;
            for &(id, log_p) in list {
                let mut gap = id - last;
                while gap >= 128 {
                    out.push(gap as u8 | 128);
                    gap >>= 7;
                }
                out.push(gap as u8);
                last = id;
                out.extend((((log_p - low) * steps).round() as u16).to_le_bytes());
            }
        }
        out
    }

    /// From bytes; `None` when they are not a record of this vocabulary.
    pub fn decode(bytes: &[u8], vocab: usize) -> Option<Self> {
        let mut rest = bytes;
        let mut take = |n: usize| {
            let (taken, after) = rest.split_at_checked(n)?;
            rest = after;
            Some(taken)
        };
        let mut head = [0.0f32; 7];
        for value in &mut head {
            *value = f32::from_le_bytes(take(4)?.try_into().ok()?);
        }
        let [log_z, nll, mass, negative_entropy, largest, low, high] = head;
        let mut top = [0u32; TOP];
        for id in &mut top {
            let b = take(3)?;
            *id = u32::from_le_bytes([b[0], b[1], b[2], 0]);
        }
        let counts = take(2)?;
        let (kept, drawn) = (usize::from(counts[0]), usize::from(counts[1]));
        let step = (high - low) / 65_535.0;
        let mut list = |count: usize| -> Option<Vec<(u32, f32)>> {
            let mut entries = Vec::with_capacity(count);
            let mut id = 0u32;
            for _ in 0..count {
                let (mut gap, mut shift) = (0u32, 0);
                loop {
                    let byte = take(1)?[0];
                    gap |= u32::from(byte & 127) << shift;
                    shift += 7;
                    if byte < 128 {
                        break;
                    }
                    if shift > 21 {
                        return None;
                    }
                }
                id = id.checked_add(gap)?;
                let code = u16::from_le_bytes(take(2)?.try_into().ok()?);
                entries.push((id, low + step * f32::from(code)));
            }
            entries.last().is_none_or(|e| (e.0 as usize) < vocab).then_some(entries)
        };
        let (kept, drawn) = (list(kept)?, list(drawn)?);
        let finite = head.iter().all(|v| v.is_finite()) && mass >= 0.0 && largest >= 0.0;
        let valid = finite && rest.is_empty() && top.iter().all(|t| (*t as usize) < vocab) && vocab <= VOCAB_LIMIT;
        valid.then_some(Self { log_z, nll, top, tail: Tail { mass, negative_entropy, largest }, kept, drawn, half_step: step / 2.0 })
    }
}

/// Lowest and highest log p of the entries.
fn range(kept: &[(u32, f32)], drawn: &[(u32, f32)]) -> (f32, f32) {
    let all = || kept.iter().chain(drawn).map(|e| e.1);
    // −∞ (a token that cannot be) is written as far below everything that counts.
    let low = all().fold(f32::INFINITY, f32::min).clamp(-200.0, 0.0);
    (low, all().fold(low, f32::max))
}

/// How many of the most likely tokens (their p, falling; all others behind them) are kept for themselves: as long as the next one is at
/// least what a drawn one would stand for.
fn kept_for_themselves(p: &[f64]) -> usize {
    let mut tail: f64 = p.iter().sum();
    let mut count = 0;
    while count < ENTRIES - DRAWN && p[count] * (ENTRIES - count) as f64 >= tail {
        tail -= p[count];
        count += 1;
    }
    count
}

/// Draws about `count` of the tail's tokens with probability p·count/mass, systematically in the order of ids.
fn draw(tail: &mut [u32], p: impl Fn(u32) -> f64, mass: f64, count: usize, seed: u64) -> Vec<u32> {
    if count == 0 || mass <= 0.0 {
        return Vec::new();
    }
    tail.sort_unstable();
    let step = mass / count as f64;
    let mut next = uniform(seed) * step;
    let (mut seen, mut drawn) = (0.0, Vec::with_capacity(count));
    for &id in tail.iter() {
        seen += p(id);
        if seen > next {
            drawn.push(id);
            // Only a token of more than one step, which is kept for itself, could be drawn twice.
            next += step * ((seen - next) / step).ceil();
        }
    }
    drawn.truncate(count);
    drawn
}

/// A number in 0..1 from a position (splitmix64, Steele et al. 2014).
fn uniform(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// The exact KL of a position, for comparison with [`Record::kl`].
#[doc(hidden)]
pub fn exact_kl(before: &[f32], after: &[f32]) -> f64 {
    let (zp, zq) = (log_sum_exp(before), log_sum_exp(after));
    crate::numeric::metric::kl_between(before, zp, after, zq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    /// Logits whose probabilities fall like a power of the rank, ids shuffled: a flatter tail than any language model's.
    fn zipf(vocab: usize, exponent: f32, seed: u64) -> Vec<f32> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut logits: Vec<f32> = (0..vocab).map(|rank| -exponent * ((rank + 1) as f32).ln()).collect();
        for i in (1..vocab).rev() {
            logits.swap(i, random.random_range(0..=i));
        }
        logits
    }

    fn moved(logits: &[f32], amount: f32, seed: u64) -> Vec<f32> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        logits.iter().map(|l| l + amount * (random.random::<f32>() * 2.0 - 1.0)).collect()
    }

    fn stored(logits: &[f32], position: u64) -> Record {
        let bytes = Record::of(logits, 3, position).encode();
        assert!(bytes.len() <= 1022, "{} bytes and two for the length", bytes.len());
        Record::decode(&bytes, logits.len()).expect("its own bytes")
    }

    fn estimate(before: &[f32], after: &[f32], position: u64) -> KlEstimate {
        stored(before, position).kl(after, log_sum_exp(after))
    }

    #[test]
    fn the_interval_holds_and_the_estimate_is_unbiased() {
        let (mut error, mut variance, mut exact_sum) = (0.0, 0.0, 0.0);
        for seed in 0..60 {
            let before = zipf(20_000, 1.1, seed);
            let after = moved(&before, 0.8, 1000 + seed);
            let (exact, got) = (exact_kl(&before, &after), estimate(&before, &after, seed));
            assert!(got.lowest <= exact && exact <= got.highest, "{seed}: {} <= {exact} <= {}", got.lowest, got.highest);
            error += got.estimate - exact;
            variance += got.error * got.error;
            exact_sum += exact;
        }
        assert!(error.abs() < 4.0 * variance.sqrt(), "off by {error} ± {}", variance.sqrt());
        assert!(variance.sqrt() < 0.02 * exact_sum, "and known to 2 %: {} of {exact_sum}", variance.sqrt());
    }

    #[test]
    fn a_tail_turned_upside_down_is_inside_the_interval_and_beyond_a_merged_tail() {
        let before = zipf(20_000, 1.0, 7);
        let mut order: Vec<usize> = (0..before.len()).collect();
        order.sort_by(|&a, &b| before[b].total_cmp(&before[a]));
        let mut after = before.clone();
        let tail = &order[400..];
        for (a, b) in tail.iter().zip(tail.iter().rev()) {
            after[*a] = before[*b];
        }
        let (exact, got) = (exact_kl(&before, &after), estimate(&before, &after, 1));
        assert!(got.lowest <= exact && exact <= got.highest, "{} <= {exact} <= {}", got.lowest, got.highest);
        assert!(exact > got.lowest + 0.1, "a base that merges its tail would miss {}", exact - got.lowest);
        assert!((got.estimate - exact).abs() < 5.0 * got.error.max(1e-9), "the draw sees it: {} ± {} of {exact}", got.estimate, got.error);
    }

    #[test]
    fn an_adversary_who_knows_the_draw_deceives_the_estimate_but_not_the_interval() {
        let before = zipf(20_000, 1.0, 8);
        let record = stored(&before, 2);
        let drawn: Vec<u32> = record.kept.iter().chain(&record.drawn).map(|e| e.0).collect();
        let after: Vec<f32> = before.iter().enumerate().map(|(id, l)| if drawn.contains(&(id as u32)) { *l } else { l - 8.0 }).collect();
        let (exact, got) = (exact_kl(&before, &after), record.kl(&after, log_sum_exp(&after)));
        assert!((got.estimate - exact).abs() > 10.0 * got.error.max(1e-6), "deceived: {} ± {} of {exact}", got.estimate, got.error);
        assert!(got.lowest <= exact && exact <= got.highest, "{} <= {exact} <= {}", got.lowest, got.highest);
    }

    #[test]
    fn a_small_vocabulary_is_kept_whole() {
        let (before, after) = (zipf(200, 1.0, 3), zipf(200, 1.0, 4));
        let (exact, got) = (exact_kl(&before, &after), estimate(&before, &after, 0));
        assert_eq!(got.error, 0.0, "nothing is drawn");
        assert!((got.estimate - exact).abs() <= got.rounding + 1e-6, "{} of {exact} ± {}", got.estimate, got.rounding);
    }

    #[test]
    fn damaged_bytes_are_no_record() {
        let bytes = Record::of(&zipf(5000, 1.0, 5), 3, 0).encode();
        for length in 0..bytes.len() {
            assert!(Record::decode(&bytes[..length], 5000).is_none(), "cut at {length}");
        }
        assert!(Record::decode(&bytes, 100).is_none(), "ids outside the vocabulary");
    }
}
