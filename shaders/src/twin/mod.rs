//! What each kernel computes, over plain slices: the one definition of each algorithm. No threads and no SIMD here; callers split rows.

pub mod add;
pub mod attention;
pub mod embedding;
pub mod encode_affine_blocks;
pub mod encode_affine_super_blocks;
pub mod encode_blocks;
pub mod encode_floats;
pub mod encode_fp4;
pub mod encode_groups;
pub mod encode_super_blocks;
pub mod feedback_columns;
pub mod feedback_product;
pub mod gate;
pub mod gram;
pub mod hadamard;
pub mod layer_error;
pub mod lloyd_step;
pub mod logits_compare;
pub mod matmul;
pub mod matmul_quantized;
pub mod multiply_add;
pub mod norm;
pub mod rope;
pub mod round_inputs;
pub mod statistics;
pub mod stream_copy;
