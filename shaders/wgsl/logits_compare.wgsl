// Two matrices of logits row by row: what src/twin/logits_compare.rs defines. A workgroup a row. Probabilities are never stored: each row is
// read for its maximum, its sum, its divergence, and once for each of the most likely tokens.

struct Params {
    rows: u32,
    columns: u32,
    first_target: u32,
    top: u32,
}

struct Row {
    divergence: f32,
    nll_before: f32,
    nll_after: f32,
    padding: u32,
    top_before: array<u32, 6>,
    top_after: array<u32, 6>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> before: array<f32>;             // rows x columns
@group(0) @binding(2) var<storage, read> after: array<f32>;
@group(0) @binding(3) var<storage, read> targets: array<u32>;            // the token that followed each row
@group(0) @binding(4) var<storage, read_write> results: array<Row>;

const THREADS = 256u;
const LOWEST = -3.4e38;
const NOBODY = 0xffffffffu;

alias Value = vec2<f32>;

var<workgroup> values: array<vec2<f32>, THREADS>;
var<workgroup> indices: array<vec2<u32>, THREADS>;

// Whether a comes before b in the order of likeliness: larger, or as large and earlier.
fn leads(a: f32, a_index: u32, b: f32, b_index: u32) -> bool {
    return a > b || (a == b && a_index < b_index);
}

// p (d + e^-d - 1), the part of one token in the divergence. All shares are positive, so that nothing cancels, and an error of both
// normalisations counts by its square.
fn part_of(p: f32, log_p: f32, log_q: f32) -> f32 {
    let d = log_p - log_q;
    if abs(d) < 0.25 {
        return p * d * d * (0.5 + d * (-1.0 / 6.0 + d * (1.0 / 24.0 + d * (-1.0 / 120.0 + d * (1.0 / 720.0)))));
    }
    let q = exp(log_q);
    return select(p * d, 0.0, p == 0.0) + q - p;
}

@compute @workgroup_size(256)
fn main(at: Place) {
    let thread = at.thread;
    let row = at.workgroup.x;
    let first = row * params.columns;
    var top = vec2<f32>(LOWEST);
    for (var i = thread; i < params.columns; i += THREADS) {
        top = max(top, vec2<f32>(before[first + i], after[first + i]));
    }
    top = largest(at, top);
    var sum = vec2<f32>();
    for (var i = thread; i < params.columns; i += THREADS) {
        sum += exp(vec2<f32>(before[first + i], after[first + i]) - top);
    }
    let log_sum = log(total(at, sum));
    var divergence = 0.0;
    for (var i = thread; i < params.columns; i += THREADS) {
        let logs = vec2<f32>(before[first + i], after[first + i]) - top - log_sum;
        divergence += part_of(exp(logs.x), logs.x, logs.y);
    }
    divergence = total(at, vec2<f32>(divergence, 0.0)).x;
    if thread == 0u {
        results[row].divergence = divergence;
        results[row].nll_before = 0.0;
        results[row].nll_after = 0.0;
        results[row].padding = 0u;
        if params.top > 0u {
            let target_token = targets[params.first_target + row];
            results[row].nll_before = top.x + log_sum.x - before[first + target_token];
            results[row].nll_after = top.y + log_sum.y - after[first + target_token];
        }
    }

    // The most likely tokens, each the first of what the one before leads.
    var last = vec2<f32>(3.4e38);
    var last_index = vec2<u32>(0u);
    for (var place = 0u; place < params.top; place += 1u) {
        var best = vec2<f32>(LOWEST);
        var best_index = vec2<u32>(NOBODY);
        for (var i = thread; i < params.columns; i += THREADS) {
            let p = before[first + i];
            let q = after[first + i];
            if (place == 0u || leads(last.x, last_index.x, p, i)) && leads(p, i, best.x, best_index.x) {
                best.x = p;
                best_index.x = i;
            }
            if (place == 0u || leads(last.y, last_index.y, q, i)) && leads(q, i, best.y, best_index.y) {
                best.y = q;
                best_index.y = i;
            }
        }
        workgroupBarrier();
        values[thread] = best;
        indices[thread] = best_index;
        workgroupBarrier();
        for (var half = THREADS / 2u; half > 0u; half /= 2u) {
            if thread < half {
                let mine = values[thread];
                let other = values[thread + half];
                let mine_index = indices[thread];
                let other_index = indices[thread + half];
                let take = vec2<bool>(leads(other.x, other_index.x, mine.x, mine_index.x), leads(other.y, other_index.y, mine.y, mine_index.y));
                values[thread] = select(mine, other, take);
                indices[thread] = select(mine_index, other_index, take);
            }
            workgroupBarrier();
        }
        // A vocabulary of fewer repeats its last.
        if place < params.columns {
            last = values[0];
            last_index = indices[0];
        }
        workgroupBarrier();
        if thread == 0u {
            results[row].top_before[place] = last_index.x;
            results[row].top_after[place] = last_index.y;
        }
    }
}
