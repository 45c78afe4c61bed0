// Attention without its matrix of scores: what src/twin/attention.rs defines. A workgroup has 32 queries of one head and goes through the
// keys 32 at a time; the softmax is kept as a running maximum and sum (Milakov & Gimelshein 2018), the output rescaled when it rises.

struct Params {
    query_heads: u32,
    key_heads: u32,
    dim: u32,
    causal: u32,
    window: u32,
    scale: f32,
    cap: f32,
    padding: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;                  // tokens x (query_heads x dim)
@group(0) @binding(2) var<storage, read> k: array<f32>;                  // tokens x (key_heads x dim)
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> tiles: array<vec4<u32>>;        // two a tile: first query, queries, first key, keys; own key of the first query
@group(0) @binding(5) var<storage, read_write> y: array<f32>;            // like q

const SIDE = 32u;
const PITCH = 33u;
// Below every score; what is masked.
const NONE = -3.0e38;

var<workgroup> left: array<f32, 1056>;
var<workgroup> right: array<f32, 1056>;
var<workgroup> scores: array<f32, 1056>;
var<workgroup> highest: array<f32, SIDE>;
var<workgroup> sums: array<f32, SIDE>;
var<workgroup> factors: array<f32, SIDE>;
var<workgroup> parts: array<f32, 256>;

fn capped(score: f32) -> f32 {
    if params.cap == 0.0 {
        return score;
    }
    return soft_cap(score);
}

fn masked(score: f32, query: u32, key: u32, tile: vec4<u32>, own: u32) -> f32 {
    let place = own + query;
    if key >= tile.w || (params.causal != 0u && key > place) || (params.window != 0u && key + params.window <= place) {
        return NONE;
    }
    return capped(score * params.scale);
}

// 32 channels of 32 keys (or values) into `right`.
fn load_right(thread: u32, channel: u32, first_key: u32, tile: vec4<u32>, of_values: bool) {
    let head = workgroup_head / (params.query_heads / params.key_heads);
    for (var e = thread; e < SIDE * SIDE; e += 256u) {
        let row = e / SIDE;
        let c = channel + e % SIDE;
        var value = 0.0;
        if first_key + row < tile.w && c < params.dim {
            let at = ((tile.z + first_key + row) * params.key_heads + head) * params.dim + c;
            if of_values {
                value = v[at];
            } else {
                value = k[at];
            }
        }
        right[row * PITCH + e % SIDE] = value;
    }
}

var<private> workgroup_head: u32;

// Scores into weights, the running maxima and sums with them: eight threads a query, each with every eighth key.
fn soften(thread: u32) {
    let query = thread / 8u;
    let before = highest[query];
    var top = before;
    for (var j = thread % 8u; j < SIDE; j += 8u) {
        top = max(top, scores[query * PITCH + j]);
    }
    parts[thread] = top;
    workgroupBarrier();
    for (var part = 0u; part < 8u; part += 1u) {
        top = max(top, parts[query * 8u + part]);
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var j = thread % 8u; j < SIDE; j += 8u) {
        let at = query * PITCH + j;
        let weight = select(exp(scores[at] - top), 0.0, scores[at] <= NONE);
        scores[at] = weight;
        sum += weight;
    }
    parts[thread] = sum;
    workgroupBarrier();
    if thread % 8u == 0u {
        let factor = exp(before - top);
        sum = sums[query] * factor;
        for (var part = 0u; part < 8u; part += 1u) {
            sum += parts[thread + part];
        }
        highest[query] = top;
        factors[query] = factor;
        sums[query] = sum;
    }
}

// 32 channels of the output from 32 weights and values.
fn advance(output: vec4<f32>, thread: u32, channel: u32, first_key: u32, tile: vec4<u32>) -> vec4<f32> {
    let row = thread / 16u;
    let column = thread % 16u;
    workgroupBarrier();
    load_right(thread, channel, first_key, tile, true);
    workgroupBarrier();
    let low = factors[row];
    let high = factors[row + 16u];
    var sum = output * vec4<f32>(low, low, high, high);
    for (var j = 0u; j < SIDE; j += 1u) {
        let a = scores[row * PITCH + j];
        let b = scores[(row + 16u) * PITCH + j];
        let c = right[j * PITCH + column];
        let d = right[j * PITCH + column + 16u];
        sum += vec4<f32>(a * c, a * d, b * c, b * d);
    }
    return sum;
}

fn put(output: vec4<f32>, thread: u32, channel: u32, tile: vec4<u32>) {
    let column = channel + thread % 16u;
    for (var half = 0u; half < 2u; half += 1u) {
        let row = thread / 16u + half * 16u;
        if row < tile.y {
            let at = ((tile.x + row) * params.query_heads + workgroup_head) * params.dim + column;
            let pair = select(output.zw, output.xy, half == 0u) / sums[row];
            if column < params.dim {
                y[at] = pair.x;
            }
            if column + 16u < params.dim {
                y[at + 16u] = pair.y;
            }
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    workgroup_head = workgroup.y;
    let tile = tiles[workgroup.x * 2u];
    let own = tiles[workgroup.x * 2u + 1u].x;
    let row = thread / 16u;
    let column = thread % 16u;
    if thread < SIDE {
        highest[thread] = NONE;
        sums[thread] = 0.0;
    }
    // Keys that no query of the tile sees are passed over.
    var start = 0u;
    if params.window != 0u && own + 1u > params.window {
        start = (own + 1u - params.window) / SIDE * SIDE;
    }
    var end = tile.w;
    if params.causal != 0u {
        end = min(end, own + tile.y);
    }

    var o0 = vec4<f32>();
    var o1 = vec4<f32>();
    var o2 = vec4<f32>();
    var o3 = vec4<f32>();
    var o4 = vec4<f32>();
    var o5 = vec4<f32>();
    var o6 = vec4<f32>();
    var o7 = vec4<f32>();
    for (var key = start; key < end; key += SIDE) {
        var score = vec4<f32>();
        for (var channel = 0u; channel < params.dim; channel += SIDE) {
            workgroupBarrier();
            for (var e = thread; e < SIDE * SIDE; e += 256u) {
                let r = e / SIDE;
                let c = channel + e % SIDE;
                var value = 0.0;
                if r < tile.y && c < params.dim {
                    value = q[((tile.x + r) * params.query_heads + workgroup_head) * params.dim + c];
                }
                left[r * PITCH + e % SIDE] = value;
            }
            load_right(thread, channel, key, tile, false);
            workgroupBarrier();
            for (var d = 0u; d < SIDE; d += 1u) {
                let a = left[row * PITCH + d];
                let b = left[(row + 16u) * PITCH + d];
                let c = right[column * PITCH + d];
                let e = right[(column + 16u) * PITCH + d];
                score += vec4<f32>(a * c, a * e, b * c, b * e);
            }
        }
        scores[row * PITCH + column] = masked(score.x, row, key + column, tile, own);
        scores[row * PITCH + column + 16u] = masked(score.y, row, key + column + 16u, tile, own);
        scores[(row + 16u) * PITCH + column] = masked(score.z, row + 16u, key + column, tile, own);
        scores[(row + 16u) * PITCH + column + 16u] = masked(score.w, row + 16u, key + column + 16u, tile, own);
        workgroupBarrier();
        soften(thread);
        o0 = advance(o0, thread, 0u, key, tile);
        if params.dim > 32u {
            o1 = advance(o1, thread, 32u, key, tile);
        }
        if params.dim > 64u {
            o2 = advance(o2, thread, 64u, key, tile);
        }
        if params.dim > 96u {
            o3 = advance(o3, thread, 96u, key, tile);
        }
        if params.dim > 128u {
            o4 = advance(o4, thread, 128u, key, tile);
        }
        if params.dim > 160u {
            o5 = advance(o5, thread, 160u, key, tile);
        }
        if params.dim > 192u {
            o6 = advance(o6, thread, 192u, key, tile);
        }
        if params.dim > 224u {
            o7 = advance(o7, thread, 224u, key, tile);
        }
        workgroupBarrier();
    }
    put(o0, thread, 0u, tile);
    put(o1, thread, 32u, tile);
    put(o2, thread, 64u, tile);
    put(o3, thread, 96u, tile);
    put(o4, thread, 128u, tile);
    put(o5, thread, 160u, tile);
    put(o6, thread, 192u, tile);
    put(o7, thread, 224u, tile);
}
