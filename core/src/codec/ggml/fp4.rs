//! Four-bit floats (E2M1) under a small shared scale: MXFP4 and NVFP4. The encoders are twins of a kernel.
//!
//! As in ggml the value table is doubled, so that it is integers, and the scale is halved.

use halftone_shaders::levels::E2M1_TABLE as TABLE;
pub(super) use halftone_shaders::twin::encode_fp4::{half_of_e8m0, half_of_unsigned_e4m3};

/// E2M1 values times two, rising.
pub(in crate::codec) static LEVELS: [f32; 15] = [-12.0, -8.0, -6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0];

/// Writes `N` codes from the indices of [`LEVELS`].
pub(super) fn put_indices<const N: usize>(bytes: &mut [u8], indices: &[u8]) {
    let code = |index: u8| if index < 7 { 15 - index } else { index - 7 };
    for j in 0..N / 2 {
        bytes[j] = code(indices[j]) | code(indices[j + N / 2]) << 4;
    }
}

fn value(code: u8) -> f32 {
    f32::from(TABLE[usize::from(code & 15)])
}

/// One power-of-two byte (E8M0); 16 bytes of nibbles (element j low, j + 16 high).
pub(super) fn decode_mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    let d = half_of_e8m0(block[0]);
    for j in 0..16 {
        out[j] = d * value(block[1 + j]);
        out[j + 16] = d * value(block[1 + j] >> 4);
    }
}

/// Four E4M3 scales (one per 16 values), then 8 bytes each of nibbles (element j low, j + 8 high).
pub(super) fn decode_nvfp4(block: &[u8; 36], out: &mut [f32; 64]) {
    for (sub, values) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let d = half_of_unsigned_e4m3(block[sub]);
        for j in 0..8 {
            let q = block[4 + 8 * sub + j];
            values[j] = d * value(q);
            values[j + 8] = d * value(q >> 4);
        }
    }
}
