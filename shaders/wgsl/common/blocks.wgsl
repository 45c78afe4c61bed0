// What kernels that encode blocks share: a workgroup has sixteen sub-blocks of `width()` weights, and each sub-block sixteen lanes, one for a
// candidate. Sums over the weights are made by a lane alone, in their order.

struct Params {
    format: u32,
    blocks: u32,
    blocks_per_row: u32,
    first_block: u32,
    weighted: u32,
    factor: u32,
    zero: u32,
    columns: u32,
    block_bytes: u32,
    bits: u32,
    symmetric: u32,
    least_share: f32,
    step: f32,
    mantissa_bits: u32,
    least_exponent: u32,
    top_exponent: u32,
    top: f32,
    padding_0: u32,
    padding_1: u32,
    padding_2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<u32>;            // bits of f32
@group(0) @binding(2) var<storage, read> importance: array<f32>;         // one a column, normalised within a block
@group(0) @binding(3) var<storage, read_write> encoded: array<atomic<u32>>;      // bytes of the blocks

const LANES = 16u;
const THREADS = 256u;
// A sub-block's place in shared memory; odd, so that sub-blocks lie in different banks.
const STRIDE = 33u;

// Numbers of the types, ggml's own.
const Q4_0 = 2u;
const Q4_1 = 3u;
const Q5_0 = 6u;
const Q5_1 = 7u;
const Q8_0 = 8u;
const Q2_K = 10u;
const Q3_K = 11u;
const Q4_K = 12u;
const Q5_K = 13u;
const Q6_K = 14u;
const IQ4_NL = 20u;
const IQ4_XS = 23u;
const MXFP4 = 39u;
const NVFP4 = 40u;
// None of ggml's: small floats under a power of two.
const MX = 1000u;

var<workgroup> xs: array<f32, 528>;
var<workgroup> ws: array<f32, 528>;
var<workgroup> lane_values: array<f32, THREADS>;
var<workgroup> bytes: array<atomic<u32>, 136>;

var<private> thread: u32;
var<private> lane: u32;
var<private> piece: u32;    // which of the workgroup's sub-blocks
var<private> at: u32;       // where its weights lie in shared memory

struct Winner {
    lane: u32,
    value: f32,
}

fn begin(index: u32) {
    thread = index;
    lane = index % LANES;
    piece = index / LANES;
    at = piece * STRIDE;
}

// Brings `width` weights of sixteen sub-blocks into shared memory, from this weight of the dispatch on, `stride` apart; zeros after the last
// block. Importances are at least `least`.
fn load(first: u32, width: u32, stride: u32, least: f32) {
    workgroupBarrier();
    let factor = bitcast<f32>(params.factor);
    for (var i = lane; i < width; i += LANES) {
        let index = first + piece * stride + i;
        var x = 0.0;
        var w = 1.0;
        if index < params.blocks * params.columns {
            let bits = weights[index];
            x = clean(bits);
            if params.factor != 0x3f800000u {
                let finite = bitcast<f32>(min(bits & 0x7fffffffu, 0x4e6e6b28u) | (bits & 0x80000000u));
                let scaled = mul(select(finite, 0.0, (bits & 0x7f800000u) == 0x7f800000u), factor);
                x = clean(bitcast<u32>(scaled));
            }
            if params.weighted != 0u {
                w = importance[(params.first_block * params.columns + index) % (params.blocks_per_row * params.columns)];
            }
        }
        xs[at + i] = x;
        ws[at + i] = max(w, least);
    }
    workgroupBarrier();
}

// Four of sixteen lanes, as `fold` in src/lanes.rs pairs them.
fn four_lanes(first: u32) -> f32 {
    return add(add(lane_values[first], lane_values[first + 8u]), add(lane_values[first + 4u], lane_values[first + 12u]));
}

// The sum over the lanes of a sub-block, for all of them.
fn lane_sum(v: f32) -> f32 {
    lane_values[thread] = v;
    workgroupBarrier();
    let own = piece * LANES;
    let sum = add(add(four_lanes(own), four_lanes(own + 2u)), add(four_lanes(own + 1u), four_lanes(own + 3u)));
    workgroupBarrier();
    return sum;
}

// The lane of the smallest value, the first of equals.
fn winner(v: f32) -> Winner {
    lane_values[thread] = v;
    workgroupBarrier();
    var best = Winner(0u, lane_values[piece * LANES]);
    for (var c = 1u; c < LANES; c += 1u) {
        let value = lane_values[piece * LANES + c];
        if value < best.value {
            best = Winner(c, value);
        }
    }
    workgroupBarrier();
    return best;
}

// A lane's value, for all lanes of its sub-block.
fn of_lane(v: f32, which: u32) -> f32 {
    lane_values[thread] = v;
    workgroupBarrier();
    let value = lane_values[piece * LANES + which];
    workgroupBarrier();
    return value;
}

// The smallest and the largest weight of the sub-block, and `start`.
fn weight_range(start: f32, width: u32) -> vec2<f32> {
    var range = vec2<f32>(start);
    for (var i = 0u; i < width; i += 1u) {
        let x = xs[at + i];
        range = vec2<f32>(min(range.x, x), max(range.y, x));
    }
    return range;
}

// The weight of largest magnitude, with its sign.
fn weight_extreme(width: u32) -> f32 {
    let range = weight_range(0.0, width);
    return select(range.x, range.y, range.y > -range.x);
}

fn clear_bytes() {
    for (var i = thread; i < 136u; i += THREADS) {
        atomicStore(&bytes[i], 0u);
    }
    workgroupBarrier();
}

// Bits of a byte that are still 0.
fn put(byte: u32, value: u32) {
    atomicOr(&bytes[byte / 4u], value << (8u * (byte % 4u)));
}

// A half-precision number at an even byte.
fn put_half(byte: u32, value: f32) {
    atomicOr(&bytes[byte / 4u], half_bits(value) << (8u * (byte % 4u)));
}

// Writes what the workgroup made, whole words.
fn write_bytes(workgroup: u32, words: u32) {
    workgroupBarrier();
    for (var i = thread; i < words; i += THREADS) {
        // Workgroups in two axes may be more than are needed.
        if workgroup * words + i < arrayLength(&encoded) {
            atomicStore(&encoded[workgroup * words + i], atomicLoad(&bytes[i]));
        }
    }
}

// The nearest of the values of IQ4 (src/levels.rs).
fn iq4_level(v: f32) -> f32 {
    var level = -127.0;
    level += select(0.0, 23.0, v > -115.5);
    level += select(0.0, 21.0, v > -93.5);
    level += select(0.0, 18.0, v > -74.0);
    level += select(0.0, 16.0, v > -57.0);
    level += select(0.0, 14.0, v > -42.0);
    level += select(0.0, 13.0, v > -28.5);
    level += select(0.0, 12.0, v > -16.0);
    level += select(0.0, 11.0, v > -4.5);
    level += select(0.0, 12.0, v > 7.0);
    level += select(0.0, 12.0, v > 19.0);
    level += select(0.0, 13.0, v > 31.5);
    level += select(0.0, 15.0, v > 45.5);
    level += select(0.0, 16.0, v > 61.0);
    level += select(0.0, 20.0, v > 79.0);
    level += select(0.0, 24.0, v > 101.0);
    return level;
}

fn iq4_code(v: f32) -> u32 {
    var code = select(0u, 1u, v > -115.5) + select(0u, 1u, v > -93.5) + select(0u, 1u, v > -74.0) + select(0u, 1u, v > -57.0);
    code += select(0u, 1u, v > -42.0) + select(0u, 1u, v > -28.5) + select(0u, 1u, v > -16.0) + select(0u, 1u, v > -4.5);
    code += select(0u, 1u, v > 7.0) + select(0u, 1u, v > 19.0) + select(0u, 1u, v > 31.5) + select(0u, 1u, v > 45.5);
    return code + select(0u, 1u, v > 61.0) + select(0u, 1u, v > 79.0) + select(0u, 1u, v > 101.0);
}
