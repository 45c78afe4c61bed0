// Four-bit floats under a one-byte scale: what src/twin/encode_fp4.rs defines, byte for byte. A workgroup has sixteen blocks of MXFP4, or four
// of NVFP4 with four sub-blocks each.

fn width() -> u32 {
    return select(16u, 32u, params.format == MXFP4);
}

fn level(v: f32) -> f32 {
    let a = abs(v);
    var level = select(0.0, 1.0, a > 0.5) + select(0.0, 1.0, a > 1.5) + select(0.0, 1.0, a > 2.5) + select(0.0, 1.0, a > 3.5);
    level += select(0.0, 2.0, a > 5.0) + select(0.0, 2.0, a > 7.0) + select(0.0, 4.0, a > 10.0);
    return select(level, -level, v < 0.0);
}

fn code(v: f32) -> u32 {
    let a = abs(v);
    let below = select(0u, 1u, a > 0.5) + select(0u, 1u, a > 1.5) + select(0u, 1u, a > 2.5) + select(0u, 1u, a > 3.5);
    let code = below + select(0u, 1u, a > 5.0) + select(0u, 1u, a > 7.0) + select(0u, 1u, a > 10.0);
    return code | select(0u, 8u, v < 0.0 && code > 0u);
}

// w * (x - d * level)^2 of a weight.
fn square(i: u32, d: f32, inverse: f32) -> f32 {
    let x = xs[at + i];
    let r = sub(x, mul(d, level(mul(x, inverse))));
    return mul(ws[at + i], mul(r, r));
}

fn half_of_e8m0(byte: u32) -> f32 {
    return bitcast<f32>(select((byte - 1u) << 23u, 0x00200000u << byte, byte < 2u));
}

fn half_of_unsigned_e4m3(byte: u32) -> f32 {
    return select(bitcast<f32>((byte + (119u << 3u)) << 20u), f32(byte) * (0.5 / 512.0), byte < 8u);
}

// The byte of a power of two: the plain one or a neighbour. The lanes share the weights.
fn fit_power(largest: f32) -> u32 {
    let middle = i32(bitcast<u32>(largest) >> 23u) - 2;
    var least = HUGE;
    var byte = 0u;
    for (var k = -1; k < 2; k += 1) {
        let tried = u32(clamp(middle + k, 0, 254));
        let d = half_of_e8m0(tried);
        let inverse = reciprocal(d);
        let error = lane_sum(add(add(LEAST, square(lane, d, inverse)), square(lane + 16u, d, inverse)));
        if error < least {
            least = error;
            byte = tried;
        }
    }
    return select(byte, 0u, largest < TINY);
}

// The byte of an E4M3, one of sixteen about the one at or below the largest magnitude / 6. A lane has a candidate.
fn fit_e4m3(largest: f32) -> u32 {
    let full = divide(largest, 6.0);
    var start = i32(bitcast<u32>(min(full, 1e9)) >> 20u) - (120 << 3u);
    if full < 0.015625 {
        start = i32(full * 512.0);
    }
    let tried = u32(clamp(min(start, 126) - 10 + i32(lane), 0, 126));
    let d = half_of_unsigned_e4m3(tried);
    let inverse = reciprocal(d);
    var error = LEAST;
    for (var i = 0u; i < 16u; i += 1u) {
        error = add(error, square(i, d, inverse));
    }
    let won = winner(error);
    return select(u32(of_lane(f32(tried), won.lane)), 0u, largest < TINY);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    begin(index);
    clear_bytes();
    let number = workgroup.y * grid.x + workgroup.x;
    load(number * 16u * width(), width(), width(), 0.0);
    let largest = abs(weight_extreme(width()));
    var inverse = 0.0;
    if params.format == MXFP4 {
        let byte = fit_power(largest);
        if largest >= TINY {
            inverse = reciprocal(half_of_e8m0(byte));
        }
        if lane == 0u {
            put(piece * 17u, byte);
        }
        put(piece * 17u + 1u + lane, code(mul(xs[at + lane], inverse)) | (code(mul(xs[at + lane + 16u], inverse)) << 4u));
        write_bytes(number, 68u);
    } else {
        let byte = fit_e4m3(largest);
        if largest >= TINY {
            inverse = reciprocal(half_of_unsigned_e4m3(byte));
        }
        let own = piece / 4u * 36u;
        if lane == 0u {
            put(own + piece % 4u, byte);
        }
        if lane < 8u {
            put(own + 4u + 8u * (piece % 4u) + lane, code(mul(xs[at + lane], inverse)) | (code(mul(xs[at + lane + 8u], inverse)) << 4u));
        }
        write_bytes(number, 36u);
    }
}
