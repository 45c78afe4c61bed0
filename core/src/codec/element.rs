//! Floats of 4 to 8 bits: the elements of FP8, FP6 and FP4.
//!
//! OCP's 8-bit formats (E4M3 without infinities, E5M2 as IEEE) and those of its microscaling formats (E3M2, E2M3, E2M1, every code a number).
//! A code is sign, exponent with a bias, mantissa; exponent 0 is subnormal. Rounding is to the nearest, ties to even, and saturates.

use halftone_shaders::twin::encode_floats::ToFloat;
use serde::{Deserialize, Serialize};

/// A small float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Element {
    /// Four exponent bits, three of mantissa; up to 448.
    E4M3,
    /// Five and two; up to 57344.
    E5M2,
    /// Three and two; up to 28.
    E3M2,
    /// Two and three; up to 7.5.
    E2M3,
    /// Two and one; up to 6.
    E2M1,
}

impl Element {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::E4M3, Self::E5M2, Self::E3M2, Self::E2M3, Self::E2M1];

    /// Bits of a code, bits of its mantissa, exponent bias, the largest finite code.
    const fn fields(self) -> (u8, u32, u32, u8) {
        match self {
            Self::E4M3 => (8, 3, 7, 0x7E),
            Self::E5M2 => (8, 2, 15, 0x7B),
            Self::E3M2 => (6, 2, 3, 0x1F),
            Self::E2M3 => (6, 3, 1, 0x1F),
            Self::E2M1 => (4, 1, 1, 0x07),
        }
    }

    /// Bits of a code.
    pub const fn bits(self) -> u8 {
        self.fields().0
    }

    /// The code of the largest finite value.
    pub const fn top_code(self) -> u8 {
        self.fields().3
    }

    /// The largest finite value.
    pub const fn top(self) -> f32 {
        self.value(self.top_code())
    }

    /// ⌊log₂⌋ of the largest finite value.
    pub const fn top_exponent(self) -> i32 {
        (self.top().to_bits() >> 23) as i32 - 127
    }

    /// The value of a code. Bits above the sign are ignored.
    pub const fn value(self, code: u8) -> f32 {
        let (bits, mantissa_bits, bias, top) = self.fields();
        let magnitude = code & ((1 << (bits - 1)) - 1);
        let (exponent, mantissa) = ((magnitude >> mantissa_bits) as u32, (magnitude & ((1 << mantissa_bits) - 1)) as u32);
        let value = if magnitude > top {
            // What is left above the largest number: E5M2 has an infinity before its NaNs, E4M3 only a NaN.
            if matches!(self, Self::E5M2) && mantissa == 0 { f32::INFINITY } else { f32::NAN }
        } else if exponent == 0 {
            mantissa as f32 * f32::from_bits((128 - bias - mantissa_bits) << 23)
        } else {
            f32::from_bits((exponent + 127 - bias) << 23 | mantissa << (23 - mantissa_bits))
        };
        if code >> (bits - 1) & 1 == 1 { -value } else { value }
    }

    /// The rule of rounding to this element.
    pub const fn rounding(self) -> ToFloat {
        let (_, mantissa_bits, bias, top_code) = self.fields();
        ToFloat { top: self.top(), top_code: top_code as u32, mantissa_bits, least_exponent: 128 - bias }
    }

    /// The value at this place among all finite ones, by rising value from the most negative; as in [`ToFloat::nearest`].
    pub const fn code_at(self, index: u8) -> u8 {
        let top = self.top_code();
        if index < top { (top - index) | 1 << (self.bits() - 1) } else { index - top }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_follow_the_rule_of_ieee() {
        for (element, exponent_bits, mantissa_bits, bias) in
            [(Element::E4M3, 4, 3, 7), (Element::E5M2, 5, 2, 15), (Element::E3M2, 3, 2, 3), (Element::E2M3, 2, 3, 1), (Element::E2M1, 2, 1, 1)]
        {
            let bits = 1 + exponent_bits + mantissa_bits;
            assert_eq!(usize::from(element.bits()), bits as usize, "{element:?}");
            for code in 0..1u32 << bits {
                let (sign, exponent) = (code >> (bits - 1), (code >> mantissa_bits) & ((1 << exponent_bits) - 1));
                let fraction = f64::from(code & ((1 << mantissa_bits) - 1)) / f64::from(1 << mantissa_bits);
                let special = match element {
                    Element::E5M2 => exponent == 31,
                    Element::E4M3 => exponent == 15 && fraction == 0.875,
                    _ => false,
                };
                let value = if exponent == 0 { fraction * 2f64.powi(1 - bias) } else { (1.0 + fraction) * 2f64.powi(exponent as i32 - bias) };
                let want = if sign == 1 { -value } else { value };
                let got = f64::from(element.value(code as u8));
                if special {
                    assert!(!got.is_finite() && got.is_infinite() == (element == Element::E5M2 && fraction == 0.0), "{element:?} {code:#x}: {got}");
                } else {
                    assert_eq!(got.to_bits(), want.to_bits(), "{element:?} {code:#x}");
                }
            }
        }
    }

    #[test]
    fn rounding_finds_the_nearest_value_ties_to_even_codes() {
        for element in Element::ALL {
            let values: Vec<f32> = (0..=element.top_code()).map(|c| element.value(c)).collect();
            let rounding = element.rounding();
            let check = |v: f32, code: usize| {
                let top = u32::from(element.top_code());
                for (v, value, index) in [(v, values[code], top + code as u32), (-v, -values[code], top - code as u32)] {
                    assert_eq!(rounding.nearest(v), (value, if v == 0.0 { top } else { index }), "{element:?}: {v}");
                    if code > 0 {
                        assert_eq!(element.value(element.code_at(index as u8)), value, "{element:?} {index}");
                    }
                }
            };
            for code in 0..values.len() - 1 {
                let (below, above) = (values[code], values[code + 1]);
                let middle = 0.5 * (below + above);
                check(below, code);
                check(middle, code + code % 2);
                check(f32::from_bits(middle.to_bits() - 1), code);
                check(f32::from_bits(middle.to_bits() + 1), code + 1);
            }
            check(element.top(), values.len() - 1);
            check(1e9, values.len() - 1);
        }
    }
}
