// The curves of feed-forwards and soft caps, times another value where gated: what src/twin/gate.rs defines. A thread a value.

struct Params {
    count: u32,
    curve: u32,
    gated: u32,
    cap: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> up: array<f32>;                 // only where gated
@group(0) @binding(2) var<storage, read_write> x: array<f32>;

const SILU = 0u;
const GELU_TANH = 1u;
const GELU = 2u;
const SOFT_CAP = 3u;

// e^-x where x is so negative that it would not be finite.
fn exp_minus(x: f32) -> f32 {
    return exp(-max(x, -80.0));
}

fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.3275911 * abs(x));
    let p = ((((1.0614054 * t - 1.453152) * t + 1.4214138) * t - 0.28449672) * t + 0.2548296) * t;
    let positive = 1.0 - p * exp(-min(x * x, 80.0));
    return select(positive, -positive, x < 0.0);
}

fn curve(x: f32) -> f32 {
    switch params.curve {
        case SILU: {
            return x / (1.0 + exp_minus(x));
        }
        case GELU_TANH: {
            return x / (1.0 + exp_minus(1.5957692 * (x + 0.044715 * x * x * x)));
        }
        case GELU: {
            return 0.5 * x * (1.0 + erf(x * 0.70710678));
        }
        case SOFT_CAP: {
            return soft_cap(x);
        }
        default: {
            return x;
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = (workgroup.y * grid.x + workgroup.x) * 256u + thread;
    if index >= params.count {
        return;
    }
    var value = curve(x[index]);
    if params.gated != 0u {
        value *= up[index];
    }
    x[index] = value;
}
