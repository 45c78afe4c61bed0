// Halves as f32, exactly, subnormal and infinite ones too. Devices with 16-bit floats have halves_f16.wgsl instead.

fn half(bits: u32) -> f32 {
    let sign = (bits & 0x8000u) << 16u;
    let rest = bits & 0x7fffu;
    if rest < 0x0400u {
        return bitcast<f32>(sign | bitcast<u32>(f32(rest) * 5.9604644775390625e-8));
    }
    if rest >= 0x7c00u {
        return bitcast<f32>(sign | 0x7f800000u | ((rest & 0x03ffu) << 13u));
    }
    return bitcast<f32>(sign | ((rest << 13u) + 0x38000000u));
}

// The lower half of a word, and the upper.
fn two_halves(word: u32) -> vec2<f32> {
    return vec2<f32>(half(word & 0xffffu), half(word >> 16u));
}
