//! The block types of ggml: identity, block size and bytes, and the way to each type's encoder and decoder.

mod encode;
mod fp4;
mod iq;
mod iq1_encode;
pub(super) mod iq4;
mod k_quants;
mod law;
mod legacy;
pub(super) mod octet;
mod ternary;
#[cfg(test)]
mod tests;

pub(super) use fp4::LEVELS as E2M1_LEVELS;

use super::family::{Family, Feedback, Heads, Layout};
use serde::{Deserialize, Serialize};

macro_rules! ggml_types {
    ($($variant:ident = $id:literal, $name:literal, $columns:literal, $bytes:literal;)*) => {
        /// A quantized ggml type, by its name in llama.cpp.
        #[expect(missing_docs, reason = "the variants are the types' own names; their layouts are in the files of their families")]
        #[expect(non_camel_case_types, reason = "the types' own names")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum GgmlType { $($variant,)* }

        impl GgmlType {
            /// Every type, in the order of their ids.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number that stands in a GGUF file.
            pub fn id(self) -> u32 { match self { $(Self::$variant => $id,)* } }

            /// The type with this number.
            pub fn from_id(id: u32) -> Option<Self> { match id { $($id => Some(Self::$variant),)* _ => None } }

            /// The name llama.cpp prints.
            pub fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }

            /// Values in one block.
            pub fn block_columns(self) -> usize { match self { $(Self::$variant => $columns,)* } }

            /// Bytes of one block.
            pub fn block_bytes(self) -> usize { match self { $(Self::$variant => $bytes,)* } }
        }
    };
}

ggml_types! {
    Q4_0 = 2, "Q4_0", 32, 18;
    Q4_1 = 3, "Q4_1", 32, 20;
    Q5_0 = 6, "Q5_0", 32, 22;
    Q5_1 = 7, "Q5_1", 32, 24;
    Q8_0 = 8, "Q8_0", 32, 34;
    Q8_1 = 9, "Q8_1", 32, 36;
    Q2_K = 10, "Q2_K", 256, 84;
    Q3_K = 11, "Q3_K", 256, 110;
    Q4_K = 12, "Q4_K", 256, 144;
    Q5_K = 13, "Q5_K", 256, 176;
    Q6_K = 14, "Q6_K", 256, 210;
    Q8_K = 15, "Q8_K", 256, 292;
    IQ2_XXS = 16, "IQ2_XXS", 256, 66;
    IQ2_XS = 17, "IQ2_XS", 256, 74;
    IQ3_XXS = 18, "IQ3_XXS", 256, 98;
    IQ1_S = 19, "IQ1_S", 256, 50;
    IQ4_NL = 20, "IQ4_NL", 32, 18;
    IQ3_S = 21, "IQ3_S", 256, 110;
    IQ2_S = 22, "IQ2_S", 256, 82;
    IQ4_XS = 23, "IQ4_XS", 256, 136;
    IQ1_M = 29, "IQ1_M", 256, 56;
    TQ1_0 = 34, "TQ1_0", 256, 54;
    TQ2_0 = 35, "TQ2_0", 256, 66;
    MXFP4 = 39, "MXFP4", 32, 17;
    NVFP4 = 40, "NVFP4", 64, 36;
    Q1_0 = 41, "Q1_0", 128, 18;
    Q2_0 = 42, "Q2_0", 64, 18;
}

impl std::fmt::Display for GgmlType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str((*self).name())
    }
}

impl GgmlType {
    /// Decodes whole blocks: `bytes.len() / block_bytes` of them into as many × `block_columns` values. Bytes or values left over stay untouched.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::Q4_0 => decode_blocks(bytes, out, legacy::decode_q4_0),
            Self::Q4_1 => decode_blocks(bytes, out, legacy::decode_q4_1),
            Self::Q5_0 => decode_blocks(bytes, out, legacy::decode_q5_0),
            Self::Q5_1 => decode_blocks(bytes, out, legacy::decode_q5_1),
            Self::Q8_0 => decode_blocks(bytes, out, legacy::decode_q8_0),
            Self::Q8_1 => decode_blocks(bytes, out, legacy::decode_q8_1),
            Self::Q2_K => decode_blocks(bytes, out, k_quants::decode_q2_k),
            Self::Q3_K => decode_blocks(bytes, out, k_quants::decode_q3_k),
            Self::Q4_K => decode_blocks(bytes, out, k_quants::decode_q4_k),
            Self::Q5_K => decode_blocks(bytes, out, k_quants::decode_q5_k),
            Self::Q6_K => decode_blocks(bytes, out, k_quants::decode_q6_k),
            Self::Q8_K => decode_blocks(bytes, out, legacy::decode_q8_k),
            Self::IQ2_XXS => decode_blocks(bytes, out, iq::decode_iq2_xxs),
            Self::IQ2_XS => decode_blocks(bytes, out, iq::decode_iq2_xs),
            Self::IQ3_XXS => decode_blocks(bytes, out, iq::decode_iq3_xxs),
            Self::IQ1_S => decode_blocks(bytes, out, iq::decode_iq1_s),
            Self::IQ4_NL => decode_blocks(bytes, out, iq4::decode_iq4_nl),
            Self::IQ3_S => decode_blocks(bytes, out, iq::decode_iq3_s),
            Self::IQ2_S => decode_blocks(bytes, out, iq::decode_iq2_s),
            Self::IQ4_XS => decode_blocks(bytes, out, iq4::decode_iq4_xs),
            Self::IQ1_M => decode_blocks(bytes, out, iq::decode_iq1_m),
            Self::TQ1_0 => decode_blocks(bytes, out, ternary::decode_tq1_0),
            Self::TQ2_0 => decode_blocks(bytes, out, ternary::decode_tq2_0),
            Self::MXFP4 => decode_blocks(bytes, out, fp4::decode_mxfp4),
            Self::NVFP4 => decode_blocks(bytes, out, fp4::decode_nvfp4),
            Self::Q1_0 => decode_blocks(bytes, out, ternary::decode_q1_0),
            Self::Q2_0 => decode_blocks(bytes, out, ternary::decode_q2_0),
        }
    }

    /// Whether [`Self::encode_row`] exists for this type: for all that weights are stored as, not for the two that only exist during a matmul.
    pub fn can_encode(self) -> bool {
        !matches!(self, Self::Q8_1 | Self::Q8_K)
    }

    /// Encodes one row (a whole number of blocks). `importance`, when given, has the row's length.
    ///
    /// # Panics
    /// When [`Self::can_encode`] is false; ask before.
    pub fn encode_row(self, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        use encode::encode_blocks as each;
        use halftone_shaders::twin::{
            encode_affine_blocks as affine, encode_affine_super_blocks as k_affine, encode_blocks as plain, encode_fp4, encode_grid_rows as rows,
            encode_super_blocks as k,
        };
        match self {
            Self::Q4_0 => each::<plain::Q4_0, _, _>(row, importance, out),
            Self::Q4_1 => each::<affine::Q4_1, _, _>(row, importance, out),
            Self::Q5_1 => each::<affine::Q5_1, _, _>(row, importance, out),
            Self::Q2_K => each::<k_affine::Q2K, _, _>(row, importance, out),
            Self::Q3_K => each::<k::Q3K, _, _>(row, importance, out),
            Self::Q4_K => each::<k_affine::Q4K, _, _>(row, importance, out),
            Self::Q5_K => each::<k_affine::Q5K, _, _>(row, importance, out),
            Self::Q6_K => each::<k::Q6K, _, _>(row, importance, out),
            Self::IQ4_XS => each::<k::Iq4Xs, _, _>(row, importance, out),
            Self::IQ4_NL => each::<plain::Iq4Nl, _, _>(row, importance, out),
            Self::Q5_0 => each::<plain::Q5_0, _, _>(row, importance, out),
            Self::Q8_0 => each::<plain::Q8_0, _, _>(row, importance, out),
            Self::IQ2_XXS => each::<rows::Iq2Xxs, _, _>(row, importance, out),
            Self::IQ2_XS => each::<rows::Iq2Xs, _, _>(row, importance, out),
            Self::IQ2_S => each::<rows::Iq2S, _, _>(row, importance, out),
            Self::IQ3_XXS => each::<rows::Iq3Xxs, _, _>(row, importance, out),
            Self::IQ3_S => each::<rows::Iq3S, _, _>(row, importance, out),
            Self::IQ1_S => each::<iq1_encode::Iq1S, _, _>(row, importance, out),
            Self::IQ1_M => each::<iq1_encode::Iq1M, _, _>(row, importance, out),
            Self::TQ1_0 => each::<ternary::Tq1_0, _, _>(row, importance, out),
            Self::TQ2_0 => each::<ternary::Tq2_0, _, _>(row, importance, out),
            Self::Q1_0 => each::<ternary::Q1_0, _, _>(row, importance, out),
            Self::Q2_0 => each::<ternary::Q2_0, _, _>(row, importance, out),
            Self::MXFP4 => each::<encode_fp4::Mxfp4, _, _>(row, importance, out),
            Self::NVFP4 => each::<encode_fp4::Nvfp4, _, _>(row, importance, out),
            Self::Q8_1 | Self::Q8_K => unreachable!("no encoder for {self}"),
        }
    }
}

impl Family for GgmlType {
    fn name(&self) -> String {
        Self::name(*self).to_owned()
    }

    fn layout(&self) -> Layout {
        Layout::blocks(self.block_columns(), self.block_bytes())
    }

    fn encode(&self, _: Heads<'_>, values: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        self.encode_row(values, importance, out);
    }

    fn decode(&self, _: Heads<'_>, bytes: &[u8], out: &mut [f32]) {
        Self::decode(*self, bytes, out);
    }

    fn feedback(&self) -> Option<&dyn Feedback> {
        law::codebook(*self).is_some().then_some(self)
    }
}

/// Decodes blocks of `B` bytes into `N` values each.
fn decode_blocks<const B: usize, const N: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn(&[u8; B], &mut [f32; N])) {
    for (block, values) in bytes.as_chunks::<B>().0.iter().zip(out.as_chunks_mut::<N>().0) {
        decode(block, values);
    }
}

/// The half-precision number that stands at byte `at`.
fn half_at(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}
