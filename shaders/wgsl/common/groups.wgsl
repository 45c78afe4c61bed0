// Groups of any multiple of eight columns: sixteen pass through shared memory side by side, 32 columns of each at a time.

const TILE = 32u;

// Columns start .. start + TILE of the groups of this workgroup; returns how many there are.
fn load_tile(number: u32, start: u32) -> u32 {
    let columns = min(TILE, params.columns - start);
    load(number * LANES * params.columns + start, columns, params.columns, 0.0);
    return columns;
}

// The least and the greatest weight of the group, or 0.
fn group_range(number: u32) -> vec2<f32> {
    var range = vec2<f32>();
    for (var start = 0u; start < params.columns; start += TILE) {
        let columns = load_tile(number, start);
        let tile = weight_range(0.0, columns);
        range = vec2<f32>(min(range.x, tile.x), max(range.y, tile.y));
    }
    return range;
}

// A lane's share of sixteen numbers, evenly from low to high.
fn spread(low: f32, high: f32) -> f32 {
    return add(low, divide(mul(sub(high, low), f32(lane)), 15.0));
}

// Where the bytes of the group begin in the output.
fn group_byte(number: u32) -> u32 {
    return (number * LANES + piece) * params.block_bytes;
}

fn is_group(number: u32) -> bool {
    return number * LANES + piece < params.blocks;
}

// Up to four bytes of the output, wherever they stand.
fn put_out(byte: u32, value: u32) {
    let shift = 8u * (byte % 4u);
    atomicOr(&encoded[byte / 4u], value << shift);
    if shift > 0u && (value >> (32u - shift)) != 0u {
        atomicOr(&encoded[byte / 4u + 1u], value >> (32u - shift));
    }
}

// Eight codes, least significant bit first: as many bytes as a code has bits.
fn put_eight(byte: u32, codes: array<u32, 8>) {
    var own = codes;
    var low = 0u;
    var high = 0u;
    for (var k = 0u; k < 8u; k += 1u) {
        let bit = k * params.bits;
        if bit < 32u {
            low |= own[k] << bit;
            if bit + params.bits > 32u {
                high |= own[k] >> (32u - bit);
            }
        } else {
            high |= own[k] << (bit - 32u);
        }
    }
    put_out(byte, low);
    if params.bits > 4u {
        put_out(byte + 4u, high);
    }
}
