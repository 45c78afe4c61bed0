// Rows of a table by their numbers: what src/twin/embedding.rs defines. A thread a value; rows outside the piece of the table that is bound
// are left as they are.

struct Params {
    count: u32,
    columns: u32,
    first_row: u32,
    rows: u32,
    scale: f32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<f32>;              // rows x columns, from first_row on
@group(0) @binding(2) var<storage, read> numbers: array<u32>;            // count
@group(0) @binding(3) var<storage, read_write> y: array<f32>;            // count x columns

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = (workgroup.y * grid.x + workgroup.x) * 256u + thread;
    if index >= params.count * params.columns {
        return;
    }
    let row = numbers[index / params.columns];
    if row >= params.first_row && row - params.first_row < params.rows {
        y[index] = table[(row - params.first_row) * params.columns + index % params.columns] * params.scale;
    }
}
