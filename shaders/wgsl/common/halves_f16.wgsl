// halves.wgsl for devices with 16-bit floats.

fn two_halves(word: u32) -> vec2<f32> {
    return vec2<f32>(bitcast<vec2<f16>>(word));
}

fn half(bits: u32) -> f32 {
    return two_halves(bits).x;
}
