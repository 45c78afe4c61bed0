// Copies: what src/twin/stream_copy.rs defines. It shows what the device's memory can do; every other kernel is held against it.

struct Params {
    count: u32,
    stride: u32,
    padding_a: u32,
    padding_b: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> copies: array<vec4<u32>>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    for (var i = id.x; i < params.count; i += params.stride) {
        copies[i] = values[i];
    }
}
