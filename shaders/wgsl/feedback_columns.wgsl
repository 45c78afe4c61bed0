// Rounds the columns of a panel one after the other: what src/twin/feedback_columns.rs defines. A thread has a row; neighbours in a
// workgroup have neighbouring rows, so that every load is coalesced, and the matrix is the same for all of them.

struct Params {
    rows: u32,
    columns: u32,
    first: u32,
    line: u32,
    width: u32,
    levels: u32,
    low: f32,
    padding: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> matrix: array<f32>;               // slab lines x columns
@group(0) @binding(2) var<storage, read> corrections: array<f32>;          // width x rows
@group(0) @binding(3) var<storage, read> weights: array<f32>;              // slab lines x rows
@group(0) @binding(4) var<storage, read> scales: array<f32>;               // slab lines x rows
@group(0) @binding(5) var<storage, read> offsets: array<f32>;              // slab lines x rows
@group(0) @binding(6) var<storage, read> levels: array<f32>;               // rising; none for integers
@group(0) @binding(7) var<storage, read_write> delta: array<f32>;          // slab lines x rows
@group(0) @binding(8) var<storage, read_write> indices: array<u32>;        // slab lines x rows

// The index of the nearest level: of the last one whose middle with the level below lies under the position.
fn nearest(position: f32) -> u32 {
    var below = 0u;
    var above = params.levels - 1u;
    while below < above {
        let middle = (below + above + 1u) / 2u;
        if position > 0.5 * (levels[middle - 1u] + levels[middle]) {
            below = middle;
        } else {
            above = middle - 1u;
        }
    }
    return below;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    if row >= params.rows {
        return;
    }
    for (var j = 0u; j < params.width; j += 1u) {
        let at = (params.line + j) * params.rows + row;
        var correction = corrections[j * params.rows + row];
        // Four at a time: a software device stops a shader after 65,535 rounds of all its loops together.
        for (var k = params.line; k < params.line + params.width; k += 4u) {
            let a = k * params.columns + params.first + j;
            let d = k * params.rows + row;
            correction += matrix[a] * delta[d];
            correction += matrix[a + params.columns] * delta[d + params.rows];
            correction += matrix[a + 2u * params.columns] * delta[d + 2u * params.rows];
            correction += matrix[a + 3u * params.columns] * delta[d + 3u * params.rows];
        }
        let scale = scales[at];
        var position = 0.0;
        if scale != 0.0 {
            position = (weights[at] - correction - offsets[at]) / scale;
        }
        var index = 0u;
        var level = 0.0;
        if params.low < 0.5 {
            // Integers from low on.
            let highest = params.low + f32(params.levels - 1u);
            level = round(clamp(position, params.low, highest));
            index = u32(level - params.low);
        } else {
            index = nearest(position);
            level = levels[index];
        }
        delta[at] = scale * level + offsets[at] - weights[at];
        indices[at] = index;
    }
}
