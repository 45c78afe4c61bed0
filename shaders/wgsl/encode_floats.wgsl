// Small floats under a half-precision scale for some columns, or (MX) under a power of two: what src/twin/encode_floats.rs defines, byte for byte.
// A workgroup has sixteen groups.

// The nearest value, and the code of its magnitude.
struct Rounded {
    level: f32,
    code: u32,
}

fn nearest(v: f32) -> Rounded {
    let magnitude = select(params.top, abs(v), abs(v) < params.top);
    let exponent = max(bitcast<u32>(magnitude) >> 23u, params.least_exponent);
    let shift = bitcast<f32>(((exponent + 23u - params.mantissa_bits) << 23u) | 0x00400000u);
    let shifted = add(magnitude, shift);
    let code = ((exponent - params.least_exponent) << params.mantissa_bits) + (bitcast<u32>(shifted) - bitcast<u32>(shift));
    let level = sub(shifted, shift);
    return Rounded(select(level, -level, v < 0.0), code);
}

// The scale fitted by least squares to the levels that a scale gives, and its loss.
fn fitted(inverse: f32, number: u32) -> vec2<f32> {
    var xv = 0.0;
    var vv = 0.0;
    for (var start = 0u; start < params.columns; start += TILE) {
        let columns = load_tile(number, start);
        for (var i = 0u; i < columns; i += 1u) {
            let x = xs[at + i];
            let w = ws[at + i];
            let v = nearest(mul(x, inverse)).level;
            xv = add(xv, mul(mul(w, x), v));
            vv = add(vv, mul(mul(w, v), v));
        }
    }
    let scale = ratio(xv, vv);
    return vec2<f32>(scale, -add(LEAST, mul(scale, xv)));
}

// Of the lanes' scales the one of least error.
fn least_error(scale: f32, number: u32) -> f32 {
    let inverse = reciprocal(scale);
    var error = LEAST;
    for (var start = 0u; start < params.columns; start += TILE) {
        let columns = load_tile(number, start);
        for (var i = 0u; i < columns; i += 1u) {
            let x = xs[at + i];
            let r = sub(x, mul(scale, nearest(mul(x, inverse)).level));
            error = add(error, mul(ws[at + i], mul(r, r)));
        }
    }
    let won = winner(error);
    return of_lane(scale, won.lane);
}

// A half-precision scale, in units of 2^-top_exponent.
fn fit_scale(largest: f32, number: u32) -> f32 {
    let unit = bitcast<f32>((127u - params.top_exponent) << 23u);
    let plain = divide(largest, params.top);
    var best_loss = -LEAST;
    var best = plain;
    for (var batch = 0u; batch < 2u; batch += 1u) {
        let factor = select(spread(1.04, 2.0), spread(0.40, 1.0), batch == 0u);
        let tried = fitted(reciprocal(mul(plain, factor)), number);
        let won = winner(tried.y);
        let winning = of_lane(tried.x, won.lane);
        if won.value < best_loss {
            best_loss = won.value;
            best = winning;
        }
    }
    let near = mul(best, add(1.0, mul(0.006, f32(lane) - 8.0)));
    let scale = to_half(divide(select(near, plain, lane == 0u), unit)) * unit;
    return least_error(scale, number);
}

// 2^(byte - 127), of the plain exponent or one near it.
fn fit_power(largest: f32, number: u32) -> f32 {
    let plain = i32(bitcast<u32>(largest) >> 23u) - i32(params.top_exponent);
    let by = select(select(2, 1, lane == 2u), select(-1, 0, lane == 0u), lane < 2u);
    let byte = u32(clamp(plain + by, 0, 254));
    return least_error(select(bitcast<f32>(byte << 23u), bitcast<f32>(0x00400000u), byte == 0u), number);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    begin(index);
    let number = workgroup.y * grid.x + workgroup.x;
    let range = group_range(number);
    let largest = max(range.y, -range.x);
    let is_zero = largest < TINY;
    let safe = select(largest, 1.0, is_zero);
    let own = group_byte(number);
    var scale: f32;
    var header = 1u;
    if params.format == MX {
        scale = fit_power(safe, number);
        if lane == 0u && is_group(number) && !is_zero {
            put_out(own, bitcast<u32>(scale) >> 23u);
        }
    } else {
        header = 2u;
        scale = select(fit_scale(safe, number), 0.0, is_zero);
        if lane == 0u && is_group(number) {
            put_out(own, half_bits(divide(scale, bitcast<f32>((127u - params.top_exponent) << 23u))));
        }
    }
    let inverse = select(reciprocal(scale), 0.0, is_zero);
    for (var start = 0u; start < params.columns; start += TILE) {
        let columns = load_tile(number, start);
        if lane * 8u < columns && is_group(number) {
            var codes = array<u32, 8>();
            for (var k = 0u; k < 8u; k += 1u) {
                let v = mul(xs[at + lane * 8u + k], inverse);
                let code = nearest(v).code;
                codes[k] = code | select(0u, 1u << (params.bits - 1u), v < 0.0 && code > 0u);
            }
            put_eight(own + header + (start / 8u + lane) * params.bits, codes);
        }
    }
}
