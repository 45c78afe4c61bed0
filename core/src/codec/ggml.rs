//! The block types of ggml: identity, block size and bytes, and the way to each type's encoder and decoder.

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
        f.write_str(self.name())
    }
}

impl GgmlType {
    /// Decodes whole blocks: `bytes.len() / block_bytes` of them into as many × `block_columns` values.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        let _ = (bytes, out);
        todo!("codec room")
    }

    /// Whether [`Self::encode_row`] exists for this type.
    pub fn can_encode(self) -> bool {
        todo!("codec room")
    }

    /// Encodes one row (a whole number of blocks). `importance`, when given, has the row's length.
    ///
    /// # Panics
    /// When [`Self::can_encode`] is false; ask before.
    pub fn encode_row(self, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let _ = (row, importance, out);
        todo!("codec room")
    }
}
