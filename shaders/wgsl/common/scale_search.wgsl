// The search of one scale, as twin/encode_blocks.rs has it.

// The levels of a type, and the factors on 1/d that are tried.
struct Law {
    low: f32,
    high: f32,
    reach_low: f32,
    reach_high: f32,
}

fn law() -> Law {
    switch params.format {
        case Q4_0: { return Law(-8.0, 7.0, 0.80, 1.16); }
        case Q5_0: { return Law(-16.0, 15.0, 0.86, 1.08); }
        case Q8_0: { return Law(-127.0, 127.0, 1.0, 1.0); }
        case Q3_K: { return Law(-4.0, 3.0, 0.60, 1.30); }
        case Q6_K: { return Law(-32.0, 31.0, 0.90, 1.06); }
        default: { return Law(-127.0, 113.0, 0.80, 1.16); }
    }
}

fn nearest(v: f32, rule: Law) -> f32 {
    if params.format == IQ4_NL || params.format == IQ4_XS {
        return iq4_level(v);
    }
    return round(clamp(v, rule.low, rule.high));
}

// The sum of w * (x - d * level)^2.
fn error_of(d: f32, rule: Law, width: u32) -> f32 {
    let inverse = reciprocal(d);
    var error = LEAST;
    for (var i = 0u; i < width; i += 1u) {
        let x = xs[at + i];
        let r = sub(x, mul(d, nearest(mul(x, inverse), rule)));
        error = add(error, mul(ws[at + i], mul(r, r)));
    }
    return error;
}

fn is_flat(width: u32) -> bool {
    var flat = true;
    for (var i = 1u; i < width; i += 1u) {
        flat = flat && ws[at + i] == ws[at];
    }
    return flat;
}

// The best half-precision d of the sub-block; 0 for zeros.
fn fit_scale(rule: Law, width: u32) -> f32 {
    let extreme = weight_extreme(width);
    let is_zero = abs(extreme) < TINY;
    let divisor = select(extreme, 1.0, is_zero);
    let span = sub(rule.reach_high, rule.reach_low);
    let near = add(rule.reach_low, divide(mul(span, f32(lane)), 15.0));
    let apart = divide(span, 6.0);
    let far = select(add(rule.reach_high, mul(apart, f32(lane) - 5.0)), sub(rule.reach_low, mul(apart, f32(lane) + 1.0)), lane < 6u);
    let flat = is_flat(width);

    var best_loss = -LEAST;
    var best = 0.0;
    for (var batch = 0u; batch < select(2u, 4u, params.weighted != 0u); batch += 1u) {
        let inverse = mul(select(far, near, batch < 2u), divide(select(rule.high, rule.low, batch % 2u == 0u), divisor));
        var xv = 0.0;
        var vv = 0.0;
        for (var i = 0u; i < width; i += 1u) {
            let x = xs[at + i];
            let w = ws[at + i];
            let v = nearest(mul(x, inverse), rule);
            xv = add(xv, mul(mul(w, x), v));
            vv = add(vv, mul(mul(w, v), v));
        }
        let scale = ratio(xv, vv);
        let won = winner(-add(LEAST, mul(scale, xv)));
        let winning = of_lane(scale, won.lane);
        if won.value < best_loss && (batch < 2u || !flat) {
            best_loss = won.value;
            best = winning;
        }
    }
    // The neighbours of the best scale, and the plain ones, by the error they really make.
    let step = sub(add(rule.reach_low, divide(span, 15.0)), rule.reach_low) * 0.125;
    var candidate = mul(best, add(1.0, mul(step, f32(lane) - 8.0)));
    if lane < 2u {
        candidate = divide(extreme, select(rule.high, rule.low, lane == 0u));
    }
    candidate = to_half(candidate);
    let won = winner(error_of(candidate, rule, width));
    let d = of_lane(candidate, won.lane);
    return select(d, 0.0, is_zero);
}

// level - lowest level of a value.
fn code_of(v: f32, rule: Law) -> u32 {
    if params.format == IQ4_NL || params.format == IQ4_XS {
        return iq4_code(v);
    }
    return u32(round(clamp(v, rule.low, rule.high)) - rule.low);
}
