//! Attention against its twin: sequences of several lengths, grouped heads, windows, soft caps, heads of any width, a past.

use super::{gpu, normal};
use halftone_core::compute::gpu::forward::{Attention, Rows, Sequence};
use halftone_shaders::twin::attention::{Params, TILE, Tile, attention};

fn case(heads: [usize; 3], causal: bool, window: Option<usize>, cap: Option<f32>) -> Attention {
    let [query_heads, key_heads, dim] = heads;
    Attention { query_heads, key_heads, dim, scale: 1.0 / (dim as f32).sqrt(), cap, causal, window }
}

/// The largest departure of a row, in units of its ceiling; with `keys` tokens before each sequence's own.
fn worst(a: &Attention, lengths: &[usize], past: usize, spoil: bool) -> f64 {
    let (mut sequences, mut tiles) = (Vec::new(), Vec::new());
    let (mut query, mut key) = (0, 0);
    for &length in lengths {
        sequences.push(Sequence { queries: query..query + length, keys: key..key + past + length });
        for at in (0..length).step_by(TILE) {
            let [first, queries, own] = [query + at, TILE.min(length - at), past + at].map(|n| n as u32);
            tiles.push(Tile { query: first, queries, key: key as u32, keys: (past + length) as u32, own, padding: [0; 3] });
        }
        (query, key) = (query + length, key + past + length);
    }
    let [q, k, v] = [(query, a.query_heads, 1), (key, a.key_heads, 2), (key, a.key_heads, 3)].map(|(rows, heads, seed)| normal(rows * heads * a.dim, seed));
    let params = Params {
        query_heads: a.query_heads as u32,
        key_heads: a.key_heads as u32,
        dim: a.dim as u32,
        causal: a.causal.into(),
        window: a.window.unwrap_or(0) as u32,
        scale: a.scale,
        cap: a.cap.unwrap_or(0.0),
        padding: 0,
    };
    let mut want = vec![0.0; q.len()];
    let ceilings = attention(&params, &q, &k, &v, &tiles, &mut want);
    let there = |x: &[f32], heads: usize| Rows::upload(gpu(), x, heads * a.dim).unwrap();
    let got = a.run(&there(&q, a.query_heads), &there(&k, a.key_heads), &there(&v, a.key_heads), &sequences).unwrap();
    let mut got = got.read().unwrap();
    if spoil {
        let last = got.len() - 1;
        got[last] += 1e-3;
    }
    let mut ceilings = ceilings.into_iter();
    let mut worst = 0.0f64;
    for tile in tiles {
        for head in 0..a.query_heads {
            for row in tile.query as usize..(tile.query + tile.queries) as usize {
                let at = (row * a.query_heads + head) * a.dim;
                let ceiling = ceilings.next().unwrap();
                for (got, want) in got[at..at + a.dim].iter().zip(&want[at..]) {
                    let departure = (f64::from(*got) - f64::from(*want)).abs() / ceiling;
                    worst = if departure.is_nan() { f64::INFINITY } else { worst.max(departure) };
                }
            }
        }
    }
    worst
}

#[test]
fn attention_of_every_row_is_within_its_tolerance() {
    for (heads, causal, window, cap, past) in [
        ([1, 1, 4], true, None, None, 0),
        ([6, 2, 64], true, None, None, 0),
        ([4, 4, 24], true, Some(5), None, 0),
        ([2, 1, 80], true, Some(40), Some(20.0), 0),
        ([2, 2, 256], true, None, Some(50.0), 3),
        ([3, 1, 33], false, None, None, 0),
    ] {
        let a = case(heads, causal, window, cap);
        let departure = worst(&a, &[70, 1, 33], past, false);
        assert!(departure <= 1.0, "{a:?}: {departure} tolerances");
        assert!(worst(&a, &[70, 1, 33], past, true) > 1.0, "a changed value must be seen");
    }
}

#[test]
fn what_the_kernel_cannot_do_is_refused() {
    assert!(!case([1, 1, 257], true, None, None).is_supported(), "a head too wide");
    let a = case([2, 1, 8], true, None, None);
    let rows = |columns| Rows::upload(gpu(), &vec![0.0; 4 * columns], columns).unwrap();
    let sequence = |keys| [Sequence { queries: 0..4, keys: 0..keys }];
    assert!(a.run(&rows(16), &rows(16), &rows(16), &sequence(4)).is_err(), "keys of another width");
    assert!(a.run(&rows(16), &rows(8), &rows(8), &sequence(5)).is_err(), "more keys than there are");
}
