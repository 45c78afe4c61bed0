// Histogram, counts and power sums: what src/twin/statistics.rs defines. Counts are equal to the twin's, since bins are found by integer
// comparison with the edges; each workgroup leaves one f32 partial of every power sum, of values scaled into [-2, 2].

struct Params {
    count: u32,
    per_workgroup: u32,
    scale: f32,
    padding: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<u32>;                    // bits of f32
@group(0) @binding(2) var<storage, read> edges: array<u32>;                     // lower edges of the bins as ordered keys
@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>>;      // the bins, then finite, then non-finite
@group(0) @binding(4) var<storage, read_write> partials: array<vec4<f32>>;      // one a workgroup

const THREADS = 256u;
const BINS = 128u;

var<workgroup> histogram: array<atomic<u32>, 130>;

alias Value = vec4<f32>;

fn key(bits: u32) -> u32 {
    if bits == 0x80000000u {
        return 0x80000000u;
    }
    return select(~bits, bits | 0x80000000u, (bits >> 31u) == 0u);
}

// The last bin whose lower edge is not above the key.
fn bin_of(value: u32) -> u32 {
    var bin = 0u;
    for (var half = BINS / 2u; half > 0u; half /= 2u) {
        if value >= edges[bin + half] {
            bin += half;
        }
    }
    return bin;
}

@compute @workgroup_size(256)
fn main(place: Place) {
    let thread = place.thread;
    let first = place.workgroup.x * params.per_workgroup;
    let end = min(first + params.per_workgroup, params.count);
    var sum = vec4<f32>();
    for (var i = first + thread; i < end; i += THREADS) {
        let bits = values[i];
        if (bits & 0x7fffffffu) >= 0x7f800000u {
            atomicAdd(&histogram[BINS + 1u], 1u);
        } else {
            atomicAdd(&histogram[BINS], 1u);
            atomicAdd(&histogram[bin_of(key(bits))], 1u);
            let x = bitcast<f32>(bits) * params.scale;
            let square = x * x;
            sum += vec4<f32>(x, square, square * x, square * square);
        }
    }
    // Its barriers also end the counting.
    sum = total(place, sum);
    if thread == 0u {
        partials[place.workgroup.x] = sum;
    }
    if thread < BINS + 2u {
        atomicAdd(&counts[thread], atomicLoad(&histogram[thread]));
    }
}
