// RMSNorm and LayerNorm of rows: what src/twin/norm.rs defines. A workgroup a row.

struct Params {
    rows: u32,
    columns: u32,
    centred: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;              // rows x columns
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> beta: array<f32>;           // only where centred
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

const THREADS = 64u;

var<workgroup> sums: array<f32, THREADS>;

// The sum over the workgroup, for all of its threads.
fn total(thread: u32, value: f32) -> f32 {
    workgroupBarrier();
    sums[thread] = value;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if thread < half {
            sums[thread] += sums[thread + half];
        }
        workgroupBarrier();
    }
    return sums[0];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = workgroup.y * grid.x + workgroup.x;
    if row >= params.rows {
        return;
    }
    let first = row * params.columns;
    var mean = 0.0;
    if params.centred != 0u {
        var sum = 0.0;
        for (var i = thread; i < params.columns; i += THREADS) {
            sum += x[first + i];
        }
        mean = total(thread, sum) / f32(params.columns);
    }
    var squares = 0.0;
    for (var i = thread; i < params.columns; i += THREADS) {
        let value = x[first + i] - mean;
        squares += value * value;
    }
    let scale = 1.0 / sqrt(total(thread, squares) / f32(params.columns) + params.eps);
    for (var i = thread; i < params.columns; i += THREADS) {
        var value = (x[first + i] - mean) * scale * gamma[i];
        if params.centred != 0u {
            value += beta[i];
        }
        y[first + i] = value;
    }
}
