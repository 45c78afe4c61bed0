// Adds X'X to the lower triangle of a matrix: what src/twin/gram.rs defines. A workgroup makes 128 x 128 entries, a thread 8 x 8 of them,
// eight tokens a step through shared memory; workgroups above the diagonal have nothing to do.

struct Params {
    tokens: u32,
    columns: u32,
    first_row: u32,
    row: u32,
    rows: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;              // tokens x columns
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;     // rows x columns, the first of them first_row of the matrix

const SIDE = 128u;
const STEP = 8u;

var<workgroup> row_tile: array<vec4<f32>, 256>;
var<workgroup> column_tile: array<vec4<f32>, 256>;

fn x_at(token: u32, column: u32) -> vec4<f32> {
    var values = vec4<f32>();
    if token < params.tokens && column < params.columns {
        let at = token * params.columns + column;
        let left = params.columns - column;
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

fn put(row: u32, column: u32, value: f32) {
    if row < params.rows && column <= params.first_row + row {
        sums[row * params.columns + column] += value;
    }
}

fn put_row(row: u32, column: u32, low: vec4<f32>, high: vec4<f32>) {
    put(row, column, low.x);
    put(row, column + 1u, low.y);
    put(row, column + 2u, low.z);
    put(row, column + 3u, low.w);
    put(row, column + 64u, high.x);
    put(row, column + 65u, high.y);
    put(row, column + 66u, high.z);
    put(row, column + 67u, high.w);
}

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first_column = workgroup.x * SIDE;
    let first_row = params.row + workgroup.y * SIDE;
    if first_column > params.first_row + first_row + SIDE - 1u {
        return;
    }
    let brought = thread / 32u;
    let part = thread % 32u;

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

    let row_column = params.first_row + first_row + part * 4u;
    let column_column = first_column + part * 4u;
    var next_row = x_at(brought, row_column);
    var next_column = x_at(brought, column_column);
    for (var token = 0u; token < params.tokens; token += STEP) {
        row_tile[thread] = next_row;
        column_tile[thread] = next_column;
        workgroupBarrier();
        next_row = x_at(token + STEP + brought, row_column);
        next_column = x_at(token + STEP + brought, column_column);
        for (var d = 0u; d < STEP; d += 1u) {
            let r = row_tile[d * 32u + local.y];
            let s = row_tile[d * 32u + 16u + local.y];
            let c = column_tile[d * 32u + local.x];
            let e = column_tile[d * 32u + 16u + local.x];
            a0 += r.x * c;
            b0 += r.x * e;
            a1 += r.y * c;
            b1 += r.y * e;
            a2 += r.z * c;
            b2 += r.z * e;
            a3 += r.w * c;
            b3 += r.w * e;
            a4 += s.x * c;
            b4 += s.x * e;
            a5 += s.y * c;
            b5 += s.y * e;
            a6 += s.z * c;
            b6 += s.z * e;
            a7 += s.w * c;
            b7 += s.w * e;
        }
        workgroupBarrier();
    }

    let row = first_row + local.y * 4u;
    let column = first_column + local.x * 4u;
    put_row(row, column, a0, b0);
    put_row(row + 1u, column, a1, b1);
    put_row(row + 2u, column, a2, b2);
    put_row(row + 3u, column, a3, b3);
    put_row(row + 64u, column, a4, b4);
    put_row(row + 65u, column, a5, b5);
    put_row(row + 66u, column, a6, b6);
    put_row(row + 67u, column, a7, b7);
}
