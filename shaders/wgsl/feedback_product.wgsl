// C = A' D over the columns that are not being rounded: what src/twin/feedback_product.rs defines, in f32. A workgroup makes 32 columns x 32
// rows of C; both operands lie with the summed index outermost, so every load is of neighbours.

struct Params {
    rows: u32,
    columns: u32,
    first: u32,
    width: u32,
    begin: u32,
    end: u32,
    skip_begin: u32,
    skip_end: u32,
    accumulate: u32,
    padding_a: u32,
    padding_b: u32,
    padding_c: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> matrix: array<f32>;                 // slab rows x columns
@group(0) @binding(2) var<storage, read> delta: array<f32>;                  // slab rows x rows
@group(0) @binding(3) var<storage, read_write> corrections: array<f32>;      // width x rows

const SIDE = 32u;
const DEPTH = 16u;

var<workgroup> left: array<f32, 512>;
var<workgroup> right: array<f32, 512>;

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let column_base = workgroup.y * SIDE;
    let row_base = workgroup.x * SIDE;
    var sums = mat4x4<f32>();
    for (var start = params.begin; start < params.end; start += DEPTH) {
        workgroupBarrier();
        for (var i = thread; i < DEPTH * SIDE; i += 64u) {
            let k = start + i / SIDE;
            let c = column_base + i % SIDE;
            let r = row_base + i % SIDE;
            let counts = k < params.end && (k < params.skip_begin || k >= params.skip_end);
            var a = 0.0;
            if counts && c < params.width {
                a = matrix[k * params.columns + params.first + c];
            }
            left[i] = a;
            var d = 0.0;
            if counts && r < params.rows {
                d = delta[k * params.rows + r];
            }
            right[i] = d;
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k += 1u) {
            let at = k * SIDE + local.y * 4u;
            let d = k * SIDE + local.x * 4u;
            let row = vec4<f32>(right[d], right[d + 1u], right[d + 2u], right[d + 3u]);
            sums[0] += left[at] * row;
            sums[1] += left[at + 1u] * row;
            sums[2] += left[at + 2u] * row;
            sums[3] += left[at + 3u] * row;
        }
    }
    for (var c = 0u; c < 4u; c += 1u) {
        for (var r = 0u; r < 4u; r += 1u) {
            let column = column_base + local.y * 4u + c;
            let row = row_base + local.x * 4u + r;
            if column < params.width && row < params.rows {
                let at = column * params.rows + row;
                if params.accumulate != 0u {
                    corrections[at] += sums[c][r];
                } else {
                    corrections[at] = sums[c][r];
                }
            }
        }
    }
}
