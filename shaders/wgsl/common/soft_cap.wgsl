// cap * tanh(x / cap): near 0 by its series, where the quotient would cancel.

fn soft_cap(x: f32) -> f32 {
    let u = x / params.cap;
    let s = u * u;
    let series = u * (1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 + s * (-17.0 / 315.0 + s * (62.0 / 2835.0)))));
    let quotient = 1.0 - 2.0 / (exp(2.0 * clamp(u, -20.0, 20.0)) + 1.0);
    return params.cap * select(quotient, series, s < 0.09);
}
