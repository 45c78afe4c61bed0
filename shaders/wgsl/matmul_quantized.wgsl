// The weights of a product as they are stored, decoded on their way into the tile: what src/twin/matmul_quantized.rs defines; the product
// itself is common/product.wgsl. Four columns never leave a block, and rows are whole blocks.

@group(0) @binding(2) var<storage, read> weights: array<u32>;

const F16 = 0u;
const BF16 = 1u;
const Q4_0 = 2u;
const Q8_0 = 3u;
const Q4_K = 4u;
const Q5_K = 5u;
const Q6_K = 6u;
const INT = 7u;
const INT_WITH_ZERO = 8u;

// Four bytes from any place, the first the lowest.
fn word(at: u32) -> u32 {
    let index = at >> 2u;
    let shift = (at & 3u) * 8u;
    let low = weights[index] >> shift;
    if shift == 0u {
        return low;
    }
    return low | (weights[min(index + 1u, arrayLength(&weights) - 1u)] << (32u - shift));
}

fn half_at(at: u32) -> f32 {
    return half(word(at) & 0xffffu);
}

fn nibbles(word: u32) -> vec4<f32> {
    return vec4<f32>((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u));
}

fn signed_byte(word: u32, index: u32) -> f32 {
    return f32(bitcast<i32>(word << (24u - 8u * index)) >> 24u);
}

// The 6-bit scale and minimum of a run of 32 in Q4_K and Q5_K.
fn scale_and_minimum(at: u32, run: u32) -> vec2<f32> {
    let i = run & 3u;
    let first = (word(at + i) & 0xffu);
    let second = (word(at + 4u + i) & 0xffu);
    if run < 4u {
        return vec2<f32>(f32(first & 63u), f32(second & 63u));
    }
    let third = (word(at + 8u + i) & 0xffu);
    return vec2<f32>(f32((third & 15u) | ((first >> 6u) << 4u)), f32((third >> 4u) | ((second >> 6u) << 4u)));
}

fn decode(row: u32, column: u32) -> vec4<f32> {
    let at = row * params.row_bytes;
    switch params.format {
        case F16: {
            let low = word(at + column * 2u);
            let high = word(at + column * 2u + 4u);
            return vec4<f32>(two_halves(low), two_halves(high));
        }
        case BF16: {
            let low = word(at + column * 2u);
            let high = word(at + column * 2u + 4u);
            return bitcast<vec4<f32>>(vec4<u32>(low << 16u, low & 0xffff0000u, high << 16u, high & 0xffff0000u));
        }
        case Q4_0: {
            let block = at + column / 32u * 18u;
            let j = column % 32u;
            let codes = word(block + 2u + (j & 15u)) >> ((j >> 4u) * 4u);
            return half_at(block) * (nibbles(codes) - 8.0);
        }
        case Q8_0: {
            let block = at + column / 32u * 34u;
            let codes = word(block + 2u + column % 32u);
            return half_at(block) * vec4<f32>(signed_byte(codes, 0u), signed_byte(codes, 1u), signed_byte(codes, 2u), signed_byte(codes, 3u));
        }
        case Q4_K, Q5_K: {
            let is_five = params.format == Q5_K;
            let block = at + column / 256u * select(144u, 176u, is_five);
            let j = column % 256u;
            let scales = word(block);
            let of_run = scale_and_minimum(block + 4u, j / 32u);
            let codes = block + select(16u, 48u, is_five) + j / 64u * 32u + j % 32u;
            var levels = nibbles(word(codes) >> ((j / 32u & 1u) * 4u));
            if is_five {
                let top = word(block + 16u + j % 32u) >> (j / 32u);
                levels += 16.0 * vec4<f32>((vec4<u32>(top) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(1u));
            }
            let factors = two_halves(scales);
            return factors.x * of_run.x * levels - factors.y * of_run.y;
        }
        case Q6_K: {
            let block = at + column / 256u * 210u;
            let j = column % 256u;
            let side = j / 128u;
            let quarter = j % 128u / 32u;
            let l = j % 32u;
            let low = word(block + side * 64u + (quarter & 1u) * 32u + l) >> ((quarter >> 1u) * 4u);
            let high = word(block + 128u + side * 32u + l) >> (quarter * 2u);
            let top = vec4<f32>((vec4<u32>(high) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(3u));
            let scale = signed_byte(word(block + 192u + side * 8u + quarter * 2u + l / 16u), 0u);
            return half_at(block + 208u) * scale * (nibbles(low) + 16.0 * top - 32.0);
        }
        case INT, INT_WITH_ZERO: {
            let has_zero = params.format == INT_WITH_ZERO;
            let header = select(2u, 3u, has_zero);
            let block = at + column / params.group * (header + params.group * params.bits / 8u);
            let bit = column % params.group * params.bits;
            let start = block + header + bit / 8u;
            let shift = bit % 8u;
            let mask = (1u << params.bits) - 1u;
            // Four codes of at most 8 bits, of 8 bits always from a whole byte on.
            var codes = word(start) >> shift;
            if shift != 0u {
                codes |= word(start + 4u) << (32u - shift);
            }
            let levels = (vec4<u32>(codes) >> (vec4<u32>(0u, 1u, 2u, 3u) * params.bits)) & vec4<u32>(mask);
            let zero = select(1u << (params.bits - 1u), word(block + 2u) & 0xffu, has_zero);
            return half_at(block) * (vec4<f32>(levels) - f32(zero));
        }
        default: {
            return vec4<f32>();
        }
    }
}

fn weight_at(row: u32, column: u32) -> vec4<f32> {
    if row < params.outputs && column < params.inner {
        return decode(params.weight_row + row, params.column + column);
    }
    return vec4<f32>();
}
