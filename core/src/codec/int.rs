//! Group-wise integers of 2 to 8 bits: ŵ = s·(q − z), one scale (and zero point) for each group of columns.
//!
//! Stored by us as blocks, one a group: f16 scale, u8 zero point (asymmetric only), then the codes, `bits` each, least significant bit
//! first. Symmetric codes are stored as q + 2^(bits−1), so that z = 2^(bits−1). Exporters repack them into what their runtime wants.

use super::int_search::encode_groups;
use half::f16;
use serde::{Deserialize, Serialize};

/// A group-wise integer format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IntFormat {
    /// Bits of a code, 2 to 8.
    pub bits: u8,
    /// Columns that share a scale; a multiple of 8.
    pub group: u16,
    /// No zero point: codes are −2^(b−1) … 2^(b−1)−1 around zero.
    pub symmetric: bool,
}

impl IntFormat {
    /// Bytes of one group.
    pub fn block_bytes(self) -> usize {
        self.header_bytes() + usize::from(self.group) * usize::from(self.bits) / 8
    }

    /// Bytes before the codes: the scale and the zero point.
    fn header_bytes(self) -> usize {
        2 + usize::from(!self.symmetric)
    }

    /// The zero point of symmetric codes, 2^(bits−1).
    pub fn middle(self) -> u8 {
        1 << (self.bits - 1)
    }

    /// The largest code, 2^bits − 1.
    pub fn top(self) -> u8 {
        u8::MAX >> (8 - self.bits)
    }

    /// Writes blocks from codes (one byte each, `group` of them a block), scales and zero points (one a block; ignored when symmetric).
    /// Scales are rounded to half precision.
    pub fn pack(self, codes: &[u8], scales: &[f32], zeros: &[u8], out: &mut [u8]) {
        for (i, (block, codes)) in out.chunks_exact_mut(self.block_bytes()).zip(codes.chunks_exact(usize::from(self.group))).enumerate() {
            block[..2].copy_from_slice(&f16::from_f32(scales[i].clamp(-65504.0, 65504.0)).to_le_bytes());
            if !self.symmetric {
                block[2] = zeros[i];
            }
            self.put_codes(block, codes);
        }
    }

    /// Writes the codes of one block; scale and zero point stay.
    pub(super) fn put_codes(self, block: &mut [u8], codes: &[u8]) {
        let bits = usize::from(self.bits);
        for (bytes, codes) in block[self.header_bytes()..].chunks_exact_mut(bits).zip(codes.as_chunks::<8>().0) {
            let word = codes.iter().rev().fold(0u64, |word, &code| word << bits | u64::from(code & self.top()));
            bytes.copy_from_slice(&word.to_le_bytes()[..bits]);
        }
    }

    /// Reads blocks back: the inverse of [`Self::pack`]; zero points of symmetric blocks are [`Self::middle`].
    pub fn unpack(self, bytes: &[u8], codes: &mut [u8], scales: &mut [f32], zeros: &mut [u8]) {
        for (i, (block, codes)) in bytes.chunks_exact(self.block_bytes()).zip(codes.chunks_exact_mut(usize::from(self.group))).enumerate() {
            (scales[i], zeros[i]) = self.header(block);
            self.each_code(block, codes, |code| code);
        }
    }

    /// Decodes whole blocks: ŵ = s·(q − z).
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        for (block, values) in bytes.chunks_exact(self.block_bytes()).zip(out.chunks_exact_mut(usize::from(self.group))) {
            let (scale, zero) = self.header(block);
            let zero = f32::from(zero);
            self.each_code(block, values, |code| scale * (f32::from(code) - zero));
        }
    }

    pub(super) fn header(self, block: &[u8]) -> (f32, u8) {
        (f16::from_le_bytes([block[0], block[1]]).to_f32(), if self.symmetric { self.middle() } else { block[2] })
    }

    fn each_code<T>(self, block: &[u8], out: &mut [T], value: impl Fn(u8) -> T) {
        let packed = &block[self.header_bytes()..];
        match self.bits {
            2 => each_eight::<2, T>(packed, out, value),
            3 => each_eight::<3, T>(packed, out, value),
            4 => each_eight::<4, T>(packed, out, value),
            5 => each_eight::<5, T>(packed, out, value),
            6 => each_eight::<6, T>(packed, out, value),
            7 => each_eight::<7, T>(packed, out, value),
            _ => each_eight::<8, T>(packed, out, value),
        }
    }

    /// Encodes one row of whole groups with a scale search that minimises Σ importance·(ŵ − w)² (all alike when `None`).
    pub fn encode_row(self, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let groups = row.len() / usize::from(self.group);
        let (mut codes, mut scales, mut zeros) = (vec![0; row.len()], vec![0.0; groups], vec![0; groups]);
        encode_groups(self, row, importance, &mut codes, &mut scales, &mut zeros);
        self.pack(&codes, &scales, &zeros, out);
    }
}

/// Eight codes are `BITS` whole bytes.
fn each_eight<const BITS: usize, T>(packed: &[u8], out: &mut [T], value: impl Fn(u8) -> T) {
    for (bytes, out) in packed.as_chunks::<BITS>().0.iter().zip(out.as_chunks_mut::<8>().0) {
        let mut word = [0u8; 8];
        word[..BITS].copy_from_slice(bytes);
        let word = u64::from_le_bytes(word);
        for (i, out) in out.iter_mut().enumerate() {
            *out = value((word >> (i * BITS)) as u8 & (u8::MAX >> (8 - BITS)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unpack_returns_what_pack_was_given(bits in 2u8..=8, eights in 1usize..6, symmetric: bool, seed in proptest::collection::vec(any::<u8>(), 96)) {
            let format = IntFormat { bits, group: 8 * eights as u16, symmetric };
            let group = usize::from(format.group);
            let codes: Vec<u8> = (0..2 * group).map(|i| seed[i % 96] & format.top()).collect();
            let scales = [0.25, f32::from(seed[0])];
            let zeros = if symmetric { [format.middle(); 2] } else { [seed[1] & format.top(), 0] };
            let mut bytes = vec![0; 2 * format.block_bytes()];
            format.pack(&codes, &scales, &zeros, &mut bytes);
            let (mut codes2, mut scales2, mut zeros2) = (vec![0; codes.len()], [0.0; 2], [0; 2]);
            format.unpack(&bytes, &mut codes2, &mut scales2, &mut zeros2);
            prop_assert_eq!(&codes, &codes2, "codes");
            prop_assert_eq!(scales, scales2, "scales");
            prop_assert_eq!(zeros, zeros2, "zero points");
            let mut values = vec![0.0; codes.len()];
            format.decode(&bytes, &mut values);
            for (i, value) in values.iter().enumerate() {
                let want = scales[i / group] * (f32::from(codes[i]) - f32::from(zeros[i / group]));
                prop_assert_eq!(*value, want, "value {}", i);
            }
        }
    }
}
