// Super-blocks of 256 with integer scales and minima under two factors: what src/twin/encode_affine_super_blocks.rs defines, byte for byte.

struct Fit {
    d: f32,
    dmin: f32,
    sc: f32,
    m: f32,
}

// The factors, and the sub-block's integer scale and minimum.
fn fit_affine_scales() -> Fit {
    let top = select(63.0, 15.0, params.format == Q2_K);
    var about = moments(width());
    about.low = min(about.low, 0.0);
    let real = best_affine(about, width());
    var scale = max(real.x, 0.0);
    var least_weight = max(-real.y, 0.0);
    let scale_max = max(block_extreme(scale), 0.0);
    var d = to_half(divide(scale_max, top));
    var dmin = to_half(divide(max(block_extreme(least_weight), 0.0), top));
    var best = Fit(0.0, 0.0, 0.0, 0.0);
    var least = HUGE;
    var goes_on = scale_max >= TINY;
    for (var turn = 0u; turn < 3u; turn += 1u) {
        let sc0 = floor(mul(scale, reciprocal(d))) - 1.0;
        let m0 = floor(mul(least_weight, reciprocal(dmin))) - 1.0;
        let tried_sc = clamp(sc0 + f32(lane % 4u), 0.0, top);
        let tried_m = clamp(m0 + f32(lane / 4u), 0.0, top);
        let won = winner(affine_error(mul(d, tried_sc), -mul(dmin, tried_m), width()));
        let error = block_sum(won.value);
        let sc = of_lane(tried_sc, won.lane);
        let m = of_lane(tried_m, won.lane);
        goes_on = goes_on && error < least;
        if goes_on {
            least = error;
            best = Fit(d, dmin, sc, m);
        }
        // Least squares of the factors with these integers and codes.
        scale = mul(d, sc);
        least_weight = mul(dmin, m);
        let inverse = reciprocal(scale);
        var wqq = 0.0;
        var wq = 0.0;
        var ww = 0.0;
        var wxq = 0.0;
        var wx = 0.0;
        for (var i = lane; i < width(); i += LANES) {
            let x = xs[at + i];
            let w = ws[at + i];
            let q = round(clamp(mul(add(x, least_weight), inverse), 0.0, top_code()));
            let product = mul(w, q);
            wqq = add(wqq, mul(product, q));
            wq = add(wq, product);
            ww = add(ww, w);
            wxq = add(wxq, mul(mul(w, x), q));
            wx = add(wx, mul(w, x));
        }
        let aa = block_sum(mul(mul(sc, sc), lane_sum(wqq)));
        let ab = block_sum(mul(mul(sc, m), lane_sum(wq)));
        let bb = block_sum(mul(mul(m, m), lane_sum(ww)));
        let xa = block_sum(mul(sc, lane_sum(wxq)));
        let xb = block_sum(mul(m, lane_sum(wx)));
        let determinant = sub(mul(aa, bb), mul(ab, ab));
        var new_d = ratio(xa, aa);
        var new_dmin = 0.0;
        if bb != 0.0 {
            new_d = ratio(sub(mul(xa, bb), mul(ab, xb)), determinant);
            new_dmin = ratio(sub(mul(ab, xa), mul(aa, xb)), determinant);
        }
        new_d = to_half(new_d);
        new_dmin = to_half(new_dmin);
        goes_on = goes_on && new_d > 0.0 && new_dmin >= 0.0 && (new_d != d || new_dmin != dmin);
        d = new_d;
        dmin = new_dmin;
    }
    return best;
}

fn code_at(i: u32, fit: Fit) -> u32 {
    let inverse = reciprocal(mul(fit.d, fit.sc));
    return u32(round(clamp(mul(add(xs[at + i], mul(fit.dmin, fit.m)), inverse), 0.0, top_code())));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    begin_super_blocks(index);
    clear_bytes();
    let number = workgroup.y * grid.x + workgroup.x;
    for (var second = 0u; second < 32u / width(); second += 1u) {
        load(number * 512u + second * 256u, width(), width(), 1e-9);
        let fit = fit_affine_scales();
        let pieces = 256u / width();
        let part = piece % pieces;
        let own = (second + piece / pieces) * params.block_bytes;
        let factors = own + select(0u, 80u, params.format == Q2_K);
        if lane == 0u && part == 0u {
            put_half(factors, fit.d);
            put_half(factors + 2u, fit.dmin);
        }
        let sc = u32(fit.sc);
        let m = u32(fit.m);
        if params.format == Q2_K {
            if lane == 0u {
                put(own + part, sc | (m << 4u));
            }
            put(own + 16u + 32u * (part / 8u) + 16u * (part % 2u) + lane, code_at(lane, fit) << (2u * (part % 8u / 2u)));
            continue;
        }
        if lane == 0u && part < 4u {
            put(own + 4u + part, sc);
            put(own + 8u + part, m);
        } else if lane == 0u {
            put(own + part, (sc >> 4u) << 6u);
            put(own + 4u + part, (m >> 4u) << 6u);
            put(own + 8u + part, (sc & 15u) | ((m & 15u) << 4u));
        }
        let low = code_at(lane, fit);
        let high = code_at(lane + 16u, fit);
        let codes = own + select(16u, 48u, params.format == Q5_K) + 32u * (part / 2u);
        put(codes + lane, (low & 15u) << (4u * (part % 2u)));
        put(codes + lane + 16u, (high & 15u) << (4u * (part % 2u)));
        if params.format == Q5_K {
            put(own + 16u + lane, (low >> 4u) << part);
            put(own + 32u + lane, (high >> 4u) << part);
        }
    }
    write_bytes(number, params.block_bytes / 2u);
}
