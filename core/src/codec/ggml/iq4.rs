//! Four-bit codes into a fixed non-linear table: IQ4_NL (blocks of 32) and IQ4_XS (super-blocks of 256). The encoders are twins of kernels.

use super::half_at;

pub(in crate::codec) use halftone_shaders::levels::IQ4_TABLE as TABLE;

/// [`TABLE`] as it is multiplied.
pub(super) static LEVELS: [f32; 16] = [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

fn value(code: u8) -> f32 {
    f32::from(TABLE[usize::from(code & 15)])
}

/// f16 d; 16 bytes of nibbles (element j low, j + 16 high). ŵ = d·table[q].
pub(super) fn decode_iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for j in 0..16 {
        out[j] = d * value(block[2 + j]);
        out[j + 16] = d * value(block[2 + j] >> 4);
    }
}

/// f16 d; u16 of high scale bits (2 each); scales_l[4] nibbles; qs[128]. ŵ = d·(ls − 32)·table[q], one ls per 32 values.
pub(super) fn decode_iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    for (sub, values) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let low = (block[4 + sub / 2] >> (4 * (sub % 2))) & 15;
        let scale = d * (f32::from(low | ((high >> (2 * sub)) as u8 & 3) << 4) - 32.0);
        for j in 0..16 {
            let q = block[8 + 16 * sub + j];
            values[j] = scale * value(q);
            values[j + 16] = scale * value(q >> 4);
        }
    }
}
