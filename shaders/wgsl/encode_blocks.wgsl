// Blocks of 32 with one half-precision scale: what src/twin/encode_blocks.rs defines, byte for byte. A workgroup has sixteen blocks.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    begin(index);
    clear_bytes();
    let number = workgroup.y * grid.x + workgroup.x;
    load(number * 512u, 32u, 32u, 0.0);
    let rule = law();
    var d: f32;
    if params.format == Q8_0 {
        let largest = abs(weight_extreme(32u));
        d = select(to_half(divide(largest, 127.0)), 0.0, largest < TINY);
    } else {
        d = fit_scale(rule, 32u);
    }

    let own = piece * params.block_bytes;
    if lane == 0u {
        put_half(own, d);
    }
    let inverse = reciprocal(d);
    let low = code_of(mul(xs[at + lane], inverse), rule);
    let high = code_of(mul(xs[at + lane + 16u], inverse), rule);
    if params.format == Q8_0 {
        put(own + 2u + lane, (low + 129u) & 255u);
        put(own + 18u + lane, (high + 129u) & 255u);
    } else if params.format == Q5_0 {
        put(own + 2u + lane / 8u, (low >> 4u) << (lane % 8u));
        put(own + 4u + lane / 8u, (high >> 4u) << (lane % 8u));
        put(own + 6u + lane, (low & 15u) | ((high & 15u) << 4u));
    } else {
        put(own + 2u + lane, low | (high << 4u));
    }
    write_bytes(number, 4u * params.block_bytes);
}
