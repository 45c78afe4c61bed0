// Blocks of 32 with half-precision scale and offset: what src/twin/encode_affine_blocks.rs defines, byte for byte. A workgroup has sixteen.

// The best half-precision d and m of the block.
fn fit_affine() -> vec2<f32> {
    let about = moments(32u);
    let best = best_affine(about, 32u);
    let levels = top_code();
    // The neighbours of the best, and the plain one, by the error they really make.
    let turn = f32(lane % 4u) - 1.0;
    let shift = f32(lane / 4u) - 1.5;
    var d = to_half(mul(best.x, add(1.0, divide(mul(turn, 0.15), levels))));
    var m = to_half(add(add(best.y, mul(0.5 * levels, sub(best.x, d))), mul(mul(shift, 0.08), best.x)));
    if lane == 0u {
        d = to_half(divide(sub(about.high, about.low), levels));
        m = to_half(about.low);
    } else if lane == 4u {
        d = to_half(best.x);
        m = to_half(best.y);
    }
    let won = winner(affine_error(d, m, 32u));
    let fit = vec2<f32>(of_lane(d, won.lane), of_lane(m, won.lane));
    return select(fit, vec2<f32>(), max(abs(about.low), abs(about.high)) < TINY);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    begin(index);
    clear_bytes();
    let number = workgroup.y * grid.x + workgroup.x;
    load(number * 512u, 32u, 32u, 0.0);
    let fit = fit_affine();
    let own = piece * params.block_bytes;
    if lane == 0u {
        put_half(own, fit.x);
        put_half(own + 2u, fit.y);
    }
    let inverse = reciprocal(fit.x);
    let low = u32(round(clamp(mul(sub(xs[at + lane], fit.y), inverse), 0.0, top_code())));
    let high = u32(round(clamp(mul(sub(xs[at + lane + 16u], fit.y), inverse), 0.0, top_code())));
    if params.format == Q5_1 {
        put(own + 4u + lane / 8u, (low >> 4u) << (lane % 8u));
        put(own + 6u + lane / 8u, (high >> 4u) << (lane % 8u));
        put(own + 8u + lane, (low & 15u) | ((high & 15u) << 4u));
    } else {
        put(own + 4u + lane, low | (high << 4u));
    }
    write_bytes(number, 4u * params.block_bytes);
}
