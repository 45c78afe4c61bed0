// The inputs of a product as a runtime rounds them: what src/twin/round_inputs.rs defines. A workgroup has 256 columns of a row.

struct Params {
    rows: u32,
    columns: u32,
    rounding: u32,
    padding: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;                  // bits of f32, rows x columns
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

const F16 = 0u;
const BF16 = 1u;
const Q8_0 = 2u;
const Q8_K = 3u;
const THREADS = 256u;

var<workgroup> largest: array<f32, THREADS>;

// Bits of the nearest half, ties to even, as bits of f32.
fn to_half(bits: u32) -> u32 {
    let sign = bits & 0x80000000u;
    let size = bits & 0x7fffffffu;
    if size > 0x7f800000u {
        return bits;
    }
    if size >= 0x477ff000u {
        return sign | 0x7f800000u;
    }
    if size < 0x38800000u {
        // Below 2^-14 halves are whole numbers of 2^-24.
        return sign | bitcast<u32>(round(bitcast<f32>(size) * 16777216.0) * 5.9604644775390625e-8);
    }
    return sign | ((size + 0x0fffu + ((size >> 13u) & 1u)) & 0xffffe000u);
}

fn to_bfloat(bits: u32) -> u32 {
    if (bits & 0x7fffffffu) > 0x7f800000u {
        return bits;
    }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) & 0xffff0000u;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let segments = (params.columns + THREADS - 1u) / THREADS;
    let segment = workgroup.y * grid.x + workgroup.x;
    if segment >= params.rows * segments {
        return;
    }
    let column = segment % segments * THREADS + thread;
    let at = segment / segments * params.columns + column;
    let inside = column < params.columns;
    var bits = 0u;
    if inside {
        bits = x[at];
    }
    if params.rounding == F16 {
        bits = to_half(bits);
    } else if params.rounding == BF16 {
        bits = to_bfloat(bits);
    } else {
        let value = bitcast<f32>(bits);
        let block = select(256u, 32u, params.rounding == Q8_0);
        largest[thread] = value;
        workgroupBarrier();
        for (var half = block / 2u; half > 0u; half /= 2u) {
            // Of two that are equally large, the first.
            if thread % block < half && abs(largest[thread + half]) > abs(largest[thread]) {
                largest[thread] = largest[thread + half];
            }
            workgroupBarrier();
        }
        let extreme = largest[thread - thread % block];
        if extreme != 0.0 {
            if params.rounding == Q8_0 {
                let size = abs(extreme);
                let scale = bitcast<f32>(to_half(bitcast<u32>(size / 127.0)));
                bits = bitcast<u32>(round(value * (127.0 / size)) * scale);
            } else {
                let steps = -127.0 / extreme;
                bits = bitcast<u32>(min(round(value * steps), 127.0) * (1.0 / steps));
            }
        }
    }
    if inside {
        y[at] = bits;
    }
}
