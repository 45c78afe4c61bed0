//! What each ggml type with one code a weight says of its blocks: levels, scales and offsets, and where the codes stand.

use super::iq4::LEVELS;
use super::k_quants::{plane, scale_and_min, six_bit_places};
use super::{GgmlType, fp4, half_at, ternary};
use crate::codec::Codebook;
use crate::codec::family::{Feedback, Heads};
use halftone_shaders::blocks::{put_five_bits, put_nibbles};

/// What its codes can say; `None` where that is not known here.
pub(super) fn codebook(kind: GgmlType) -> Option<Codebook> {
    use GgmlType as T;
    Some(match kind {
        T::Q4_0 => Codebook::Integers(-8, 7),
        T::Q4_1 | T::Q4_K => Codebook::Integers(0, 15),
        T::Q5_0 => Codebook::Integers(-16, 15),
        T::Q5_1 | T::Q5_K => Codebook::Integers(0, 31),
        T::Q8_0 => Codebook::Integers(-127, 127),
        T::Q2_K => Codebook::Integers(0, 3),
        T::Q3_K => Codebook::Integers(-4, 3),
        T::Q6_K => Codebook::Integers(-32, 31),
        T::IQ4_NL | T::IQ4_XS => Codebook::Table(&LEVELS),
        T::MXFP4 | T::NVFP4 => Codebook::Table(&fp4::LEVELS),
        T::TQ1_0 | T::TQ2_0 => Codebook::Integers(-1, 1),
        T::Q1_0 => Codebook::Integers(0, 1),
        T::Q2_0 => Codebook::Integers(-1, 2),
        _ if kind.has_octets() => Codebook::Octets,
        _ => return None,
    })
}

impl Feedback for GgmlType {
    fn codebook(&self) -> Codebook {
        let Some(codebook) = codebook(*self) else { unreachable!("{self} has no codebook") };
        codebook
    }

    fn law(&self, _: Heads<'_>, block: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        offsets.fill(0.0);
        let mut each_sub = |width: usize, law: &dyn Fn(usize) -> (f32, f32)| {
            for (sub, (scales, offsets)) in scales.chunks_exact_mut(width).zip(offsets.chunks_exact_mut(width)).enumerate() {
                let (scale, offset) = law(sub);
                scales.fill(scale);
                offsets.fill(offset);
            }
        };
        match self {
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 | Self::IQ4_NL => each_sub(32, &|_| (half_at(block, 0), 0.0)),
            Self::MXFP4 => each_sub(32, &|_| (fp4::half_of_e8m0(block[0]), 0.0)),
            Self::NVFP4 => each_sub(16, &|sub| (fp4::half_of_unsigned_e4m3(block[sub]), 0.0)),
            Self::Q4_1 | Self::Q5_1 => each_sub(32, &|_| (half_at(block, 0), half_at(block, 2))),
            Self::Q2_K => {
                let (d, dmin) = (half_at(block, 80), half_at(block, 82));
                each_sub(16, &|sub| (d * f32::from(block[sub] & 15), -dmin * f32::from(block[sub] >> 4)));
            }
            Self::Q3_K => {
                let d = half_at(block, 108);
                each_sub(16, &|sub| {
                    let (low, high) = ((block[96 + sub % 8] >> (4 * (sub / 8))) & 15, (block[104 + sub % 4] >> (2 * (sub / 4))) & 3);
                    (d * (f32::from(low | high << 4) - 32.0), 0.0)
                });
            }
            Self::Q4_K | Self::Q5_K => {
                let (d, dmin) = (half_at(block, 0), half_at(block, 2));
                each_sub(32, &|sub| {
                    let (sc, m) = scale_and_min(&block[4..16], sub);
                    (d * f32::from(sc), -dmin * f32::from(m))
                });
            }
            Self::Q6_K => {
                let d = half_at(block, 208);
                each_sub(16, &|sub| (d * f32::from(block[192 + sub] as i8), 0.0));
            }
            Self::IQ4_XS => {
                let (d, high) = (half_at(block, 0), u16::from_le_bytes([block[2], block[3]]));
                each_sub(32, &|sub| {
                    let low = (block[4 + sub / 2] >> (4 * (sub % 2))) & 15;
                    (d * (f32::from(low | ((high >> (2 * sub)) as u8 & 3) << 4) - 32.0), 0.0)
                });
            }
            Self::TQ1_0 => each_sub(256, &|_| (half_at(block, 52), 0.0)),
            Self::TQ2_0 => each_sub(256, &|_| (half_at(block, 64), 0.0)),
            // A bit stands for ±d.
            Self::Q1_0 => each_sub(128, &|_| (2.0 * half_at(block, 0), -half_at(block, 0))),
            Self::Q2_0 => each_sub(64, &|_| (half_at(block, 0), 0.0)),
            _ => unreachable!("{self} has no levels"),
        }
    }

    fn put_indices(&self, block: &mut [u8], indices: &[u8]) {
        match self {
            Self::Q4_0 | Self::IQ4_NL => put_nibbles(&mut block[2..], thirty_two(indices)),
            Self::Q4_1 => put_nibbles(&mut block[4..], thirty_two(indices)),
            Self::MXFP4 => fp4::put_indices::<32>(&mut block[1..], indices),
            Self::NVFP4 => block[4..].as_chunks_mut::<8>().0.iter_mut().zip(indices.as_chunks::<16>().0).for_each(|(b, i)| fp4::put_indices::<16>(b, i)),
            Self::Q5_0 => put_five_bits(&mut block[2..], thirty_two(indices)),
            Self::Q5_1 => put_five_bits(&mut block[4..], thirty_two(indices)),
            Self::Q8_0 => block[2..].iter_mut().zip(indices).for_each(|(byte, index)| *byte = index.wrapping_sub(127)),
            Self::Q2_K => {
                block[16..80].fill(0);
                put_planes(&mut block[16..80], indices);
            }
            Self::Q3_K => {
                block[..96].fill(0);
                put_planes(&mut block[32..96], indices);
                for (i, index) in indices.iter().enumerate() {
                    let (sub, l) = (i / 16, i % 16);
                    block[16 * (sub % 2) + l] |= (index >> 2) << (sub / 2);
                }
            }
            Self::Q4_K => put_half_planes(&mut block[16..144], indices),
            Self::Q5_K => {
                block[16..48].fill(0);
                for (i, index) in indices.iter().enumerate() {
                    block[16 + i % 32] |= (index >> 4) << (i / 32);
                }
                put_half_planes(&mut block[48..176], indices);
            }
            Self::Q6_K => {
                block[..192].fill(0);
                for (i, index) in indices.iter().enumerate() {
                    let (low, low_shift, high, high_shift) = six_bit_places(i / 16);
                    block[low + i % 16] |= (index & 15) << low_shift;
                    block[high + i % 16] |= (index >> 4) << high_shift;
                }
            }
            Self::IQ4_XS => {
                for (bytes, indices) in block[8..].as_chunks_mut::<16>().0.iter_mut().zip(indices.as_chunks::<32>().0) {
                    put_nibbles(bytes, indices);
                }
            }
            Self::TQ1_0 => ternary::put_tq1_0(block, indices),
            Self::TQ2_0 => ternary::put_tq2_0(block, indices),
            Self::Q1_0 => put_packed(&mut block[2..], indices, 1),
            Self::Q2_0 => put_packed(&mut block[2..], indices, 2),
            _ => unreachable!("{self} has no levels"),
        }
    }
}

/// Codes of some bits, one after the other from the lowest bit on.
fn put_packed(bytes: &mut [u8], indices: &[u8], bits: usize) {
    for (byte, indices) in bytes.iter_mut().zip(indices.chunks_exact(8 / bits)) {
        *byte = indices.iter().rev().fold(0, |byte, index| byte << bits | index);
    }
}

fn thirty_two(indices: &[u8]) -> &[u8; 32] {
    indices.first_chunk().expect("a block of 32")
}

/// The low two bits of 256 codes into 64 zeroed bytes.
fn put_planes(bytes: &mut [u8], indices: &[u8]) {
    for (i, index) in indices.iter().enumerate() {
        let (at, shift) = plane(i / 16);
        bytes[at + i % 16] |= (index & 3) << shift;
    }
}

/// The low four bits of 256 codes, sub-blocks of 32 in turn at the low and the high half of 32 bytes.
fn put_half_planes(bytes: &mut [u8], indices: &[u8]) {
    for (bytes, indices) in bytes.as_chunks_mut::<32>().0.iter_mut().zip(indices.as_chunks::<64>().0) {
        for l in 0..32 {
            bytes[l] = indices[l] & 15 | indices[l + 32] << 4;
        }
    }
}
