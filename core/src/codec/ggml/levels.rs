//! The values that codes of the one-scale types stand for.

use crate::codec::lanes::round;

/// The integers or table values that codes stand for.
pub(super) trait Levels {
    /// The most negative and the most positive level.
    const ENDS: (f32, f32);

    /// The level nearest to `v`.
    fn nearest(v: f32) -> f32;
}

/// The integers `LOW ..= HIGH`.
pub(super) struct Integers<const LOW: i32, const HIGH: i32>;

impl<const LOW: i32, const HIGH: i32> Levels for Integers<LOW, HIGH> {
    const ENDS: (f32, f32) = (LOW as f32, HIGH as f32);

    #[inline(always)]
    fn nearest(v: f32) -> f32 {
        round(v.clamp(LOW as f32, HIGH as f32))
    }
}
