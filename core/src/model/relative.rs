//! Learned biases of attention scores by distance, shared by all blocks (Raffel et al. 2020; mpnet has them in both directions).

use super::linear::load_shaped;
use super::weights::Weights;
use crate::error::Result;

const NAME: &str = "attn_rel_b.weight";
const BUCKETS: usize = 32;
/// Distances from here on share the last bucket of their direction.
const FARTHEST: usize = 128;

/// What is added to a score for each head and distance.
pub(super) struct RelativeBias {
    /// Heads × (2·FARTHEST + 1), distances rising from −FARTHEST.
    values: Vec<f32>,
}

impl RelativeBias {
    /// From the table of buckets × heads.
    pub(super) fn load(weights: &dyn Weights, heads: usize) -> Result<Self> {
        let table = load_shaped(weights, NAME, &[BUCKETS, heads])?;
        let far = FARTHEST as isize;
        let of_head = |head: usize| (-far..=far).map(move |distance| (head, distance));
        let values = (0..heads).flat_map(of_head).map(|(head, distance)| table[bucket(distance) * heads + head]).collect();
        Ok(Self { values })
    }

    /// The bias of one head for a key `distance` tokens after the query.
    pub(super) fn of(&self, head: usize, distance: isize) -> f32 {
        let far = FARTHEST as isize;
        let column = (distance.clamp(-far, far) + far) as usize;
        self.values[head * (2 * FARTHEST + 1) + column]
    }
}

/// Half of the buckets for keys after the query; of each half, one half for single distances, the other for logarithmically growing ranges.
fn bucket(distance: isize) -> usize {
    let (half, exact) = (BUCKETS / 2, BUCKETS / 4);
    let direction = if distance > 0 { half } else { 0 };
    let n = distance.unsigned_abs();
    if n < exact {
        return direction + n;
    }
    let share = (n as f32 / exact as f32).ln() / (FARTHEST as f32 / exact as f32).ln();
    direction + (exact + (share * (half - exact) as f32) as usize).min(half - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_the_original() {
        // From transformers' relative_position_bucket.
        let want = [
            (0, 0),
            (-1, 1),
            (1, 17),
            (-7, 7),
            (-8, 8),
            (-11, 8),
            (-12, 9),
            (16, 26),
            (23, 27),
            (-31, 11),
            (32, 28),
            (-64, 14),
            (127, 31),
            (-128, 15),
            (500, 31),
        ];
        for (distance, expected) in want {
            assert_eq!(bucket(distance), expected, "distance {distance}");
        }
    }
}
