//! Four-bit floats (E2M1) under a small shared scale: MXFP4 and NVFP4. Decoders only.
//!
//! As in ggml the value table is doubled, so that it is integers, and the scale is halved.

/// E2M1 values times two.
const TABLE: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

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

/// ½·2^(byte − 127); the two smallest are subnormal.
fn half_of_e8m0(byte: u8) -> f32 {
    f32::from_bits(if byte < 2 { 0x0020_0000 << byte } else { u32::from(byte - 1) << 23 })
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

/// ½ of an E4M3 without its sign; ggml reads the code 0x7F (NaN) as 0.
fn half_of_unsigned_e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from((byte >> 3) & 15), f32::from(byte & 7));
    match (byte, exponent) {
        (0x7F, _) => 0.0,
        (_, 0) => mantissa * 2f32.powi(-9) * 0.5,
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7) * 0.5,
    }
}
