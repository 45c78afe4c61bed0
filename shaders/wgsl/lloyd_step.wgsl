// One Lloyd step: counts, weights and weighted sums of the values nearest to each level, as src/twin/lloyd_step.rs defines them. Counts are
// equal to the twin's, since a product decides and not a quotient; each workgroup leaves f32 partials. A thread has a column of its own in
// the workgroup's memory, so that nothing is atomic before the end and sums have one order.

struct Params {
    count: u32,
    per_workgroup: u32,
    group: u32,
    first_in_group: u32,
    columns: u32,
    first_column: u32,
    levels: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<u32>;                    // bits of f32
@group(0) @binding(2) var<storage, read> scales: array<f32>;                    // one a group
@group(0) @binding(3) var<storage, read> importance: array<f32>;                // one a column, where there are columns
@group(0) @binding(4) var<storage, read> boundaries: array<f32>;                // levels - 1
@group(0) @binding(5) var<storage, read_write> counts: array<atomic<u32>>;      // one a level
@group(0) @binding(6) var<storage, read_write> partials: array<vec2<f32>>;      // weight and weighted sum: one a workgroup and level

const THREADS = 64u;
// 2^-60 and 2^-100.
const LEAST_SCALE = 8.673617379884035e-19f;
const LEAST = 7.888609052210118e-31f;

var<workgroup> sums: array<vec2<f32>, 1024>;
var<workgroup> found: array<u32, 1024>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = workgroup.x * params.per_workgroup;
    let end = min(first + params.per_workgroup, params.count);
    for (var i = first + thread; i < end; i += THREADS) {
        let bits = values[i];
        let scale = scales[(params.first_in_group + i) / params.group];
        if (bits & 0x7fffffffu) < 0x7f800000u && scale >= LEAST_SCALE {
            var value = bitcast<f32>(bits);
            value = select(value, 0.0, abs(value) < LEAST);
            var level = 0u;
            for (var half = params.levels / 2u; half > 0u; half /= 2u) {
                if value >= boundaries[level + half - 1u] * scale {
                    level += half;
                }
            }
            var weight = scale * params.factor;
            var sum = vec2<f32>(weight, value * params.factor) * weight;
            if params.columns > 0u {
                sum *= importance[(params.first_column + i) % params.columns];
            }
            let at = level * THREADS + thread;
            sums[at] += sum;
            found[at] += 1u;
        }
    }
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        for (var j = thread; j < params.levels * half; j += THREADS) {
            let at = j / half * THREADS + j % half;
            sums[at] += sums[at + half];
            found[at] += found[at + half];
        }
        workgroupBarrier();
    }
    if thread < params.levels {
        partials[workgroup.x * params.levels + thread] = sums[thread * THREADS];
        atomicAdd(&counts[thread], found[thread * THREADS]);
    }
}
