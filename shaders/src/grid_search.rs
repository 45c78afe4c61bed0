//! The row of a codebook grid that is nearest to a group of weights, exactly, by weighted squares.
//!
//! The distance is a sum over positions and a grid has few levels, so a row is two halves: the costs of all patterns of half a row (3⁴ or
//! 8² of them) are tabled, and a row costs one addition. Sixteen groups are searched together, one in each lane.
//!
//! Where signs are free the search is on magnitudes. Where the number of minus signs must be even and is odd, one sign is wrong: the other
//! sign of a weight |x| at value v costs w·(|x| + v)² − w·(|x| − v)² = 4·w·|x|·v more, and the cheapest position of each half is tabled too.
//!
//! Of rows that cost the same it is the one with the lowest first half, and of those the first in the grid: what is found depends on no order
//! of looking. A sum of two numbers never falls when one of them grows, so the least sum of a first half is that with the least second half.

use crate::lanes::{LANES, LEAST, Lanes, array, min, whole};

/// A grid of `N` rows, cut in halves and sorted by the first. A half is a pattern, a number whose digits are level indices, the first
/// element most significant; there are `STARTS` − 1 of them.
#[derive(Debug)]
pub struct Rows<const N: usize, const STARTS: usize> {
    /// Where the rows of a first half begin; at the end, where the last end.
    start: [u16; STARTS],
    /// The second halves.
    second: [u8; N],
    /// The places in the grid.
    index: [u16; N],
}

impl<const N: usize, const STARTS: usize> Rows<N, STARTS> {
    /// The rows of `grid`, whose elements are among `levels`.
    pub const fn new<const W: usize, const K: usize>(grid: &[[i8; W]; N], levels: &[i8; K]) -> Self {
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

    /// First half, second half and place in the grid of every row, by first halves and then by place.
    pub fn sorted(&self) -> impl Iterator<Item = [u32; 3]> {
        (0..STARTS - 1).flat_map(move |a| self.of(a).map(move |place| [a as u32, self.second[place].into(), self.index[place].into()]))
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
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Wide(Lanes);

/// The costs of all half rows for sixteen searches.
#[derive(Debug)]
pub struct Tables {
    first: [Wide; ROOM],
    second: [Wide; ROOM],
    /// Least cost of one wrong sign in the half.
    flip_first: [Wide; ROOM],
    /// The same, with the cost of the half.
    flip_second: [Wide; ROOM],
}

/// The values of a super-block by lanes: `B` batches of sixteen groups of `W`.
#[derive(Debug)]
pub struct Groups<const W: usize, const B: usize> {
    /// The weights; magnitudes where signs are stored apart.
    x: [[Lanes; W]; B],
    /// Their importances.
    w: [[Lanes; W]; B],
    /// What a wrong sign costs is this times |x|·v: 4·w, and 0 where no sign is wrong.
    flip: [[Lanes; W]; B],
}

impl<const W: usize, const B: usize> Groups<W, B> {
    /// `odd` says which groups have a wrong sign: 1, the others 0.
    #[inline(always)]
    pub fn new(x: &[f32; 256], w: &[f32; 256], odd: &[f32; 64]) -> Self {
        let mut groups = Self { x: [[[0.0; LANES]; W]; B], w: [[[0.0; LANES]; W]; B], flip: [[[0.0; LANES]; W]; B] };
        for batch in 0..B {
            for i in 0..W {
                for c in 0..LANES {
                    let group = batch * LANES + c;
                    let at = group * W + i;
                    groups.x[batch][i][c] = x[at];
                    groups.w[batch][i][c] = w[at];
                    groups.flip[batch][i][c] = 4.0 * odd[group] * w[at];
                }
            }
        }
        std::hint::black_box(groups)
    }
}

impl Tables {
    /// Tables of nothing.
    pub const fn new() -> Self {
        let empty = [Wide([0.0; LANES]); ROOM];
        Self { first: empty, second: empty, flip_first: empty, flip_second: empty }
    }

    /// Tables the costs of a batch whose levels are worth `values`; `FLIPS`: also those of wrong signs.
    #[inline(always)]
    pub fn fill<const FLIPS: bool, const W: usize, const B: usize, const K: usize>(&mut self, groups: &Groups<W, B>, batch: usize, values: &[Lanes; K]) {
        let (x, w, flip) = (&groups.x[batch], &groups.w[batch], &groups.flip[batch]);
        let values: &[Lanes; K] = &array(|l| whole(values[l]));
        // Sums of squares begin with `LEAST`: see `lanes.rs`.
        table(&mut self.first, x, w, values, 0, cost, LEAST, add);
        table(&mut self.second, x, w, values, W / 2, cost, LEAST, add);
        if FLIPS {
            table(&mut self.flip_first, x, flip, values, 0, product, f32::INFINITY, min);
            table(&mut self.flip_second, x, flip, values, W / 2, product, f32::INFINITY, min);
            for b in 0..K.pow(W as u32 / 2) {
                let both = array(|c| self.second[b].0[c] + self.flip_second[b].0[c]);
                keep(&mut self.flip_second[b], both);
            }
        }
    }

    /// The least cost of a row; `FLIPPED`: of one with a wrong sign, where there is one.
    #[inline(always)]
    pub fn least<const FLIPPED: bool, const N: usize, const STARTS: usize>(&self, rows: &Rows<N, STARTS>) -> Lanes {
        self.scan::<FLIPPED, false, N, STARTS>(rows, &[f32::INFINITY; LANES]).0
    }

    /// The least cost of a row, or `known` where that is lower: rows that cannot be lower are passed over.
    #[inline(always)]
    pub fn least_below<const N: usize, const STARTS: usize>(&self, rows: &Rows<N, STARTS>, known: &Lanes) -> Lanes {
        self.scan::<false, false, N, STARTS>(rows, known).0
    }

    /// The row of least cost, its place in the grid, and that cost.
    #[inline(always)]
    pub fn nearest<const FLIPPED: bool, const N: usize, const STARTS: usize>(&self, rows: &Rows<N, STARTS>) -> ([usize; LANES], Lanes) {
        self.nearest_below::<FLIPPED, N, STARTS>(rows, &[f32::INFINITY; LANES])
    }

    /// The same where it is lower than `known`, or `known` and any row.
    #[inline(always)]
    pub fn nearest_below<const FLIPPED: bool, const N: usize, const STARTS: usize>(&self, rows: &Rows<N, STARTS>, known: &Lanes) -> ([usize; LANES], Lanes) {
        let (best, firsts) = self.scan::<FLIPPED, true, N, STARTS>(rows, known);
        let mut places = [0; LANES];
        for c in 0..LANES {
            let a = firsts[c] as usize & (ROOM - 1);
            for place in rows.of(a) {
                let b = usize::from(rows.second[place]) & (ROOM - 1);
                let mut cost = self.second[b].0[c];
                if FLIPPED {
                    cost = min(cost + self.flip_first[a].0[c], self.flip_second[b].0[c]);
                }
                if self.first[a].0[c] + cost == best[c] {
                    places[c] = usize::from(rows.index[place]);
                    break;
                }
            }
        }
        (places, best)
    }

    /// The first halves, those that are the nearest of some lane before the others: what is found in them lets most others be passed over.
    #[inline(always)]
    fn order<const STARTS: usize>(&self) -> [u8; ROOM] {
        let (mut least, mut nearest) = ([f32::INFINITY; LANES], [0.0f32; LANES]);
        for a in 0..STARTS - 1 {
            let first = &self.first[a].0;
            for c in 0..LANES {
                nearest[c] = if first[c] < least[c] { a as f32 } else { nearest[c] };
            }
            least = lower(&least, first);
        }
        let nearest = whole(nearest);
        let (mut order, mut count, mut seen) = ([0; ROOM], 0, 0u128);
        for c in 0..LANES {
            let a = nearest[c] as usize & (ROOM - 1);
            order[count] = a as u8;
            count += usize::from(seen >> a & 1 == 0);
            seen |= 1 << a;
        }
        for a in 0..STARTS - 1 {
            order[count & (ROOM - 1)] = a as u8;
            count += usize::from(seen >> a & 1 == 0);
        }
        order
    }

    /// The least costs and, with `PLACES`, the lowest first halves that have them.
    #[inline(always)]
    fn scan<const FLIPPED: bool, const PLACES: bool, const N: usize, const STARTS: usize>(&self, rows: &Rows<N, STARTS>, known: &Lanes) -> (Lanes, Lanes) {
        let (mut floor, mut flipped_floor) = ([f32::INFINITY; LANES], [f32::INFINITY; LANES]);
        for b in 0..STARTS - 1 {
            floor = lower(&floor, &self.second[b].0);
            if FLIPPED {
                flipped_floor = lower(&flipped_floor, &self.flip_second[b].0);
            }
        }
        let (mut best, mut firsts) = (*known, [0.0f32; LANES]);
        for &a in &self.order::<STARTS>()[..STARTS - 1] {
            let a = usize::from(a) & (ROOM - 1);
            let (first, flip) = (&self.first[a].0, &self.flip_first[a].0);
            let joined = |tail: &Lanes, flipped: &Lanes| -> Lanes { array(|c| first[c] + if FLIPPED { min(tail[c] + flip[c], flipped[c]) } else { tail[c] }) };
            // No row of this first half can be the one, in no lane.
            let bound = joined(&floor, &flipped_floor);
            let mut counts = false;
            for c in 0..LANES {
                counts |= if PLACES { bound[c] <= best[c] } else { bound[c] < best[c] };
            }
            if !counts {
                continue;
            }
            let seconds = &rows.second[rows.of(a)];
            let tail = least_of(&self.second, seconds);
            let flipped = if FLIPPED { least_of(&self.flip_second, seconds) } else { tail };
            let costs = joined(&tail, &flipped);
            if PLACES {
                for c in 0..LANES {
                    let lowest = if costs[c] == best[c] { min(firsts[c], a as f32) } else { firsts[c] };
                    firsts[c] = if costs[c] < best[c] { a as f32 } else { lowest };
                }
            }
            best = lower(&best, &costs);
        }
        (whole(best), whole(firsts))
    }
}

/// The least of some table rows. One chain, because the optimiser takes the vectors of two apart; pairs are joined before it, so that it
/// waits half as often.
#[inline(always)]
fn least_of(table: &[Wide; ROOM], places: &[u8]) -> Lanes {
    let mut least = [f32::INFINITY; LANES];
    let (pairs, rest) = places.as_chunks::<2>();
    for &[a, b] in pairs {
        let both = lower(&table[usize::from(a) & (ROOM - 1)].0, &table[usize::from(b) & (ROOM - 1)].0);
        least = lower(&least, &both);
    }
    for &b in rest {
        least = lower(&least, &table[usize::from(b) & (ROOM - 1)].0);
    }
    least
}

#[inline(always)]
fn lower(a: &Lanes, b: &Lanes) -> Lanes {
    array(|c| min(a[c], b[c]))
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

/// Tables one number for every pattern of the half that begins at `from`: those of its positions, joined to `start` one after the other.
#[inline(always)]
fn table<const W: usize, const K: usize>(
    out: &mut [Wide; ROOM],
    x: &[Lanes; W],
    w: &[Lanes; W],
    values: &[Lanes; K],
    from: usize,
    number: impl Fn(f32, f32, f32) -> f32,
    start: f32,
    join: impl Fn(f32, f32) -> f32,
) {
    for l in 0..K {
        let first = array(|c| join(start, number(x[from][c], w[from][c], values[l][c])));
        keep(&mut out[l], first);
    }
    let mut count = K;
    for i in from + 1..from + W / 2 {
        let mut own = [Wide([0.0; LANES]); K];
        for l in 0..K {
            keep(&mut own[l], array(|c| number(x[i][c], w[i][c], values[l][c])));
        }
        // In place: a pattern's extensions do not lie before it.
        for p in (0..count).rev() {
            let before = out[p & (ROOM - 1)].0;
            for l in 0..K {
                keep(&mut out[(p * K + l) & (ROOM - 1)], array(|c| join(before[c], own[l].0[c])));
            }
        }
        count *= K;
    }
}

/// Stores lanes, and hides that from the optimiser: it would spread the lanes of several stores over vectors of its own, by gathering.
#[inline(always)]
fn keep(place: &mut Wide, lanes: Lanes) {
    *place = Wide(lanes);
    std::hint::black_box(place);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grids::{IQ2_LEVELS, IQ2_XS, IQ3_S, IQ3_S_LEVELS};

    /// Numbers below a limit.
    fn random() -> impl FnMut(f32) -> f32 {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        move |limit| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 16_777_216.0 * limit
        }
    }

    /// Σ w·(x − scale·row)², with the cheapest sign wrong where `odd`.
    fn cost<const W: usize>(row: &[i8; W], x: &[f32], w: &[f32], scale: f32, odd: bool) -> f32 {
        let plain: f32 = (0..W).map(|i| w[i] * (x[i] - scale * f32::from(row[i])).powi(2)).sum();
        let flip = (0..W).map(|i| 4.0 * w[i] * x[i] * scale * f32::from(row[i])).fold(f32::INFINITY, f32::min);
        plain + if odd { flip } else { 0.0 }
    }

    /// Searches with real weights, or (`ties`) with small integers, whose costs are exact and often the same; `judge` is given the weights and
    /// importances of a group, its scale, whether it has a wrong sign, and the place and the cost that were found.
    fn search<const W: usize, const B: usize, const K: usize, const N: usize, const STARTS: usize>(
        grid: &[[i8; W]; N],
        levels: &[i8; K],
        ties: bool,
        judge: impl Fn(&[f32], &[f32], f32, bool, usize, f32),
    ) {
        let rows = Rows::<N, STARTS>::new(grid, levels);
        let (mut random, mut tables) = (random(), Tables::new());
        let top = f32::from(levels[K - 1]);
        for _ in 0..8 {
            let x: [f32; 256] = std::array::from_fn(|_| if ties { random(top).round() } else { random(1.3).powi(2) });
            let w: [f32; 256] = std::array::from_fn(|_| if ties { 1.0 } else { 10f32.powf(random(2.0) - 2.0) });
            let odd: [f32; 64] = std::array::from_fn(|_| random(2.0).floor());
            let groups = Groups::<W, B>::new(&x, &w, &odd);
            let scales: Lanes = std::array::from_fn(|_| if ties { 1.0 } else { (0.5 + random(1.0)) / top });
            for batch in 0..B {
                let values: [Lanes; K] = array(|l| array(|c| scales[c] * f32::from(levels[l])));
                tables.fill::<true, W, B, K>(&groups, batch, &values);
                for (flips, (places, costs)) in [(false, tables.nearest::<false, N, STARTS>(&rows)), (true, tables.nearest::<true, N, STARTS>(&rows))] {
                    for c in 0..LANES {
                        let group = batch * LANES + c;
                        judge(&x[group * W..][..W], &w[group * W..][..W], scales[c], flips && odd[group] == 1.0, places[c], costs[c]);
                    }
                }
            }
        }
    }

    fn check_least<const W: usize, const B: usize, const K: usize, const N: usize, const STARTS: usize>(grid: &[[i8; W]; N], levels: &[i8; K]) {
        search::<W, B, K, N, STARTS>(grid, levels, false, |x, w, scale, odd, place, found| {
            let want = grid.iter().map(|row| cost(row, x, w, scale, odd)).fold(f32::INFINITY, f32::min);
            assert!((found - want).abs() <= 1e-5 * want.abs() + 1e-7, "odd {odd}: {found} against {want}");
            let own = cost(&grid[place], x, w, scale, odd);
            assert!((own - want).abs() <= 1e-5 * want.abs() + 1e-7, "row {place}: {own} against {want}");
        });
    }

    #[test]
    fn the_row_found_is_the_best_of_all_rows() {
        check_least::<8, 2, 3, 512, 82>(&IQ2_XS, &IQ2_LEVELS);
        check_least::<4, 4, 8, 512, 65>(&IQ3_S, &IQ3_S_LEVELS);
    }

    fn check_ties<const W: usize, const B: usize, const K: usize, const N: usize, const STARTS: usize>(grid: &[[i8; W]; N], levels: &[i8; K]) {
        let ties = std::cell::Cell::new(0);
        search::<W, B, K, N, STARTS>(grid, levels, true, |x, w, scale, odd, place, _| {
            let costs: Vec<f32> = grid.iter().map(|row| cost(row, x, w, scale, odd)).collect();
            let least = costs.iter().copied().fold(f32::INFINITY, f32::min);
            let first = |row: usize| &grid[row][..W / 2];
            let nearest = (0..N).filter(|row| costs[*row] == least).min_by_key(|row| (first(*row), *row));
            assert_eq!(Some(place), nearest, "odd {odd}, cost {least}");
            ties.set(ties.get() + usize::from(costs.iter().filter(|cost| **cost == least).count() > 1));
        });
        assert!(ties.get() > 20, "{} ties are too few to tell", ties.get());
    }

    #[test]
    fn of_rows_as_near_it_is_the_one_with_the_lowest_first_half_and_then_the_first() {
        check_ties::<8, 2, 3, 512, 82>(&IQ2_XS, &IQ2_LEVELS);
        check_ties::<4, 4, 8, 512, 65>(&IQ3_S, &IQ3_S_LEVELS);
    }
}
