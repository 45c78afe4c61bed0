//! The row of a codebook grid that is nearest to a group of weights, exactly, by weighted squares.
//!
//! The distance is a sum over positions and a grid has few levels, so a row is two halves: the costs of all patterns of half a row (3⁴ or
//! 8² of them) are tabled, and a row costs one addition. Sixteen groups are searched together, one in each lane.
//!
//! Where signs are free the search is on magnitudes. Where the number of minus signs must be even and is odd, one sign is wrong: the other
//! sign of a weight |x| at value v costs w·(|x| + v)² − w·(|x| − v)² = 4·w·|x|·v more, and the cheapest position of each half is tabled too.

use crate::codec::lanes::{LANES, Lanes, array, min, whole};

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
    /// The same, with the cost of the half.
    flip_second: [Wide; ROOM],
}

/// The values of a super-block by lanes: `B` batches of sixteen groups of `W`.
pub(super) struct Groups<const W: usize, const B: usize> {
    /// The weights; magnitudes where signs are stored apart.
    x: [[Lanes; W]; B],
    /// Their importances.
    w: [[Lanes; W]; B],
    /// What a wrong sign costs is this times |x|·v: 4·w, and 0 where no sign is wrong.
    flip: [[Lanes; W]; B],
}

impl<const W: usize, const B: usize> Groups<W, B> {
    /// `odd` says which groups have a wrong sign.
    #[inline(always)]
    pub(super) fn new(x: &[f32; 256], w: &[f32; 256], odd: &[f32; 64]) -> Self {
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
    pub(super) const fn new() -> Self {
        let empty = [Wide([0.0; LANES]); ROOM];
        Self { first: empty, second: empty, flip_first: empty, flip_second: empty }
    }

    /// Tables the costs of a batch whose levels are worth `values`; `FLIPS`: also those of wrong signs.
    #[inline(always)]
    pub(super) fn fill<const FLIPS: bool, const W: usize, const B: usize, const K: usize>(&mut self, groups: &Groups<W, B>, batch: usize, values: &[Lanes; K]) {
        let (x, w, flip) = (&groups.x[batch], &groups.w[batch], &groups.flip[batch]);
        let values: &[Lanes; K] = &array(|l| whole(values[l]));
        table(&mut self.first, x, w, values, 0, cost, add);
        table(&mut self.second, x, w, values, W / 2, cost, add);
        if FLIPS {
            table(&mut self.flip_first, x, flip, values, 0, product, min);
            table(&mut self.flip_second, x, flip, values, W / 2, product, min);
            for b in 0..K.pow(W as u32 / 2) {
                let both = array(|c| self.second[b].0[c] + self.flip_second[b].0[c]);
                keep(&mut self.flip_second[b], both);
            }
        }
    }

    /// The least cost of a row; `FLIPPED`: of one with a wrong sign, where there is one.
    #[inline(always)]
    pub(super) fn least<const FLIPPED: bool, const N: usize, const STARTS: usize>(&self, rows: &Rows<N, STARTS>) -> Lanes {
        self.scan::<FLIPPED, N, STARTS>(rows, &[f32::INFINITY; LANES]).0
    }

    /// The least cost of a row, or `known` where that is lower: rows that cannot be lower are passed over.
    #[inline(always)]
    pub(super) fn least_below<const N: usize, const STARTS: usize>(&self, rows: &Rows<N, STARTS>, known: &Lanes) -> Lanes {
        self.scan::<false, N, STARTS>(rows, known).0
    }

    /// The row of least cost, its place in the grid, and that cost.
    #[inline(always)]
    pub(super) fn nearest<const FLIPPED: bool, const N: usize, const STARTS: usize>(&self, rows: &Rows<N, STARTS>) -> ([usize; LANES], Lanes) {
        self.nearest_below::<FLIPPED, N, STARTS>(rows, &[f32::INFINITY; LANES])
    }

    /// The same where it is lower than `known`, or `known` and any row.
    #[inline(always)]
    pub(super) fn nearest_below<const FLIPPED: bool, const N: usize, const STARTS: usize>(
        &self,
        rows: &Rows<N, STARTS>,
        known: &Lanes,
    ) -> ([usize; LANES], Lanes) {
        let (best, firsts) = self.scan::<FLIPPED, N, STARTS>(rows, known);
        let mut places = [0; LANES];
        for c in 0..LANES {
            let a = firsts[c] as usize;
            let mut least = f32::INFINITY;
            for place in rows.of(a) {
                let b = usize::from(rows.second[place]) & (ROOM - 1);
                let mut cost = self.second[b].0[c];
                if FLIPPED {
                    cost = min(cost + self.flip_first[a].0[c], self.flip_second[b].0[c]);
                }
                if cost < least {
                    (least, places[c]) = (cost, usize::from(rows.index[place]));
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

    /// The least costs and the first halves that have them.
    #[inline(always)]
    fn scan<const FLIPPED: bool, const N: usize, const STARTS: usize>(&self, rows: &Rows<N, STARTS>, known: &Lanes) -> (Lanes, Lanes) {
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
            // No row of this first half can be better, in no lane.
            let bound = joined(&floor, &flipped_floor);
            let mut better = false;
            for c in 0..LANES {
                better |= bound[c] < best[c];
            }
            if !better {
                continue;
            }
            let seconds = &rows.second[rows.of(a)];
            let tail = least_of(&self.second, seconds);
            let flipped = if FLIPPED { least_of(&self.flip_second, seconds) } else { tail };
            let costs = joined(&tail, &flipped);
            for c in 0..LANES {
                firsts[c] = if costs[c] < best[c] { a as f32 } else { firsts[c] };
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

/// Tables one number for every pattern of the half that begins at `from`: those of its positions, joined.
#[inline(always)]
fn table<const W: usize, const K: usize>(
    out: &mut [Wide; ROOM],
    x: &[Lanes; W],
    w: &[Lanes; W],
    values: &[Lanes; K],
    from: usize,
    number: impl Fn(f32, f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
) {
    for l in 0..K {
        let first = array(|c| number(x[from][c], w[from][c], values[l][c]));
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
    use super::super::grids::{IQ2_LEVELS, IQ2_XS, IQ3_S_LEVELS};
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// The least Σ w·(x − scale·row)², with the cheapest sign wrong where `odd`, over all rows one after the other.
    fn brute_force<const W: usize>(grid: &[[i8; W]], x: &[f32], w: &[f32], scale: f32, odd: bool) -> f32 {
        let cost = |row: &[i8; W]| {
            let plain: f32 = (0..W).map(|i| w[i] * (x[i] - scale * f32::from(row[i])).powi(2)).sum();
            let flip = (0..W).map(|i| 4.0 * w[i] * x[i] * scale * f32::from(row[i])).fold(f32::INFINITY, f32::min);
            plain + if odd { flip } else { 0.0 }
        };
        grid.iter().map(cost).fold(f32::INFINITY, f32::min)
    }

    fn check<const W: usize, const B: usize, const K: usize, const N: usize, const STARTS: usize>(grid: &[[i8; W]; N], levels: &[i8; K]) {
        let rows = Rows::<N, STARTS>::new(grid, levels);
        let mut rng = ChaCha8Rng::seed_from_u64(W as u64);
        let mut tables = Tables::new();
        let top = f32::from(levels[K - 1]);
        for _ in 0..8 {
            let x: [f32; 256] = std::array::from_fn(|_| rng.random_range(0.0..1.3f32).powi(2));
            let w: [f32; 256] = std::array::from_fn(|_| 10f32.powf(rng.random_range(-2.0..0.0)));
            let odd: [f32; 64] = std::array::from_fn(|_| f32::from(rng.random::<bool>()));
            let groups = Groups::<W, B>::new(&x, &w, &odd);
            let scales: Lanes = std::array::from_fn(|_| rng.random_range(0.5..1.5) / top);
            for batch in 0..B {
                let values: [Lanes; K] = array(|l| array(|c| scales[c] * f32::from(levels[l])));
                tables.fill::<true, W, B, K>(&groups, batch, &values);
                for (flips, (places, costs)) in [(false, tables.nearest::<false, N, STARTS>(&rows)), (true, tables.nearest::<true, N, STARTS>(&rows))] {
                    for c in 0..LANES {
                        let group = batch * LANES + c;
                        let (x, w) = (&x[group * W..][..W], &w[group * W..][..W]);
                        let odd = flips && odd[group] == 1.0;
                        let want = brute_force(grid, x, w, scales[c], odd);
                        assert!((costs[c] - want).abs() <= 1e-5 * want.abs() + 1e-7, "group {group}, odd {odd}: {} against {want}", costs[c]);
                        let own = brute_force(&grid[places[c]..=places[c]], x, w, scales[c], odd);
                        assert!((own - want).abs() <= 1e-5 * want.abs() + 1e-7, "row {} of group {group}: {own} against {want}", places[c]);
                    }
                }
            }
        }
    }

    #[test]
    fn the_row_found_is_the_best_of_all_rows() {
        check::<8, 2, 3, 512, 82>(&IQ2_XS, &IQ2_LEVELS);
        check::<4, 4, 8, 512, 65>(&super::super::grids::IQ3_S, &IQ3_S_LEVELS);
    }
}
