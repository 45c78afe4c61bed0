// Group-wise integers with a weighted scale search: what src/twin/group_quantize.rs defines, integer for integer.
// One workgroup a group. The group passes through shared memory in tiles; each thread judges one candidate over all of it, then the
// first thread picks the best, so that no sum depends on how threads are joined.

struct Params {
    group: u32,
    groups: u32,
    groups_per_row: u32,
    first_group: u32,
    bits: u32,
    symmetric: u32,
    weighted: u32,
    padding: u32,
}

struct Candidate {
    scale: u32,
    zero: i32,
}

// An error of 64 bits.
struct Sum {
    high: u32,
    low: u32,
}

struct Picked {
    candidate: Candidate,
    error: Sum,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<u32>;            // bits of f32
@group(0) @binding(2) var<storage, read> importance: array<u32>;         // bits of f32, one a column
@group(0) @binding(3) var<storage, read_write> codes: array<u32>;        // four codes a word
@group(0) @binding(4) var<storage, read_write> grids: array<vec2<u32>>;  // bits of the scale, zero point

const THREADS = 32u;
const TILE = 256u;
const COARSE = 24u;
const ANCHORS = 3u;
const ZERO_ROUND = 10u;
const FINE = 6u;
const SATURATION = 0x4a800000u;
const INFINITY = 0x7f800000u;
const FULL_IMPORTANCE = 0xffffu;
const RESIDUAL_LIMIT = 0x7fffu;

var<workgroup> tile_weights: array<i32, TILE>;
var<workgroup> tile_importance: array<u32, TILE>;
var<workgroup> candidates: array<Candidate, THREADS>;
var<workgroup> errors: array<Sum, THREADS>;
var<workgroup> shared_low: atomic<i32>;
var<workgroup> shared_high: atomic<i32>;
var<workgroup> shared_magnitude: atomic<u32>;
var<workgroup> shared_importance: atomic<u32>;

fn magnitude(bits: u32) -> u32 {
    let value = bits & 0x7fffffffu;
    return select(min(value, SATURATION), 0u, value >= INFINITY);
}

fn positive(bits: u32) -> u32 {
    return select(bits, 0u, bits >= INFINITY);
}

fn mantissa(bits: u32) -> u32 {
    return (bits & 0x007fffffu) | select(0u, 0x00800000u, bits >= 0x00800000u);
}

fn fixed_point(bits: u32, exponent: u32) -> i32 {
    let value = magnitude(bits);
    let shift = min(exponent - max(value >> 23u, 1u), 30u);
    let fixed = i32(((mantissa(value) << 4u) + ((1u << shift) >> 1u)) >> shift);
    return select(fixed, -fixed, (bits >> 31u) != 0u);
}

fn fixed_importance(raw: u32, largest: u32) -> u32 {
    if largest == 0u {
        return FULL_IMPORTANCE;
    }
    let bits = positive(raw);
    let shift = max(largest >> 23u, 1u) - max(bits >> 23u, 1u);
    if shift > 15u {
        return 1u;
    }
    return max((mantissa(bits) >> 8u) >> shift, 1u);
}

fn leading_bit(value: u32) -> u32 {
    return 31u - countLeadingZeros(value | 1u);
}

fn round_scale(goal: u32, exponent: u32) -> u32 {
    let shift = u32(max(max(i32(leading_bit(goal)) - 10, 130 - i32(exponent)), 0));
    if shift > 30u {
        return 0u;
    }
    var rounded = goal;
    if shift != 0u {
        let half = (1u << shift) >> 1u;
        let even = (goal >> shift) & 1u;
        rounded = ((goal + half - 1u + even) >> shift) << shift;
    }
    if exponent < 139u {
        return rounded;
    }
    return min(rounded, 2047u << (159u - exponent));
}

fn scale_to_f32(scale: u32, exponent: u32) -> u32 {
    if scale == 0u {
        return 0u;
    }
    let leading = leading_bit(scale);
    return ((leading + exponent - 27u) << 23u) | (((scale << (31u - leading)) >> 8u) & 0x007fffffu);
}

// q - z of the nearest code. The float proposes, at most one off on any device; the integers decide.
fn level(weight: i32, candidate: Candidate, inverse: f32, levels: i32) -> i32 {
    let proposal = i32(floor(f32(weight) * inverse + 0.5));
    let scale = i32(candidate.scale);
    let twice = 2 * (weight - proposal * scale);
    let nearest = proposal + select(0, 1, twice >= scale) - select(0, 1, twice < -scale);
    return min(max(nearest, -candidate.zero), levels - candidate.zero);
}

fn add_product(sum: Sum, square: u32, factor: u32) -> Sum {
    let low = (square & 0xffffu) * factor;
    let middle = (square >> 16u) * factor;
    let product = low + (middle << 16u);
    let carried = select(0u, 1u, product < low);
    let total = sum.low + product;
    return Sum(sum.high + (middle >> 16u) + carried + select(0u, 1u, total < product), total);
}

fn is_less(a: Sum, b: Sum) -> bool {
    return a.high < b.high || (a.high == b.high && a.low < b.low);
}

// Brings columns start .. start + TILE of the group into shared memory, in fixed point.
fn load_tile(start: u32, group_index: u32, thread: u32, exponent: u32, largest_importance: u32) {
    workgroupBarrier();
    let column = ((params.first_group + group_index) % params.groups_per_row) * params.group;
    for (var i = thread; i < min(TILE, params.group - start); i += THREADS) {
        tile_weights[i] = fixed_point(weights[group_index * params.group + start + i], exponent);
        var raw = 0u;
        if params.weighted != 0u {
            raw = importance[column + start + i];
        }
        tile_importance[i] = fixed_importance(raw, largest_importance);
    }
    workgroupBarrier();
}

// Every thread judges its own candidate over the whole group.
fn judge(thread: u32, group_index: u32, exponent: u32, largest_importance: u32, error_shift: u32) {
    let candidate = candidates[thread];
    let inverse = 1.0 / f32(max(candidate.scale, 1u));
    let levels = (1i << params.bits) - 1;
    let half = (1u << error_shift) >> 1u;
    var sum = Sum(0u, 0u);
    for (var start = 0u; start < params.group; start += TILE) {
        load_tile(start, group_index, thread, exponent, largest_importance);
        for (var i = 0u; i < min(TILE, params.group - start); i += 1u) {
            let weight = tile_weights[i];
            let residual = weight - level(weight, candidate, inverse, levels) * i32(candidate.scale);
            let rounded = min((u32(abs(residual)) + half) >> error_shift, RESIDUAL_LIMIT);
            sum = add_product(sum, rounded * rounded, tile_importance[i]);
        }
    }
    if candidate.scale == 0u {
        sum = Sum(0xffffffffu, 0xffffffffu);
    }
    errors[thread] = sum;
    workgroupBarrier();
}

fn ratio_step(bits: u32) -> u32 {
    var steps = array<u32, 7>(33u, 26u, 20u, 14u, 10u, 6u, 4u);
    return steps[bits - 2u];
}

fn fine_quarters(k: u32) -> i32 {
    var quarters = array<i32, 6>(-3, -2, -1, 1, 2, 3);
    return quarters[k];
}

// The best of the first `count` candidates and of what was best before; of equal ones the first.
fn pick(count: u32, before: Candidate, before_error: Sum) -> Picked {
    var best = Picked(before, before_error);
    for (var k = 0u; k < count; k += 1u) {
        if is_less(errors[k], best.error) {
            best = Picked(candidates[k], errors[k]);
        }
    }
    workgroupBarrier();
    return best;
}

@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let group_index = workgroup.y * grid.x + workgroup.x;
    if group_index >= params.groups {
        return;
    }
    let first = group_index * params.group;
    let column = ((params.first_group + group_index) % params.groups_per_row) * params.group;

    // The largest magnitude and importance, then the range in fixed point.
    var most = 0u;
    var most_importance = 0u;
    for (var i = thread; i < params.group; i += THREADS) {
        most = max(most, magnitude(weights[first + i]));
        if params.weighted != 0u {
            most_importance = max(most_importance, positive(importance[column + i]));
        }
    }
    atomicMax(&shared_magnitude, most);
    atomicMax(&shared_importance, most_importance);
    workgroupBarrier();
    let exponent = max(atomicLoad(&shared_magnitude), 0x00800000u) >> 23u;
    let largest_importance = atomicLoad(&shared_importance);
    var lowest = 0i;
    var highest = 0i;
    for (var i = thread; i < params.group; i += THREADS) {
        let weight = fixed_point(weights[first + i], exponent);
        lowest = min(lowest, weight);
        highest = max(highest, weight);
    }
    atomicMin(&shared_low, lowest);
    atomicMax(&shared_high, highest);
    workgroupBarrier();
    var low = atomicLoad(&shared_low);
    var high = atomicLoad(&shared_high);
    if params.symmetric != 0u {
        high = max(high, -low);
        low = -high;
    }

    let levels = (1u << params.bits) - 1u;
    let range = u32(high - low);
    let base = range / levels;
    var zero = i32(levels + 1u) / 2;
    if params.symmetric == 0u {
        zero = i32(min((u32(-low) + base / 2u) / max(base, 1u), levels));
        if base == 0u {
            zero = 0;
        }
    }
    // A group of zeros goes the same way (barriers want all threads): its candidates have scale 0 and are never the best.
    let leading = leading_bit(base);
    let error_shift = leading - min(leading, 10u);
    let step = (base >> 10u) * ratio_step(params.bits);

    // First round: anchors and clip ratios.
    var goal = base;
    if thread == 1u {
        goal = range / (levels - 1u);
    } else if thread == 2u {
        goal = range / (levels + 1u);
    } else if thread >= ANCHORS {
        goal = base - step * min(thread - ANCHORS + 1u, COARSE - ANCHORS);
    }
    candidates[thread] = Candidate(round_scale(goal, exponent), zero);
    judge(thread, group_index, exponent, largest_importance, error_shift);
    var picked = pick(COARSE, Candidate(0u, zero), Sum(0xffffffffu, 0xffffffffu));

    // Second round: the zero points beside the best, with scales around it.
    if params.symmetric == 0u {
        let k = min(thread, ZERO_ROUND - 1u);
        var near = Candidate(0u, picked.candidate.zero + select(1i, -1i, k < 5u));
        if near.zero >= 0 && near.zero <= i32(levels) {
            near.scale = round_scale(u32(max(i32(picked.candidate.scale) + i32(step) * (i32(k % 5u) * 2 - 4), 0)), exponent);
        }
        candidates[thread] = near;
        judge(thread, group_index, exponent, largest_importance, error_shift);
        picked = pick(ZERO_ROUND, picked.candidate, picked.error);
    }

    // Third round: fractions of a step.
    goal = u32(max(i32(picked.candidate.scale) + i32(step / 4u) * fine_quarters(min(thread, FINE - 1u)), 0));
    candidates[thread] = Candidate(round_scale(goal, exponent), picked.candidate.zero);
    judge(thread, group_index, exponent, largest_importance, error_shift);
    let best = pick(FINE, picked.candidate, picked.error).candidate;

    if thread == 0u {
        grids[group_index] = vec2<u32>(scale_to_f32(best.scale, exponent), u32(best.zero));
    }
    let inverse = 1.0 / f32(max(best.scale, 1u));
    for (var word = thread; word < params.group / 4u; word += THREADS) {
        var packed = 0u;
        for (var k = 0u; k < 4u; k += 1u) {
            var code = u32(best.zero);
            if best.scale != 0u {
                let weight = fixed_point(weights[first + word * 4u + k], exponent);
                code = u32(level(weight, best, inverse, i32(levels)) + best.zero);
            }
            packed |= code << (8u * k);
        }
        codes[first / 4u + word] = packed;
    }
}
