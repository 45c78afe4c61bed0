// Rows of tr(D H D'): what src/twin/layer_error.rs defines, in f32. A thread makes a 4 x 4 block of D H' from rows of both operands and
// multiplies it with D; a workgroup (32 rows of D, 32 rows of H) leaves one partial for each of its rows, which the host adds up.

struct Params {
    rows: u32,
    columns: u32,
    first_hessian_row: u32,
    hessian_rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> difference: array<f32>;         // rows x columns
@group(0) @binding(2) var<storage, read> hessian: array<f32>;            // hessian_rows x columns
@group(0) @binding(3) var<storage, read_write> partials: array<f32>;     // ceil(hessian_rows / 32) x rows

const SIDE = 8u;

var<workgroup> sums: array<vec4<f32>, 64>;

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let row = (workgroup.x * SIDE + local.x) * 4u;
    let hessian_row = (workgroup.y * SIDE + local.y) * 4u;

    // Rows past the end are read from the last one and not used.
    var row_at: vec4<u32>;
    var hessian_at: vec4<u32>;
    for (var k = 0u; k < 4u; k += 1u) {
        row_at[k] = min(row + k, params.rows - 1u) * params.columns;
        hessian_at[k] = min(hessian_row + k, params.hessian_rows - 1u) * params.columns;
    }
    var block = mat4x4<f32>();
    for (var i = 0u; i < params.columns; i += 1u) {
        let d = vec4<f32>(difference[row_at.x + i], difference[row_at.y + i], difference[row_at.z + i], difference[row_at.w + i]);
        block[0] += d * hessian[hessian_at.x + i];
        block[1] += d * hessian[hessian_at.y + i];
        block[2] += d * hessian[hessian_at.z + i];
        block[3] += d * hessian[hessian_at.w + i];
    }
    var sum = vec4<f32>();
    for (var j = 0u; j < 4u; j += 1u) {
        if hessian_row + j < params.hessian_rows {
            let column = params.first_hessian_row + hessian_row + j;
            sum += block[j] * vec4<f32>(difference[row_at.x + column], difference[row_at.y + column], difference[row_at.z + column], difference[row_at.w + column]);
        }
    }
    sums[local.x * SIDE + local.y] = sum;
    workgroupBarrier();
    if local.y == 0u {
        for (var y = 1u; y < SIDE; y += 1u) {
            sum += sums[local.x * SIDE + y];
        }
        for (var k = 0u; k < 4u; k += 1u) {
            if row + k < params.rows {
                partials[workgroup.y * params.rows + row + k] = sum[k];
            }
        }
    }
}
