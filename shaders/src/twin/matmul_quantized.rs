//! y = x·Wᵀ (+ bias) with W as it is stored: equal to decoding first. The laws of the formats are those of ggml's block types and of the
//! group-wise integers of the codecs; blocks run along rows.
//!
//! The tolerance is that of [`super::matmul`], of the decoded weights.

pub use super::matmul::{Params, TOLERANCE};
use half::{bf16, f16};

/// A stored form that the kernel reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// Blocks of 32: f16 scale, 4-bit codes around 8, the first half of the block in the low nibbles.
    Q4_0,
    /// Blocks of 32: f16 scale, signed bytes.
    Q8_0,
    /// Super-blocks of 256: f16 scale and minimum, eight 6-bit scales and minima, 4-bit codes.
    Q4K,
    /// As [`Self::Q4K`] with a fifth bit apart.
    Q5K,
    /// Super-blocks of 256: 6-bit codes around 32, sixteen 8-bit scales, f16 scale.
    Q6K,
    /// Groups: f16 scale, a byte of zero point where there is one, codes least significant bit first.
    Int {
        /// Bits of a code.
        bits: u32,
        /// Columns a group, a multiple of 8.
        group: u32,
        /// No zero point is stored; it is 2^(bits−1).
        symmetric: bool,
    },
}

impl Stored {
    /// The number it has in [`Params::format`].
    pub const fn number(self) -> u32 {
        match self {
            Self::F16 => 0,
            Self::Bf16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 3,
            Self::Q4K => 4,
            Self::Q5K => 5,
            Self::Q6K => 6,
            Self::Int { symmetric: true, .. } => 7,
            Self::Int { symmetric: false, .. } => 8,
        }
    }

    /// Columns and bytes of a block.
    pub const fn block(self) -> (usize, usize) {
        match self {
            // Four at a time is how the kernel reads.
            Self::F16 | Self::Bf16 => (4, 8),
            Self::Q4_0 => (32, 18),
            Self::Q8_0 => (32, 34),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
            Self::Int { bits, group, symmetric } => (group as usize, 2 + !symmetric as usize + (group * bits / 8) as usize),
        }
    }

    /// Bytes of a row of so many columns, a whole number of blocks.
    pub const fn row_bytes(self, columns: usize) -> usize {
        let (width, bytes) = self.block();
        columns / width * bytes
    }

    /// The value in one column of a stored row.
    pub fn value(self, row: &[u8], column: usize) -> f32 {
        let (width, bytes) = self.block();
        let block = &row[column / width * bytes..][..bytes];
        let j = column % width;
        let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
        let signed = |at: usize| f32::from(block[at] as i8);
        match self {
            Self::F16 => half(j * 2),
            Self::Bf16 => bf16::from_le_bytes([block[j * 2], block[j * 2 + 1]]).to_f32(),
            Self::Q4_0 => half(0) * (f32::from(block[2 + j % 16] >> (j / 16 * 4) & 15) - 8.0),
            Self::Q8_0 => half(0) * signed(2 + j),
            Self::Q4K | Self::Q5K => {
                let codes = if self == Self::Q5K { 48 } else { 16 };
                let mut level = block[codes + j / 64 * 32 + j % 32] >> (j / 32 % 2 * 4) & 15;
                if self == Self::Q5K {
                    level += (block[16 + j % 32] >> (j / 32) & 1) * 16;
                }
                let (scale, minimum) = scale_and_minimum(&block[4..16], j / 32);
                half(0) * f32::from(scale) * f32::from(level) - half(2) * f32::from(minimum)
            }
            Self::Q6K => {
                let (side, quarter, l) = (j / 128, j % 128 / 32, j % 32);
                let low = block[side * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
                let high = block[128 + side * 32 + l] >> (quarter * 2) & 3;
                half(208) * signed(192 + side * 8 + quarter * 2 + l / 16) * (f32::from(low + high * 16) - 32.0)
            }
            Self::Int { bits, symmetric, .. } => {
                let header = 2 + usize::from(!symmetric);
                let code = (0..bits as usize)
                    .map(|b| (j * bits as usize + b, b))
                    .fold(0u32, |code, (bit, b)| code | u32::from(block[header + bit / 8] >> (bit % 8) & 1) << b);
                let zero = if symmetric { 1 << (bits - 1) } else { u32::from(block[2]) };
                half(0) * (code as f32 - zero as f32)
            }
        }
    }
}

/// The 6-bit scale and minimum of one run of 32 out of eight.
fn scale_and_minimum(packed: &[u8], run: usize) -> (u8, u8) {
    let (first, second, third) = (packed[run % 4], packed[4 + run % 4], packed[8 + run % 4]);
    if run < 4 { (first & 63, second & 63) } else { (third & 15 | first >> 6 << 4, third >> 4 | second >> 6 << 4) }
}

/// As [`super::matmul::matmul`] with a stored weight of rows of `columns`.
pub fn matmul_quantized(x: &[f32], stored: Stored, weight: &[u8], columns: usize, bias: &[f32], y: &mut [f32]) {
    let decoded: Vec<f32> = weight.chunks_exact(stored.row_bytes(columns)).flat_map(|row| (0..columns).map(move |column| stored.value(row, column))).collect();
    super::matmul::matmul(x, &decoded, columns, bias, y);
}
