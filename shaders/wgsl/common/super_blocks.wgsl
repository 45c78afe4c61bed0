// What kernels of super-blocks share: 256 weights, sub-blocks of 16 or 32. A workgroup has two super-blocks; those with sub-blocks of 16 go one
// after the other.

var<workgroup> piece_values: array<f32, 16>;
// Weights of a sub-block. It lies in shared memory so that no compiler can know it: lavapipe compiles a shader again for the uniforms of a
// dispatch, and unrolled the loops of a known length for 12 seconds, each time.
var<workgroup> shared_width: u32;
var<private> own_width: u32;

fn width() -> u32 {
    return own_width;
}

fn begin_super_blocks(index: u32) {
    begin(index);
    if index == 0u {
        shared_width = select(32u, 16u, params.format == Q2_K || params.format == Q3_K || params.format == Q6_K);
    }
    own_width = workgroupUniformLoad(&shared_width);
}

// Sums a value of each sub-block over the super-block, in order.
fn block_sum(v: f32) -> f32 {
    if lane == 0u {
        piece_values[piece] = v;
    }
    workgroupBarrier();
    let pieces = 256u / width();
    let first = piece / pieces * pieces;
    var sum = 0.0;
    for (var s = 0u; s < pieces; s += 1u) {
        sum = add(sum, piece_values[first + s]);
    }
    workgroupBarrier();
    return sum;
}

// The value of largest magnitude, with its sign.
fn block_extreme(v: f32) -> f32 {
    if lane == 0u {
        piece_values[piece] = v;
    }
    workgroupBarrier();
    let pieces = 256u / width();
    let first = piece / pieces * pieces;
    var low = 0.0;
    var high = 0.0;
    for (var s = 0u; s < pieces; s += 1u) {
        low = min(low, piece_values[first + s]);
        high = max(high, piece_values[first + s]);
    }
    workgroupBarrier();
    return select(low, high, high > -low);
}
