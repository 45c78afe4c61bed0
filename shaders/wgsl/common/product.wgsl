
// y = x W' (+ bias): what src/twin/matmul.rs defines. A workgroup makes 128 rows x 128 outputs, a thread 8 x 8 of them, eight columns a step
// through shared memory, the next step's values already on their way. `weight_at` and its binding are the kernel's own.

struct Params {
    rows: u32,
    x_row: u32,
    y_row: u32,
    outputs: u32,
    weight_row: u32,
    y_column: u32,
    y_columns: u32,
    bias_at: u32,
    inner: u32,
    column: u32,
    columns: u32,
    mode: u32,
    format: u32,
    row_bytes: u32,
    group: u32,
    bits: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

const SIDE = 128u;
const STEP = 8u;
// vec4 from one row of a tile to the next: two are used, and an odd number keeps rows in different banks.
const PITCH = 3u;
const ACCUMULATE = 1u;
const BIAS = 2u;

var<workgroup> x_tile: array<vec4<f32>, 384>;
var<workgroup> weight_tile: array<vec4<f32>, 384>;

// Four columns of a row of x, zero where there is none.
fn x_at(row: u32, column: u32) -> vec4<f32> {
    var values = vec4<f32>();
    if row < params.rows && column < params.inner {
        let at = (params.x_row + row) * params.columns + params.column + column;
        let left = params.inner - column;
        values.x = x[at];
        if left >= 4u {
            values = vec4<f32>(values.x, x[at + 1u], x[at + 2u], x[at + 3u]);
        } else {
            if left > 1u {
                values.y = x[at + 1u];
            }
            if left > 2u {
                values.z = x[at + 2u];
            }
        }
    }
    return values;
}

fn products(a: vec4<f32>, w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>, w3: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(dot(a, w0), dot(a, w1), dot(a, w2), dot(a, w3));
}

fn put(row: u32, output: u32, value: f32) {
    if row < params.rows && output < params.outputs {
        let at = (params.y_row + row) * params.y_columns + params.y_column + output;
        var total = value;
        if (params.mode & BIAS) != 0u {
            total += bias[params.bias_at + output];
        }
        if (params.mode & ACCUMULATE) != 0u {
            total += y[at];
        }
        y[at] = total;
    }
}

// Eight outputs of a row, sixteen apart.
fn put_row(row: u32, output: u32, low: vec4<f32>, high: vec4<f32>) {
    put(row, output, low.x);
    put(row, output + 16u, low.y);
    put(row, output + 32u, low.z);
    put(row, output + 48u, low.w);
    put(row, output + 64u, high.x);
    put(row, output + 80u, high.y);
    put(row, output + 96u, high.z);
    put(row, output + 112u, high.w);
}

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first_row = workgroup.x * SIDE;
    let first_output = workgroup.y * SIDE;
    // What this thread brings: four columns of one row of each tile.
    let brought = thread / 2u;
    let part = thread % 2u;
    let slot = brought * PITCH + part;

    var a0 = vec4<f32>();
    var a1 = vec4<f32>();
    var a2 = vec4<f32>();
    var a3 = vec4<f32>();
    var a4 = vec4<f32>();
    var a5 = vec4<f32>();
    var a6 = vec4<f32>();
    var a7 = vec4<f32>();
    var b0 = vec4<f32>();
    var b1 = vec4<f32>();
    var b2 = vec4<f32>();
    var b3 = vec4<f32>();
    var b4 = vec4<f32>();
    var b5 = vec4<f32>();
    var b6 = vec4<f32>();
    var b7 = vec4<f32>();

    var next_x = x_at(first_row + brought, part * 4u);
    var next_weight = weight_at(first_output + brought, part * 4u);
    for (var column = 0u; column < params.inner; column += STEP) {
        x_tile[slot] = next_x;
        weight_tile[slot] = next_weight;
        workgroupBarrier();
        let next = column + STEP + part * 4u;
        next_x = x_at(first_row + brought, next);
        next_weight = weight_at(first_output + brought, next);
        for (var d = 0u; d < 2u; d += 1u) {
            let at = local.x * PITCH + d;
            let w0 = weight_tile[at];
            let w1 = weight_tile[at + 16u * PITCH];
            let w2 = weight_tile[at + 32u * PITCH];
            let w3 = weight_tile[at + 48u * PITCH];
            let w4 = weight_tile[at + 64u * PITCH];
            let w5 = weight_tile[at + 80u * PITCH];
            let w6 = weight_tile[at + 96u * PITCH];
            let w7 = weight_tile[at + 112u * PITCH];
            let row_at = local.y * PITCH + d;
            var v = x_tile[row_at];
            a0 += products(v, w0, w1, w2, w3);
            b0 += products(v, w4, w5, w6, w7);
            v = x_tile[row_at + 16u * PITCH];
            a1 += products(v, w0, w1, w2, w3);
            b1 += products(v, w4, w5, w6, w7);
            v = x_tile[row_at + 32u * PITCH];
            a2 += products(v, w0, w1, w2, w3);
            b2 += products(v, w4, w5, w6, w7);
            v = x_tile[row_at + 48u * PITCH];
            a3 += products(v, w0, w1, w2, w3);
            b3 += products(v, w4, w5, w6, w7);
            v = x_tile[row_at + 64u * PITCH];
            a4 += products(v, w0, w1, w2, w3);
            b4 += products(v, w4, w5, w6, w7);
            v = x_tile[row_at + 80u * PITCH];
            a5 += products(v, w0, w1, w2, w3);
            b5 += products(v, w4, w5, w6, w7);
            v = x_tile[row_at + 96u * PITCH];
            a6 += products(v, w0, w1, w2, w3);
            b6 += products(v, w4, w5, w6, w7);
            v = x_tile[row_at + 112u * PITCH];
            a7 += products(v, w0, w1, w2, w3);
            b7 += products(v, w4, w5, w6, w7);
        }
        workgroupBarrier();
    }

    let row = first_row + local.y;
    let output = first_output + local.x;
    put_row(row, output, a0, b0);
    put_row(row + 16u, output, a1, b1);
    put_row(row + 32u, output, a2, b2);
    put_row(row + 48u, output, a3, b3);
    put_row(row + 64u, output, a4, b4);
    put_row(row + 80u, output, a5, b5);
    put_row(row + 96u, output, a6, b6);
    put_row(row + 112u, output, a7, b7);
}
