// Super-blocks of 256 with integer scales under one factor: what src/twin/encode_super_blocks.rs defines, byte for byte.

// The factor and the sub-block's integer scale.
fn fit_scales(rule: Law) -> vec2<f32> {
    let ends = select(vec2<f32>(-32.0, 31.0), vec2<f32>(-128.0, 127.0), params.format == Q6_K);
    var real = fit_scale(rule, width());
    var d = to_half(divide(block_extreme(real), ends.x));
    var best = vec2<f32>();
    var least = HUGE;
    var goes_on = true;
    for (var turn = 0u; turn < 3u; turn += 1u) {
        goes_on = goes_on && d != 0.0;
        let centre = round(divide(real, select(d, 1.0, d == 0.0)));
        let tried = clamp(centre + f32(lane) - 8.0, ends.x, ends.y);
        let won = winner(error_of(mul(d, tried), rule, width()));
        let error = block_sum(won.value);
        let sc = select(of_lane(tried, won.lane), 0.0, real == 0.0);
        goes_on = goes_on && error < least;
        if goes_on {
            least = error;
            best = vec2<f32>(d, sc);
        }
        // Least squares of d with these scales and codes.
        real = mul(d, sc);
        let inverse = reciprocal(real);
        var xv = 0.0;
        var vv = 0.0;
        for (var i = lane; i < width(); i += LANES) {
            let x = xs[at + i];
            let w = ws[at + i];
            let v = mul(sc, nearest(mul(x, inverse), rule));
            xv = add(xv, mul(mul(w, x), v));
            vv = add(vv, mul(mul(w, v), v));
        }
        let block_xv = block_sum(lane_sum(xv));
        let refitted = to_half(ratio(block_xv, block_sum(lane_sum(vv))));
        goes_on = goes_on && refitted != d;
        d = refitted;
    }
    return best;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    begin_super_blocks(index);
    clear_bytes();
    let number = workgroup.y * grid.x + workgroup.x;
    let rule = law();
    for (var second = 0u; second < 32u / width(); second += 1u) {
        load(number * 512u + second * 256u, width(), width(), 1e-9);
        let fit = fit_scales(rule);
        let pieces = 256u / width();
        let sub = piece % pieces;
        let own = (second + piece / pieces) * params.block_bytes;
        let inverse = reciprocal(mul(fit.x, fit.y));
        let sc = u32(i32(fit.y) + 32);
        let code = code_of(mul(xs[at + lane], inverse), rule);
        if params.format == Q3_K {
            if lane == 0u {
                put(own + 96u + sub % 8u, (sc & 15u) << (4u * (sub / 8u)));
                put(own + 104u + sub % 4u, (sc >> 4u) << (2u * (sub / 4u)));
            }
            if lane == 0u && sub == 0u {
                put_half(own + 108u, fit.x);
            }
            put(own + 32u + 32u * (sub / 8u) + 16u * (sub % 2u) + lane, (code & 3u) << (2u * (sub % 8u / 2u)));
            put(own + 16u * (sub % 2u) + lane, (code >> 2u) << (sub / 2u));
        } else if params.format == Q6_K {
            if lane == 0u {
                put(own + 192u + sub, bitcast<u32>(i32(fit.y)) & 255u);
            }
            if lane == 0u && sub == 0u {
                put_half(own + 208u, fit.x);
            }
            let part = sub / 8u;
            let pair = sub % 8u / 2u;
            let odd = sub % 2u;
            put(own + 64u * part + 32u * (pair % 2u) + 16u * odd + lane, (code & 15u) << (4u * (pair / 2u)));
            put(own + 128u + 32u * part + 16u * odd + lane, (code >> 4u) << (2u * pair));
        } else {
            if lane == 0u {
                put(own + 4u + sub / 2u, (sc & 15u) << (4u * (sub % 2u)));
                put(own + 2u + sub / 4u, (sc >> 4u) << (2u * (sub % 4u)));
            }
            if lane == 0u && sub == 0u {
                put_half(own, fit.x);
            }
            put(own + 8u + 16u * sub + lane, code | (code_of(mul(xs[at + lane + 16u], inverse), rule) << 4u));
        }
    }
    write_bytes(number, params.block_bytes / 2u);
}
