// Arithmetic with the bits that Rust gives on a CPU. Products and sums are correctly rounded everywhere, but a compiler may contract a * b + c,
// or sum in another order; it cannot see through an exclusive or with a uniform that happens to be 0. Quotients, which devices round as they
// like, are proposed by floats and mended by integers. Subnormal numbers may count as 0 or not: src/lanes.rs keeps them from mattering.

// 2^-100, as src/lanes.rs has it.
const LEAST = 7.888609052210118e-31f;
const TINY = 1e-12f;
// Above every error.
const HUGE = 3e38f;

fn opaque(v: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(v) ^ params.zero);
}

fn add(a: f32, b: f32) -> f32 {
    return opaque(a + b);
}

fn sub(a: f32, b: f32) -> f32 {
    return opaque(a - b);
}

fn mul(a: f32, b: f32) -> f32 {
    return opaque(a * b);
}

// a / b, b not 0.
fn divide(a: f32, b: f32) -> f32 {
    let x = bitcast<u32>(a);
    let y = bitcast<u32>(b);
    let sign = (x ^ y) & 0x80000000u;
    let p = (x & 0x007fffffu) | 0x00800000u;
    let q = (y & 0x007fffffu) | 0x00800000u;
    // The quotient of the mantissas has 24 bits. The remainder is small, so that its low 32 bits say all of it.
    let less = select(0u, 1u, p < q);
    let per = 1.0 / f32(q);
    var quotient = u32(f32(p) * per * select(8388608.0, 16777216.0, p < q));
    var rest = i32((p << (23u + less)) - quotient * q);
    let more = i32(floor(f32(rest) * per));
    quotient = u32(i32(quotient) + more);
    rest -= more * i32(q);
    if rest < 0 {
        quotient -= 1u;
        rest += i32(q);
    } else if rest >= i32(q) {
        quotient += 1u;
        rest -= i32(q);
    }
    // To the nearest; no quotient lies in the middle.
    quotient += select(0u, 1u, 2 * rest > i32(q));
    let exponent = i32((x >> 23u) & 0xffu) - i32((y >> 23u) & 0xffu) + 127 - i32(less);
    if (x & 0x7f800000u) == 0u || exponent < 1 {
        return bitcast<f32>(sign);
    }
    if exponent > 253 {
        return bitcast<f32>(sign | 0x7f7fffffu);
    }
    return bitcast<f32>(sign | ((u32(exponent - 1) << 23u) + quotient));
}

// 1 / d, and 0 for what is next to nothing.
fn reciprocal(d: f32) -> f32 {
    if abs(d) < LEAST {
        return 0.0;
    }
    return divide(1.0, d);
}

// a / b for a positive b, else 0; what is next to nothing is 0.
fn ratio(a: f32, b: f32) -> f32 {
    if b < LEAST {
        return 0.0;
    }
    let quotient = divide(a, b);
    return select(0.0, quotient, abs(quotient) >= LEAST);
}

// The nearest half-precision number, ties to even, saturating.
fn to_half(value: f32) -> f32 {
    let v = clamp(value, -65504.0, 65504.0);
    let bits = bitcast<u32>(v);
    let normal = bitcast<f32>((bits + 0x0fffu + ((bits >> 13u) & 1u)) & 0xffffe000u);
    let subnormal = sub(add(v, 0.75), 0.75);
    return select(normal, subnormal, abs(v) < 6.1035156e-5);
}

// The sixteen bits of a half-precision number.
fn half_bits(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    let magnitude = bits & 0x7fffffffu;
    let normal = (magnitude >> 13u) - (112u << 10u);
    let subnormal = u32(abs(v) * 16777216.0);
    return ((bits >> 16u) & 0x8000u) | select(normal, subnormal, magnitude < (113u << 23u));
}

// A weight as the searches may rely on it: finite, 0 or from 2^-60 to 10^9 in magnitude.
fn clean(bits: u32) -> f32 {
    let magnitude = bits & 0x7fffffffu;
    if magnitude >= 0x7f800000u || magnitude < (67u << 23u) {
        return 0.0;
    }
    return bitcast<f32>(min(magnitude, 0x4e6e6b28u) | (bits & 0x80000000u));
}
