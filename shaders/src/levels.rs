//! The values that codes stand for, in the block types with one code a weight.

use crate::lanes::round;

/// The integers or table values that codes stand for.
pub trait Levels {
    /// The most negative and the most positive level.
    const ENDS: (f32, f32);

    /// The level nearest to `v`.
    fn nearest(v: f32) -> f32;
}

/// The integers `LOW ..= HIGH`.
#[derive(Debug)]
pub struct Integers<const LOW: i32, const HIGH: i32>;

impl<const LOW: i32, const HIGH: i32> Levels for Integers<LOW, HIGH> {
    const ENDS: (f32, f32) = (LOW as f32, HIGH as f32);

    #[inline(always)]
    fn nearest(v: f32) -> f32 {
        round(v.clamp(LOW as f32, HIGH as f32))
    }
}

/// The 16 values of IQ4_NL and IQ4_XS, finer around zero; a fact of the format.
pub const IQ4_TABLE: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// [`IQ4_TABLE`] as levels.
#[derive(Debug)]
pub struct Iq4;

impl Levels for Iq4 {
    const ENDS: (f32, f32) = (-127.0, 113.0);

    #[inline(always)]
    fn nearest(v: f32) -> f32 {
        let mut level = f32::from(IQ4_TABLE[0]);
        for pair in IQ4_TABLE.windows(2) {
            let (below, above) = (f32::from(pair[0]), f32::from(pair[1]));
            level += if v > 0.5 * (below + above) { above - below } else { 0.0 };
        }
        level
    }
}

impl Iq4 {
    /// The code of the level nearest to `v`.
    #[inline(always)]
    pub fn code(v: f32) -> u8 {
        let mut code = 0;
        for pair in IQ4_TABLE.windows(2) {
            code += u8::from(v > 0.5 * (f32::from(pair[0]) + f32::from(pair[1])));
        }
        code
    }
}

/// E2M1 values times two, as ggml has them, so that they are integers.
pub const E2M1_TABLE: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// [`E2M1_TABLE`] as levels.
#[derive(Debug)]
pub struct E2m1;

impl Levels for E2m1 {
    const ENDS: (f32, f32) = (-12.0, 12.0);

    #[inline(always)]
    fn nearest(v: f32) -> f32 {
        let mut level = 0.0;
        for pair in E2M1_TABLE[..8].windows(2) {
            let (below, above) = (f32::from(pair[0]), f32::from(pair[1]));
            level += if v.abs() > 0.5 * (below + above) { above - below } else { 0.0 };
        }
        level.copysign(v)
    }
}

impl E2m1 {
    /// The code of the level nearest to `v`; never that of −0.
    #[inline(always)]
    pub fn code(v: f32) -> u8 {
        let mut code = 0;
        for pair in E2M1_TABLE[..8].windows(2) {
            code += u8::from(v.abs() > 0.5 * (f32::from(pair[0]) + f32::from(pair[1])));
        }
        code | u8::from(v < 0.0 && code > 0) << 3
    }
}
