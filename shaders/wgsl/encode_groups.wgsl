// Group-wise integers with the search of src/twin/encode_groups.rs, byte for byte. A workgroup has sixteen groups, and each lane a pair of a scale
// and a zero point.

struct Judged {
    scale: f32,
    zero: f32,
    loss: f32,
}

const COARSE = 24u;

fn level(v: f32, zero: f32) -> f32 {
    let low = -zero;
    let high = f32((1u << params.bits) - 1u) - zero;
    let above = select(low, v, v > low);
    return round(select(high, above, above < high));
}

// Fits the scale by least squares to the codes that the pair gives.
fn refit(scale: f32, zero: f32, number: u32) -> Judged {
    let inverse = reciprocal(scale);
    var xv = 0.0;
    var vv = 0.0;
    for (var start = 0u; start < params.columns; start += TILE) {
        let columns = load_tile(number, start);
        for (var i = 0u; i < columns; i += 1u) {
            let x = xs[at + i];
            let w = ws[at + i];
            let v = level(mul(x, inverse), zero);
            xv = add(xv, mul(mul(w, x), v));
            vv = add(vv, mul(mul(w, v), v));
        }
    }
    let fitted = ratio(xv, vv);
    return Judged(fitted, zero, -add(LEAST, mul(fitted, xv)));
}

fn pair_error(scale: f32, zero: f32, number: u32) -> f32 {
    let inverse = reciprocal(scale);
    var error = LEAST;
    for (var start = 0u; start < params.columns; start += TILE) {
        let columns = load_tile(number, start);
        for (var i = 0u; i < columns; i += 1u) {
            let x = xs[at + i];
            let r = sub(x, mul(scale, level(mul(x, inverse), zero)));
            error = add(error, mul(ws[at + i], mul(r, r)));
        }
    }
    return error;
}

// The better of the best before and the lanes' best.
fn better(before: Judged, tried: Judged) -> Judged {
    let won = winner(tried.loss);
    let scale = of_lane(tried.scale, won.lane);
    let zero = of_lane(tried.zero, won.lane);
    if won.value < before.loss {
        return Judged(scale, zero, won.value);
    }
    return before;
}

fn search(low: f32, high: f32, number: u32) -> vec2<f32> {
    let top = f32((1u << params.bits) - 1u);
    let middle = f32(1u << (params.bits - 1u));
    var best = Judged(0.0, middle, -LEAST);
    if params.symmetric != 0u {
        let half = add(0.5, 0.5 * params.least_share);
        let narrow = spread(params.least_share, half);
        let wide = spread(half, 1.06);
        let below = divide(-low, middle);
        let above = divide(high, middle - 1.0);
        for (var batch = 0u; batch < 4u; batch += 1u) {
            let scale = mul(select(wide, narrow, batch % 2u == 0u), select(above, below, batch < 2u));
            let first = refit(scale, middle, number);
            best = better(best, refit(first.scale, middle, number));
        }
    } else {
        let widest = divide(sub(high, low), top);
        let least = mul(0.8, params.least_share);
        let at_once = max(LANES >> params.bits, 1u);
        for (var first = 0u; first < COARSE; first += at_once) {
            let place = add(f32(first + lane * at_once / LANES), 0.5);
            let scale = mul(widest, add(least, divide(mul(sub(1.05, least), place), 24.0)));
            var zero = f32(lane % (1u << params.bits));
            if params.bits > 4u {
                let below = divide(-low, scale);
                let above = sub(top, divide(high, scale));
                let centre = 0.5 * add(below, above);
                let half = add(0.5 * abs(sub(below, above)), 2.0);
                zero = round(clamp(add(centre, divide(mul(half, f32(lane) - 7.5), 7.5)), 0.0, top));
            }
            best = better(best, refit(scale, zero, number));
        }
        let step = mul(divide(mul(0.2, sub(1.05, least)), 24.0), widest);
        let scale = add(best.scale, mul(step, f32(lane / 3u) - 2.0));
        let first = refit(scale, clamp(best.zero + f32(lane % 3u) - 1.0, 0.0, top), number);
        best = better(best, refit(first.scale, first.zero, number));
    }
    let near = to_half(mul(best.scale, add(1.0, mul(params.step, f32(lane) - 8.0))));
    let won = winner(pair_error(near, best.zero, number));
    return vec2<f32>(of_lane(near, won.lane), best.zero);
}

// What the search finds, a pair beside it, or the plain grid, whichever makes the least error.
fn fit(number: u32) -> vec2<f32> {
    let range = group_range(number);
    let top = f32((1u << params.bits) - 1u);
    let middle = f32(1u << (params.bits - 1u));
    let is_zero = max(range.y, -range.x) < TINY;
    let low = range.x;
    let high = select(range.y, 1.0, is_zero);
    var plain = vec2<f32>(max(divide(-low, middle), divide(high, middle - 1.0)), middle);
    if params.symmetric == 0u {
        let scale = divide(sub(high, low), top);
        plain = vec2<f32>(scale, round(clamp(divide(-low, scale), 0.0, top)));
    }
    let found = search(low, high, number);
    let shift = select(select(1.0, -1.0, lane < 9u), 0.0, params.symmetric != 0u);
    let by = f32((lane + 5u) % 7u) - 3.0;
    var pair = vec2<f32>(mul(found.x, add(1.0, mul(0.25 * params.step, by))), clamp(found.y + shift, 0.0, top));
    if lane == 0u {
        pair = found;
    } else if lane == 1u {
        pair = plain;
    }
    pair.x = to_half(pair.x);
    let won = winner(pair_error(pair.x, pair.y, number));
    let best = vec2<f32>(of_lane(pair.x, won.lane), of_lane(pair.y, won.lane));
    return select(best, vec2<f32>(0.0, middle), is_zero);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    begin(index);
    let number = workgroup.y * grid.x + workgroup.x;
    let pair = fit(number);
    let header = select(3u, 2u, params.symmetric != 0u);
    let own = group_byte(number);
    if lane == 0u && is_group(number) {
        put_out(own, half_bits(pair.x) | select(u32(pair.y) << 16u, 0u, params.symmetric != 0u));
    }
    let inverse = reciprocal(pair.x);
    for (var start = 0u; start < params.columns; start += TILE) {
        let columns = load_tile(number, start);
        if lane * 8u < columns && is_group(number) {
            var codes = array<u32, 8>();
            for (var k = 0u; k < 8u; k += 1u) {
                codes[k] = u32(level(mul(xs[at + lane * 8u + k], inverse), pair.y) + pair.y);
            }
            put_eight(own + header + (start / 8u + lane) * params.bits, codes);
        }
    }
}
