// Multiplies and adds in registers: what src/twin/multiply_add.rs defines. It shows what the device's arithmetic can do; every other kernel
// is held against it.

struct Params {
    threads: u32,
    rounds: u32,
    factor: f32,
    addend: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;                  // one a thread
@group(0) @binding(2) var<storage, read_write> results: array<f32>;           // one a thread

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.threads {
        return;
    }
    // Eight chains of four, so that no unit waits for its own last result.
    let x = values[id.x];
    var a = vec4<f32>(x, x + 1.0, x + 2.0, x + 3.0);
    var b = a + 4.0;
    var c = a + 8.0;
    var d = a + 12.0;
    var e = a + 16.0;
    var f = a + 20.0;
    var g = a + 24.0;
    var h = a + 28.0;
    let factor = vec4<f32>(params.factor);
    let addend = vec4<f32>(params.addend);
    for (var i = 0u; i < params.rounds; i += 1u) {
        a = fma(a, factor, addend);
        b = fma(b, factor, addend);
        c = fma(c, factor, addend);
        d = fma(d, factor, addend);
        e = fma(e, factor, addend);
        f = fma(f, factor, addend);
        g = fma(g, factor, addend);
        h = fma(h, factor, addend);
    }
    let sum = (a + b) + (c + d) + (e + f) + (g + h);
    results[id.x] = sum.x + sum.y + sum.z + sum.w;
}
