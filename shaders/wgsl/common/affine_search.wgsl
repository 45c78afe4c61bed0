// The search of a scale and an offset, as twin/encode_affine_blocks.rs has it: x = d * q + m.

struct Affine {
    d: f32,
    m: f32,
    loss: f32,
}

// Sums over a sub-block that do not depend on the codes.
struct Moments {
    weight: f32,
    mean: f32,
    low: f32,
    high: f32,
}

// The largest code.
fn top_code() -> f32 {
    switch params.format {
        case Q2_K: { return 3.0; }
        case Q5_1, Q5_K: { return 31.0; }
        default: { return 15.0; }
    }
}

// The shares of the range that are cut off at an end.
fn cut(which: u32) -> f32 {
    switch params.format {
        case Q2_K: { return select(select(0.12, 0.2, which == 3u), select(-0.02, 0.05, which == 1u), which < 2u); }
        case Q5_1, Q5_K: { return select(select(0.03, 0.06, which == 3u), select(-0.01, 0.01, which == 1u), which < 2u); }
        default: { return select(select(0.08, 0.14, which == 3u), select(-0.02, 0.03, which == 1u), which < 2u); }
    }
}

fn moments(width: u32) -> Moments {
    var weight = 0.0;
    var sum = 0.0;
    for (var i = lane; i < width; i += LANES) {
        weight = add(weight, ws[at + i]);
        sum = add(sum, mul(ws[at + i], xs[at + i]));
    }
    weight = lane_sum(weight);
    sum = lane_sum(sum);
    let range = weight_range(xs[at], width);
    return Moments(weight, clean(bitcast<u32>(divide(sum, weight))), range.x, range.y);
}

// Least squares of d and m with the codes that a candidate gives.
fn refitted(of_d: f32, of_m: f32, about: Moments, width: u32) -> Affine {
    let inverse = reciprocal(of_d);
    let top = top_code();
    var wq = 0.0;
    var wqq = 0.0;
    var wxq = 0.0;
    for (var i = 0u; i < width; i += 1u) {
        let x = xs[at + i];
        let w = ws[at + i];
        let q = round(clamp(mul(sub(x, of_m), inverse), 0.0, top));
        let product = mul(w, q);
        wq = add(wq, product);
        wqq = add(wqq, mul(product, q));
        wxq = add(wxq, mul(mul(w, sub(x, about.mean)), q));
    }
    let d = ratio(wxq, sub(wqq, divide(mul(wq, wq), about.weight)));
    let m = sub(about.mean, divide(mul(d, wq), about.weight));
    return Affine(d, m, -add(LEAST, mul(d, wxq)));
}

// The sum of w * (x - d * q - m)^2.
fn affine_error(d: f32, m: f32, width: u32) -> f32 {
    let inverse = reciprocal(d);
    let top = top_code();
    var error = LEAST;
    for (var i = 0u; i < width; i += 1u) {
        let x = xs[at + i];
        let q = round(clamp(mul(sub(x, m), inverse), 0.0, top));
        let r = sub(x, add(mul(d, q), m));
        error = add(error, mul(ws[at + i], mul(r, r)));
    }
    return error;
}

// The best real d and m of the sub-block.
fn best_affine(about: Moments, width: u32) -> vec2<f32> {
    let range = sub(about.high, about.low);
    let m = add(about.low, mul(cut(lane % 4u), range));
    let d = divide(sub(sub(about.high, mul(cut(lane / 4u), range)), m), top_code());
    let first = refitted(d, m, about, width);
    let second = refitted(first.d, first.m, about, width);
    let won = winner(second.loss);
    return vec2<f32>(of_lane(second.d, won.lane), of_lane(second.m, won.lane));
}
