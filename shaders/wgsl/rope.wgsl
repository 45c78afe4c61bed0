// Rotary positions: what src/twin/rope.rs defines. A thread a pair of channels.

struct Params {
    tokens: u32,
    heads: u32,
    dim: u32,
    pairs: u32,
    interleaved: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> angles: array<vec2<f32>>;       // positions x pairs: cosine, sine
@group(0) @binding(2) var<storage, read> positions: array<u32>;          // a row of angles for each token
@group(0) @binding(3) var<storage, read_write> x: array<f32>;            // tokens x (heads x dim)

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = (workgroup.y * grid.x + workgroup.x) * 256u + thread;
    if index >= params.tokens * params.heads * params.pairs {
        return;
    }
    let pair = index % params.pairs;
    let head = index / params.pairs;
    let turn = angles[positions[head / params.heads] * params.pairs + pair];
    let first = head * params.dim + select(pair, pair * 2u, params.interleaved != 0u);
    let second = first + select(params.pairs, 1u, params.interleaved != 0u);
    let a = x[first];
    let b = x[second];
    x[first] = a * turn.x - b * turn.y;
    x[second] = a * turn.y + b * turn.x;
}
