//! The row of a codebook grid that is nearest to a group of weights, exactly, by weighted squares.
//!
//! The distance is a sum over positions and a grid has few levels, so a row is two halves: the costs of all patterns of half a row (3⁴ or
//! 8² of them) are tabled, and a row costs one addition. Sixteen searches run together, one in each lane: the scales that a group may
//! have, or the groups of a super-block with their scales.
//!
//! Where signs are free the search is on magnitudes. Where the number of minus signs must be even and is odd, one sign is wrong: the other
//! sign of a weight |x| at value v costs w·(|x| + v)² − w·(|x| − v)² = 4·w·|x|·v more, and the cheapest position of each half is tabled too.

use crate::codec::lanes::{LANES, Lanes, array, min};

/// A grid of `N` rows, cut in halves and sorted by the first. A half is a pattern, a number whose digits are level indices, the first
/// element most significant; there are `STARTS` − 1 of them.
pub(super) struct Rows<const N: usize, const STARTS: usize> {
    /// Where the rows of a first half begin; at the end, where the last end.
    start: [u16; STARTS],
    /// The second halves.
    second: [u8; N],
    /// The places in the grid.
    index: [u16; N],
}

impl<const N: usize, const STARTS: usize> Rows<N, STARTS> {
    /// The rows of `grid`, whose elements are among `levels`.
    pub(super) const fn new<const W: usize, const K: usize>(grid: &[[i8; W]; N], levels: &[i8; K]) -> Self {
        let (mut start, mut second, mut index) = ([0u16; STARTS], [0u8; N], [0u16; N]);
        let mut row = 0;
        while row < N {
            start[pattern(&grid[row], 0, levels) + 1] += 1;
            row += 1;
        }
        let mut a = 1;
        while a < STARTS {
            start[a] += start[a - 1];
            a += 1;
        }
        let mut next = start;
        row = 0;
        while row < N {
            let a = pattern(&grid[row], 0, levels);
            let place = next[a] as usize;
            second[place] = pattern(&grid[row], W / 2, levels) as u8;
            index[place] = row as u16;
            next[a] += 1;
            row += 1;
        }
        Self { start, second, index }
    }

    #[inline(always)]
    fn of(&self, a: usize) -> std::ops::Range<usize> {
        usize::from(self.start[a])..usize::from(self.start[a + 1])
    }
}

/// The pattern of the half row that begins at `from`.
const fn pattern<const W: usize, const K: usize>(row: &[i8; W], from: usize, levels: &[i8; K]) -> usize {
    let (mut number, mut i) = (0, from);
    while i < from + W / 2 {
        let mut level = 0;
        while levels[level] != row[i] {
            level += 1;
        }
        number = number * K + level;
        i += 1;
    }
    number
}

/// Room for the patterns of a half: 3⁴ = 81 or 8² = 64, a power of two so that masked indices need no check.
const ROOM: usize = 128;

/// Lanes that do not straddle cache lines.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Wide(Lanes);

/// The costs of all half rows for sixteen searches.
pub(super) struct Tables {
    first: [Wide; ROOM],
    second: [Wide; ROOM],
    /// Least cost of one wrong sign in the half.
    flip_first: [Wide; ROOM],
    flip_second: [Wide; ROOM],
}

/// The operands of sixteen searches for a row of `W` among `K` levels.
pub(super) struct Wanted<const W: usize, const K: usize> {
    /// The weights; magnitudes where signs are stored apart.
    pub(super) x: [Lanes; W],
    /// Their importances.
    pub(super) w: [Lanes; W],
    /// scale · level.
    pub(super) values: [Lanes; K],
}

impl Tables {
    pub(super) const fn new() -> Self {
        let empty = [Wide([0.0; LANES]); ROOM];
        Self { first: empty, second: empty, flip_first: empty, flip_second: empty }
    }

    /// Tables the costs.
    #[inline(always)]
    pub(super) fn fill<const W: usize, const K: usize>(&mut self, wanted: &Wanted<W, K>) {
        table(&mut self.first, wanted, 0, cost, add);
        table(&mut self.second, wanted, W / 2, cost, add);
    }

    /// Tables also the costs of one wrong sign; in lanes where `odd` is 0 it costs nothing.
    #[inline(always)]
    pub(super) fn fill_flips<const W: usize, const K: usize>(&mut self, wanted: &Wanted<W, K>, odd: &Lanes) {
        let mut tipped = Wanted { x: wanted.x, w: [[0.0; LANES]; W], values: wanted.values };
        for i in 0..W {
            for c in 0..LANES {
                tipped.w[i][c] = 4.0 * odd[c] * wanted.w[i][c];
            }
        }
        table(&mut self.flip_first, &tipped, 0, product, min);
        table(&mut self.flip_second, &tipped, W / 2, product, min);
    }

    /// The least cost of a row.
    #[inline(always)]
    pub(super) fn least<const N: usize, const STARTS: usize>(&self, rows: &Rows<N, STARTS>) -> Lanes {
        let mut best = [f32::INFINITY; LANES];
        for a in 0..STARTS - 1 {
            let mut tail = [f32::INFINITY; LANES];
            for &b in &rows.second[rows.of(a)] {
                let costs = &self.second[usize::from(b) & (ROOM - 1)].0;
                for c in 0..LANES {
                    tail[c] = min(tail[c], costs[c]);
                }
            }
            for c in 0..LANES {
                best[c] = min(best[c], self.first[a].0[c] + tail[c]);
            }
        }
        best
    }

    /// The least cost of a row with one wrong sign.
    #[inline(always)]
    pub(super) fn least_flipped<const N: usize, const STARTS: usize>(&mut self, rows: &Rows<N, STARTS>) -> Lanes {
        for b in 0..STARTS - 1 {
            for c in 0..LANES {
                self.flip_second[b].0[c] += self.second[b].0[c];
            }
        }
        let mut best = [f32::INFINITY; LANES];
        for a in 0..STARTS - 1 {
            let (mut tail, mut flipped) = ([f32::INFINITY; LANES], [f32::INFINITY; LANES]);
            for &b in &rows.second[rows.of(a)] {
                let b = usize::from(b) & (ROOM - 1);
                for c in 0..LANES {
                    tail[c] = min(tail[c], self.second[b].0[c]);
                    flipped[c] = min(flipped[c], self.flip_second[b].0[c]);
                }
            }
            for c in 0..LANES {
                best[c] = min(best[c], self.first[a].0[c] + min(tail[c] + self.flip_first[a].0[c], flipped[c]));
            }
        }
        best
    }

    /// The row of least cost and that cost; `FLIPPED`: with one wrong sign.
    #[inline(always)]
    pub(super) fn nearest<const FLIPPED: bool, const N: usize, const STARTS: usize>(&self, rows: &Rows<N, STARTS>) -> ([usize; LANES], Lanes) {
        let (mut best, mut places) = ([f32::INFINITY; LANES], [0.0f32; LANES]);
        for a in 0..STARTS - 1 {
            let (first, flip) = (self.first[a].0, self.flip_first[a].0);
            for place in rows.of(a) {
                let b = usize::from(rows.second[place]) & (ROOM - 1);
                let (second, at) = (&self.second[b].0, place as f32);
                for c in 0..LANES {
                    let mut cost = first[c] + second[c];
                    if FLIPPED {
                        cost += min(flip[c], self.flip_second[b].0[c]);
                    }
                    places[c] = if cost < best[c] { at } else { places[c] };
                    best[c] = min(best[c], cost);
                }
            }
        }
        (array(|c| usize::from(rows.index[places[c] as usize])), best)
    }
}

/// w·(x − v)².
#[inline(always)]
fn cost(x: f32, w: f32, v: f32) -> f32 {
    let r = x - v;
    w * (r * r)
}

/// w·x·v.
#[inline(always)]
fn product(x: f32, w: f32, v: f32) -> f32 {
    w * x * v
}

#[inline(always)]
fn add(a: f32, b: f32) -> f32 {
    a + b
}

/// Tables one number for every pattern of the half that begins at `from`: those of its positions, joined.
#[inline(always)]
fn table<const W: usize, const K: usize>(
    out: &mut [Wide; ROOM],
    wanted: &Wanted<W, K>,
    from: usize,
    number: impl Fn(f32, f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
) {
    let mut count = 1;
    for i in from..from + W / 2 {
        let mut own = [Wide([0.0; LANES]); K];
        for l in 0..K {
            for c in 0..LANES {
                own[l].0[c] = number(wanted.x[i][c], wanted.w[i][c], wanted.values[l][c]);
            }
        }
        // In place: a pattern's extensions do not lie before it.
        for p in (0..count).rev() {
            let before = out[p];
            for l in 0..K {
                let extended = &mut out[(p * K + l) & (ROOM - 1)].0;
                for c in 0..LANES {
                    extended[c] = if i == from { own[l].0[c] } else { join(before.0[c], own[l].0[c]) };
                }
            }
        }
        count *= K;
    }
}
