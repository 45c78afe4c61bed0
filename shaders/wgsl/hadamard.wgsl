// Butterflies x <- scale * x H over lines of values that lie `stride` apart, in place, the signs of the channels first where they are asked
// for: what src/twin/hadamard.rs defines, in f32. A workgroup brings `lines` neighbouring lines into its memory in the order in which they lie.

struct Params {
    count: u32,
    size: u32,
    length: u32,
    stride: u32,
    lines: u32,
    signed: u32,
    scale: f32,
    padding: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> signs: array<f32>;             // one a channel of a row of `size`
@group(0) @binding(2) var<storage, read_write> x: array<f32>;           // `count` values, whole rows

const THREADS = 256u;

// lines x length values of it are used.
var<workgroup> tile: array<f32, 4096>;

// Which of the workgroup's lines, and which of its values, stands at i in the tile: neighbours there are neighbours in memory.
fn place(i: u32) -> vec2<u32> {
    if params.stride == 1u {
        return vec2<u32>(i / params.length, i % params.length);
    }
    return vec2<u32>(i % params.lines, i / params.lines);
}

fn address(line: u32, value: u32) -> u32 {
    return (line / params.stride * params.length + value) * params.stride + line % params.stride;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = workgroup.x * params.lines;
    let lines = params.count / params.length;
    let values = params.lines * params.length;
    for (var i = thread; i < values; i += THREADS) {
        let at = place(i);
        if first + at.x < lines {
            let source = address(first + at.x, at.y);
            var value = x[source];
            if params.signed != 0u {
                value *= signs[source % params.size];
            }
            tile[i] = value;
        }
    }
    // From a value of a line to the next one in the tile.
    let step = select(params.lines, 1u, params.stride == 1u);
    for (var half = step; half < step * params.length; half *= 2u) {
        workgroupBarrier();
        for (var pair = thread; pair < values / 2u; pair += THREADS) {
            let low = pair / half * 2u * half + pair % half;
            let a = tile[low];
            let b = tile[low + half];
            tile[low] = a + b;
            tile[low + half] = a - b;
        }
    }
    workgroupBarrier();
    for (var i = thread; i < values; i += THREADS) {
        let at = place(i);
        if first + at.x < lines {
            x[address(first + at.x, at.y)] = params.scale * tile[i];
        }
    }
}
