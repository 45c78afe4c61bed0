// Adds rows to rows, to all in order or, with a share each, to those that a list names: what src/twin/add.rs defines. A thread a value.

struct Params {
    rows: u32,
    columns: u32,
    listed: u32,
    padding: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;                  // rows x columns
@group(0) @binding(2) var<storage, read> list: array<vec2<u32>>;         // a row of x, each once, and bits of its share; only where listed
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = (workgroup.y * grid.x + workgroup.x) * 256u + thread;
    if index >= params.rows * params.columns {
        return;
    }
    if params.listed == 0u {
        x[index] += y[index];
    } else {
        let entry = list[index / params.columns];
        x[entry.x * params.columns + index % params.columns] += bitcast<f32>(entry.y) * y[index];
    }
}
