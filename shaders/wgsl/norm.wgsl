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

alias Value = f32;

@compute @workgroup_size(64)
fn main(place: Place) {
    let thread = place.thread;
    let row = place.workgroup.y * place.grid.x + place.workgroup.x;
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
        mean = total(place, sum) / f32(params.columns);
    }
    var squares = 0.0;
    for (var i = thread; i < params.columns; i += THREADS) {
        let value = x[first + i] - mean;
        squares += value * value;
    }
    let scale = 1.0 / sqrt(total(place, squares) / f32(params.columns) + params.eps);
    for (var i = thread; i < params.columns; i += THREADS) {
        var value = (x[first + i] - mean) * scale * gamma[i];
        if params.centred != 0u {
            value += beta[i];
        }
        y[first + i] = value;
    }
}
