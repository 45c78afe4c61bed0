//! Sums over batches, threads and bad inputs.

use super::*;
use crate::model::tensor_from;

fn batch(tokens: usize, columns: usize, salt: usize) -> Vec<f32> {
    (0..tokens * columns).map(|i| ((i * 7919 + salt * 31) % 1009) as f32 / 500.0 - 1.0).collect()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

#[test]
fn keys_do_not_count_what_all_tokens_share_and_values_do() {
    let reporter = Reporter::default();
    let mut collector = Collector::new(100, &reporter);
    // Two queries: one reads both tokens alike, one only the second.
    let (input, received, mixed) = ([1.0, 2.0, 0.0, 1.0, 2.0, 4.0], [0.5, 1.5], [1.0, 2.0, 2.0, 1.0, 2.0, 4.0]);
    collector.attended_input("k", "v", &input, &received, &mixed).unwrap();
    let (inputs, tensors) = collector.finish();
    assert!(tensors.is_empty(), "they are no inputs of their own");
    let values = inputs[&attended_key("v")].gram.as_deref().unwrap();
    assert_eq!(values, [2.0, 4.0, 6.0, 4.0, 8.0, 12.0, 6.0, 12.0, 20.0], "ZᵀZ of what was mixed");
    // The first query sees channel 2 spread by ±2 around 2; the second sees no spread. Channels 0 and 1 are the same everywhere.
    let keys = inputs[&attended_key("k")].gram.as_deref().unwrap();
    let want = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0];
    assert!(keys.iter().zip(want).all(|(k, w)| (k - w).abs() < 1e-5), "{keys:?}");
    assert_eq!(inputs[&attended_key("k")].tokens, 2, "queries");
}

#[test]
fn sums_over_batches_equal_the_loops() {
    let (columns, reporter) = (70, Reporter::default());
    let mut collector = Collector::new(100, &reporter);
    let mut all = Vec::new();
    for (salt, tokens) in [200, 1, 33].into_iter().enumerate() {
        let x = batch(tokens, columns, salt);
        collector.linear_input(&names(&["q", "k"]), &tensor_from(x.clone(), tokens, columns).unwrap()).unwrap();
        all.extend(x);
    }
    let (inputs, tensors) = collector.finish();
    assert_eq!(tensors.get("k"), Some(&"q".to_owned()), "k reads q's input");
    let got = &inputs["q"];
    assert_eq!((got.tokens, inputs.len()), (234, 1), "one input");
    let gram = got.gram.as_ref().unwrap();
    for i in 0..columns {
        for j in 0..columns {
            let want: f64 = all.chunks(columns).map(|row| f64::from(row[i]) * f64::from(row[j])).sum();
            assert!((f64::from(gram[i * columns + j]) - want).abs() < 1e-4 * 234.0, "H[{i},{j}] = {} instead of {want}", gram[i * columns + j]);
        }
        assert!((got.sum_squares[i] / gram[i * columns + i] - 1.0).abs() < 1e-5, "the diagonal is Σx²");
        let column = || all.iter().skip(i).step_by(columns);
        let sum: f64 = column().map(|&v| f64::from(v)).sum();
        assert!((f64::from(got.sums[i]) - sum).abs() < 1e-4, "Σx of column {i}");
        assert_eq!(got.absmax[i], column().fold(0.0f32, |m, v| m.max(v.abs())), "largest |x| of column {i}");
    }
    assert!(reporter.notices().is_empty(), "nothing to tell");
    let mut maxima: Vec<f32> = all.chunks(columns).map(|row| row.iter().fold(0.0f32, |m, v| m.max(v.abs()))).collect();
    maxima.sort_by(|a, b| b.total_cmp(a));
    for (peak, max) in got.peaks.iter().zip(&maxima) {
        assert_eq!(peak.value.abs(), *max, "token maxima, largest first");
        assert_eq!(all[peak.token as usize * columns + peak.channel as usize], peak.value, "where it says");
    }
    assert_eq!(got.peaks.len(), PEAKS, "as many as are kept");
}

#[test]
fn sums_have_the_same_bits_for_any_number_of_threads() {
    let run = |threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let reporter = Reporter::default();
            let mut collector = Collector::new(400, &reporter);
            collector.linear_input(&names(&["q"]), &tensor_from(batch(500, 300, 1), 500, 300).unwrap()).unwrap();
            let input = collector.finish().0.shift_remove("q").unwrap();
            (input.sum_squares, input.gram)
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(5), "one, two, five threads");
}

#[test]
fn a_wide_input_keeps_only_squares_and_says_so() {
    let reporter = Reporter::default();
    let mut collector = Collector::new(8, &reporter);
    collector.linear_input(&names(&["down"]), &tensor_from(batch(3, 9, 0), 3, 9).unwrap()).unwrap();
    let (inputs, _) = collector.finish();
    assert!(inputs["down"].gram.is_none() && inputs["down"].sum_squares.len() == 9, "squares only");
    assert_eq!(reporter.notices().len(), 1, "one notice");
}

#[test]
fn tokens_with_nan_are_left_out_and_the_first_channel_is_named() {
    let reporter = Reporter::default();
    let mut collector = Collector::new(8, &reporter);
    let mut x = batch(5, 4, 0);
    x[2 * 4 + 3] = f32::NAN;
    collector.linear_input(&names(&["a"]), &tensor_from(x, 5, 4).unwrap()).unwrap();
    collector.linear_input(&names(&["b", "c"]), &tensor_from(vec![f32::INFINITY; 20], 5, 4).unwrap()).unwrap();
    let (inputs, tensors) = collector.finish();
    assert_eq!(inputs["a"].tokens, 4, "one token left out");
    assert!(inputs["a"].sum_squares.iter().all(|s| s.is_finite()), "clean sums");
    assert!(!inputs.contains_key("b") && !tensors.contains_key("c"), "nothing is known of an input without finite tokens");
    let notices: Vec<String> = reporter.notices().iter().map(ToString::to_string).collect();
    assert!(notices.len() == 2 && notices[0].starts_with("a: channel 3"), "{notices:?}");
}
