// Rows of a codebook grid with signs (of 8: IQ2_XXS, IQ2_XS, IQ2_S; of 4: IQ3_XXS, IQ3_S): what src/twin/encode_grid_rows.rs defines, byte for
// byte.
//
// A workgroup has two super-blocks, one after the other, and looks for the nearest rows of eight groups of weights at once, 32 threads a group:
// they table the costs of all halves of rows, then each looks at its share of the rows. The least of some numbers is the same in any order, and
// every sum is made by a thread alone. What is known of the type comes from a storage buffer, not from the uniform, so that no compiler makes a
// shader of its own for each.

struct Grid {
    format: u32,
    width: u32,                     // values of a row
    levels: u32,
    patterns: u32,                  // halves of rows
    rows: u32,
    sub_block: u32,                 // values of a sub-block
    even: u32,                      // 1: eight values have an even number of minus signs
    unit: f32,                      // a scale is d * unit * (2 * integer + 1)
    starts: array<f32, 5>,          // the first scales, relative to the largest magnitude
    values: array<f32, 8>,          // of the levels
    halves: array<u32, ROOM>,       // first and second halves: where the costs of their values stand, a byte each
    list: array<u32>,               // rows: the first half, the second (8 bits each), the number; in the order that decides between equals
}

@group(0) @binding(4) var<storage, read> grid: Grid;

// Numbers of the types, ggml's own.
const IQ2_XXS = 16u;
const IQ2_XS = 17u;
const IQ3_XXS = 18u;
const IQ3_S = 21u;
const IQ2_S = 22u;

// Groups searched at once, and the threads of each.
const GROUPS = 8u;
const SEATS = 32u;
// Halves of rows, at most 3^4 first and 3^4 second ones.
const ROOM = 162u;
// Scales that are tried first, and integers that are tried then; the rows for the best of those are a last search.
const STARTS = 5u;
const TRIED = 4u;

// Of each group and half of a row: what it costs; with one wrong sign, what a first half costs more and what a second costs in all.
var<workgroup> costs: array<f32, GROUPS * ROOM>;
var<workgroup> flips: array<f32, GROUPS * ROOM>;
// Of each group with its own signs, then with one wrong: the least cost, as bits, and the place in the list of the first row that has it.
var<workgroup> least: array<atomic<u32>, 16>;
var<workgroup> place: array<atomic<u32>, 16>;
// Of each sub-block, as bits: its largest magnitude, then its scale.
var<workgroup> sizes: array<atomic<u32>, 16>;

var<private> group: u32;
var<private> seat: u32;
var<private> first: u32;        // weight of the group
var<private> signs: u32;        // of the eight weights among which the group is
var<private> is_odd: bool;      // one of them is wrong

struct Trial {
    error: f32,
    scale: f32,
    integer: f32,
}

struct Products {
    xv: f32,
    vv: f32,
}

fn weight(i: u32) -> f32 {
    return xs[i / 32u * STRIDE + i % 32u];
}

fn counts(i: u32) -> f32 {
    return ws[i / 32u * STRIDE + i % 32u];
}

// Turns to the group that begins with this weight.
fn turn_to(weight_number: u32) {
    first = weight_number;
    signs = 0u;
    for (var i = 0u; i < 8u; i += 1u) {
        signs |= select(0u, 1u, weight(first / 8u * 8u + i) < 0.0) << i;
    }
    is_odd = grid.even != 0u && countOneBits(signs) % 2u == 1u;
}

// The least cost of a row at this scale, of the group with its own signs and with one wrong; `places`: and where those rows are.
fn search(scale: f32, places: bool) {
    let own = group * ROOM;
    let cells = group * SEATS;
    let half = grid.width / 2u;
    let i = first + seat / grid.levels;
    let value = mul(scale, grid.values[seat % grid.levels]);
    let is_cell = seat < grid.width * grid.levels;
    workgroupBarrier();
    if seat < 2u {
        atomicStore(&least[2u * group + seat], 0xffffffffu);
        atomicStore(&place[2u * group + seat], 0xffffffffu);
    }
    if is_cell {
        let r = sub(abs(weight(i)), value);
        let cost = mul(counts(i), mul(r, r));
        lane_values[thread] = select(cost, add(LEAST, cost), seat / grid.levels % half == 0u);
    }
    workgroupBarrier();
    for (var h = seat; h < 2u * grid.patterns; h += SEATS) {
        let values = grid.halves[h];
        var sum = lane_values[cells + (values & 255u)];
        for (var p = 1u; p < half; p += 1u) {
            sum = add(sum, lane_values[cells + ((values >> (8u * p)) & 255u)]);
        }
        costs[own + h] = sum;
    }
    if grid.even != 0u {
        workgroupBarrier();
        if is_cell {
            lane_values[thread] = mul(mul(select(0.0, 4.0 * counts(i), is_odd), abs(weight(i))), value);
        }
        workgroupBarrier();
        for (var h = seat; h < 2u * grid.patterns; h += SEATS) {
            let values = grid.halves[h];
            var cheapest = lane_values[cells + (values & 255u)];
            for (var p = 1u; p < half; p += 1u) {
                cheapest = min(cheapest, lane_values[cells + ((values >> (8u * p)) & 255u)]);
            }
            flips[own + h] = select(cheapest, add(costs[own + h], cheapest), h >= grid.patterns);
        }
    }
    workgroupBarrier();
    var best = vec2<f32>(HUGE);
    var at_best = vec2<u32>();
    for (var row = seat; row < grid.rows; row += SEATS) {
        let halves = grid.list[row];
        let a = own + (halves & 255u);
        let b = own + ((halves >> 8u) & 255u);
        let right = add(costs[a], costs[b]);
        if right < best.x {
            best.x = right;
            at_best.x = row;
        }
        if grid.even != 0u {
            let wrong = add(costs[a], min(add(costs[b], flips[a]), flips[b]));
            if wrong < best.y {
                best.y = wrong;
                at_best.y = row;
            }
        }
    }
    // Costs are positive: their bits are in their order.
    atomicMin(&least[2u * group], bitcast<u32>(best.x));
    atomicMin(&least[2u * group + 1u], bitcast<u32>(best.y));
    workgroupBarrier();
    if places {
        if bitcast<u32>(best.x) == atomicLoad(&least[2u * group]) {
            atomicMin(&place[2u * group], at_best.x);
        }
        if bitcast<u32>(best.y) == atomicLoad(&least[2u * group + 1u]) {
            atomicMin(&place[2u * group + 1u], at_best.y);
        }
        workgroupBarrier();
    }
}

fn right(which: u32) -> f32 {
    return bitcast<f32>(atomicLoad(&least[2u * which]));
}

fn wrong(which: u32) -> f32 {
    return bitcast<f32>(atomicLoad(&least[2u * which + 1u]));
}

// The least error of eight weights: of one row, or of two, one of which has the wrong sign if there is one.
fn octet_error(octet: u32) -> f32 {
    if grid.width == 8u {
        return select(right(octet), wrong(octet), grid.even != 0u);
    }
    let a = 2u * octet;
    let b = a + 1u;
    return select(add(right(a), right(b)), min(add(wrong(a), right(b)), add(right(a), wrong(b))), grid.even != 0u);
}

// The least error of the group's sub-block.
fn sub_block_error() -> f32 {
    let octets = grid.sub_block / 8u;
    let base = group * grid.width / 8u / octets * octets;
    var error = octet_error(base);
    for (var o = 1u; o < octets; o += 1u) {
        error = add(error, octet_error(base + o));
    }
    return error;
}

// The row of a group, as in the list.
fn row_of(which: u32) -> u32 {
    var flipped = grid.even != 0u;
    if flipped && grid.width == 4u {
        let a = which / 2u * 2u;
        let b = a + 1u;
        let in_a = add(wrong(a), right(b)) < add(right(a), wrong(b));
        flipped = in_a == (which == a);
    }
    return grid.list[atomicLoad(&place[2u * which + select(0u, 1u, flipped)])];
}

// A value of a row.
fn level_of(row: u32, position: u32) -> f32 {
    let half = grid.width / 2u;
    let values = grid.halves[select(row, row >> 8u, position >= half) & 255u];
    return grid.values[((values >> (8u * (position % half))) & 255u) % grid.levels];
}

// Makes the number of minus signs even where it must be and is not.
fn mend_signs() {
    if !is_odd {
        return;
    }
    var cheapest = HUGE;
    var flipped = 0u;
    for (var i = 0u; i < 8u; i += 1u) {
        let at_weight = first / 8u * 8u + i;
        let row = row_of((group * grid.width / 8u * 8u + i) / grid.width);
        let cost = mul(mul(counts(at_weight), abs(weight(at_weight))), level_of(row, i % grid.width));
        if cost < cheapest {
            cheapest = cost;
            flipped = i;
        }
    }
    signs ^= 1u << flipped;
}

// A lane of a sub-block's numbers, as `fold` in src/lanes.rs has them.
fn lane_of(base: u32, c: u32) -> f32 {
    let v = lane_values[base + c];
    return select(v, add(v, lane_values[base + c + LANES]), grid.sub_block == 32u);
}

fn four_of(base: u32, c: u32) -> f32 {
    return add(add(lane_of(base, c), lane_of(base, c + 8u)), add(lane_of(base, c + 4u), lane_of(base, c + 12u)));
}

// The products of the round's sub-blocks with their values, for the least squares of d; added to `sums`.
fn products(sums: Products, integer: f32) -> Products {
    let row = row_of(group);
    if seat < grid.width {
        let i = first + seat;
        let level = level_of(row, seat);
        let v = select(level, -level, ((signs >> (i % 8u)) & 1u) == 1u);
        lane_values[group * grid.width + seat] = mul(mul(counts(i), weight(i)), v);
        lane_values[128u + group * grid.width + seat] = mul(mul(counts(i), v), v);
    }
    workgroupBarrier();
    if seat < 2u && first % grid.sub_block == 0u {
        let base = 128u * seat + group * grid.width;
        let sum = add(add(four_of(base, 0u), four_of(base, 2u)), add(four_of(base, 1u), four_of(base, 3u)));
        let multiple = mul(grid.unit, 2.0 * integer + 1.0);
        lane_values[64u + 2u * (group * grid.width / grid.sub_block) + seat] = mul(select(multiple, mul(multiple, multiple), seat == 1u), sum);
    }
    workgroupBarrier();
    var all = sums;
    for (var s = 0u; s < GROUPS * grid.width / grid.sub_block; s += 1u) {
        all.xv = add(all.xv, lane_values[64u + 2u * s]);
        all.vv = add(all.vv, lane_values[65u + 2u * s]);
    }
    return all;
}

// Seven signs in the word at this byte; the eighth makes their number even.
fn put_signs(byte: u32, octet: u32) {
    let bits = (signs & 127u) << (7u * octet % 8u);
    put(byte + 7u * octet / 8u, bits & 255u);
    put(byte + 7u * octet / 8u + 1u, bits >> 8u);
}

// Writes what is stored of the group, by its first thread; `own` is the super-block's first byte.
fn put_group(own: u32, integer: u32) {
    let number = row_of(group) >> 16u;
    let i = first % 256u;
    let g = i / grid.width;
    let octet = i / 8u;
    let piece = i / grid.sub_block;
    let begins_octet = i % 8u == 0u;
    let begins_piece = i % grid.sub_block == 0u;
    var scales = 0u;
    switch grid.format {
        case IQ2_XXS: {
            put(own + 2u + 8u * piece + octet % 4u, number);
            put_signs(own + 6u + 8u * piece, octet % 4u);
            if begins_piece {
                put(own + 9u + 8u * piece, integer << 4u);
            }
        }
        case IQ2_XS: {
            put(own + 2u + 2u * octet, number & 255u);
            put(own + 3u + 2u * octet, (number >> 8u) | ((signs & 127u) << 1u));
            scales = own + 66u;
        }
        case IQ2_S: {
            put(own + 2u + octet, number & 255u);
            put(own + 34u + octet, signs);
            put(own + 66u + octet / 4u, (number >> 8u) << (2u * (octet % 4u)));
            scales = own + 74u;
        }
        case IQ3_XXS: {
            put(own + 2u + g, number);
            if begins_octet {
                put_signs(own + 66u + 4u * piece, octet % 4u);
            }
            if begins_piece {
                put(own + 69u + 4u * piece, integer << 4u);
            }
        }
        default: {
            put(own + 2u + g, number & 255u);
            put(own + 66u + g / 8u, (number >> 8u) << (g % 8u));
            if begins_octet {
                put(own + 74u + octet, signs);
            }
            scales = own + 106u;
        }
    }
    if scales != 0u && begins_piece {
        put(scales + piece / 2u, integer << (4u * (piece % 2u)));
    }
}

fn encode(block: u32) {
    let own = block * params.block_bytes;
    workgroupBarrier();
    if thread < 16u {
        atomicStore(&sizes[thread], 0u);
    }
    workgroupBarrier();
    atomicMax(&sizes[thread / grid.sub_block], bitcast<u32>(abs(weight(256u * block + thread))));
    workgroupBarrier();
    var largest = 0u;
    for (var s = 0u; s < 256u / grid.sub_block; s += 1u) {
        largest = max(largest, atomicLoad(&sizes[s]));
    }
    workgroupBarrier();

    // First real scales, then, with d, integers. What barriers stand under does not depend on what was computed.
    var d = 1.0;
    var is_zero = true;
    var sums = Products();
    for (var pass_number = 0u; pass_number < 2u; pass_number += 1u) {
        if pass_number == 1u {
            var scale = 0u;
            for (var s = 0u; s < 256u / grid.sub_block; s += 1u) {
                scale = max(scale, atomicLoad(&sizes[s]));
            }
            d = select(to_half(divide(bitcast<f32>(scale), mul(grid.unit, 31.0))), 0.0, bitcast<f32>(largest) < TINY);
            is_zero = d == 0.0;
            d = select(d, 1.0, is_zero);
        }
        for (var round_number = 0u; round_number < 256u / (GROUPS * grid.width); round_number += 1u) {
            turn_to(256u * block + (round_number * GROUPS + group) * grid.width);
            let own_size = first % 256u / grid.sub_block;
            let size = bitcast<f32>(atomicLoad(&sizes[own_size]));
            let lowest = round(sub(sub(mul(0.5, divide(size, mul(d, grid.unit))), 0.5), 1.5));
            var best = Trial(HUGE, 0.0, 0.0);
            for (var k = 0u; k < STARTS; k += 1u) {
                let integer = clamp(lowest + f32(k), 0.0, 15.0);
                var scale = mul(size, grid.starts[k]);
                if pass_number == 1u {
                    scale = select(mul(d, mul(grid.unit, 2.0 * integer + 1.0)), best.scale, k == TRIED);
                }
                let is_last = pass_number == 1u && k == TRIED;
                search(scale, is_last);
                if !is_last {
                    let error = sub_block_error();
                    if error < best.error {
                        best = Trial(error, scale, integer);
                    }
                } else {
                    mend_signs();
                    sums = products(sums, best.integer);
                    if seat == 0u && !is_zero {
                        put_group(own, u32(best.integer));
                    }
                }
            }
            if pass_number == 0u && seat == 0u && first % grid.sub_block == 0u {
                atomicStore(&sizes[own_size], bitcast<u32>(best.scale));
            }
        }
        workgroupBarrier();
    }
    let fitted = to_half(ratio(sums.xv, sums.vv));
    if thread == 0u && !is_zero {
        put_half(own, select(d, fitted, fitted > 0.0));
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) all: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    begin(index);
    group = index / SEATS;
    seat = index % SEATS;
    clear_bytes();
    let number = workgroup.y * all.x + workgroup.x;
    load(number * 512u, 32u, 32u, 1e-9);
    for (var block = 0u; block < 2u; block += 1u) {
        encode(block);
    }
    write_bytes(number, params.block_bytes / 2u);
}
