//! The llama forward in loops over f64, written from the formulas alone: the reference of the tests, and the tests.

use super::random::RandomLlama;
use super::*;
use crate::error::Error;
use crate::job::JobContext;
use crate::source::{RopeLayout, RopeScaling};
use candle_core::Tensor;

type Rows = Vec<Vec<f64>>;

struct Naive<'a>(&'a RandomLlama);

impl Naive<'_> {
    fn tensor(&self, name: &str) -> &[f32] {
        &self.0.tensors[name].0
    }

    fn linear(&self, stem: &str, x: &Rows) -> Rows {
        let (weight, shape) = &self.0.tensors[&format!("{stem}.weight")];
        let bias = self.0.tensors.get(&format!("{stem}.bias"));
        x.iter()
            .map(|row| {
                (0..shape[0])
                    .map(|o| {
                        let sum: f64 = (0..shape[1]).map(|i| f64::from(weight[o * shape[1] + i]) * row[i]).sum();
                        sum + bias.map_or(0.0, |b| f64::from(b.0[o]))
                    })
                    .collect()
            })
            .collect()
    }

    fn norm(&self, name: &str, x: &Rows) -> Rows {
        let gamma = self.tensor(name);
        x.iter()
            .map(|row| {
                let mean = row.iter().map(|v| v * v).sum::<f64>() / row.len() as f64;
                let scale = 1.0 / (mean + f64::from(self.0.config.norm_eps)).sqrt();
                row.iter().zip(gamma).map(|(v, &g)| v * scale * f64::from(g)).collect()
            })
            .collect()
    }

    fn rope(&self, x: &mut Rows) {
        let c = &self.0.config;
        let rope = c.rope.unwrap();
        let half = rope.dimensions / 2;
        for (position, row) in x.iter_mut().enumerate() {
            for head in row.chunks_mut(c.head_dim) {
                for i in 0..half {
                    let angle = position as f64 / f64::from(rope.theta).powf(i as f64 / half as f64);
                    let (a, b) = if rope.layout == RopeLayout::Half { (i, i + half) } else { (2 * i, 2 * i + 1) };
                    let (x, y) = (head[a], head[b]);
                    head[a] = x * angle.cos() - y * angle.sin();
                    head[b] = x * angle.sin() + y * angle.cos();
                }
            }
        }
    }

    fn logits(&self, tokens: &[u32]) -> Rows {
        let c = &self.0.config;
        let (d, group) = (c.head_dim, c.head_count / c.kv_head_count);
        let table = self.tensor("token_embd.weight");
        let mut x: Rows = tokens.iter().map(|&t| table[t as usize * c.hidden_size..][..c.hidden_size].iter().map(|&v| f64::from(v)).collect()).collect();
        for block in 0..c.block_count {
            let n = self.norm(&format!("blk.{block}.attn_norm.weight"), &x);
            let [mut q, mut k, v] = ["q", "k", "v"].map(|p| self.linear(&format!("blk.{block}.attn_{p}"), &n));
            self.rope(&mut q);
            self.rope(&mut k);
            let mut attended = vec![vec![0.0; c.head_count * d]; tokens.len()];
            for head in 0..c.head_count {
                let (qa, ka) = (head * d, head / group * d);
                for t in 0..tokens.len() {
                    let scores: Vec<f64> = (0..=t).map(|s| ((0..d).map(|i| q[t][qa + i] * k[s][ka + i]).sum::<f64>() / (d as f64).sqrt()).exp()).collect();
                    let sum: f64 = scores.iter().sum();
                    for (s, score) in scores.iter().enumerate() {
                        for i in 0..d {
                            attended[t][qa + i] += score / sum * v[s][ka + i];
                        }
                    }
                }
            }
            add(&mut x, &self.linear(&format!("blk.{block}.attn_output"), &attended));
            let n = self.norm(&format!("blk.{block}.ffn_norm.weight"), &x);
            let mut gate = self.linear(&format!("blk.{block}.ffn_gate"), &n);
            let up = self.linear(&format!("blk.{block}.ffn_up"), &n);
            for (g, u) in gate.iter_mut().zip(&up) {
                for (g, u) in g.iter_mut().zip(u) {
                    *g = *g / (1.0 + (-*g).exp()) * u;
                }
            }
            add(&mut x, &self.linear(&format!("blk.{block}.ffn_down"), &gate));
        }
        let head = if c.tied_head { "token_embd" } else { "output" };
        self.linear(head, &self.norm("output_norm.weight", &x))
    }
}

fn add(x: &mut Rows, y: &Rows) {
    for (x, y) in x.iter_mut().flatten().zip(y.iter().flatten()) {
        *x += y;
    }
}

fn logits(model: &RandomLlama, sequences: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let transformer = Transformer::new(model).unwrap();
    let head = transformer.head().unwrap();
    let hidden = transformer.hidden(sequences, None, &JobContext::silent()).unwrap();
    hidden.iter().map(|h| logits_of(h, &head).unwrap().flatten_all().unwrap().to_vec1().unwrap()).collect()
}

fn assert_close(got: &[f32], want: &Rows, what: &str) {
    let largest = want.iter().flatten().fold(0.0f64, |a, b| a.max(b.abs()));
    assert_eq!(got.len(), want.iter().map(Vec::len).sum::<usize>(), "{what}: count");
    for (i, (&g, w)) in got.iter().zip(want.iter().flatten()).enumerate() {
        assert!((f64::from(g) - w).abs() < 1e-5 * largest, "{what}: value {i} is {g} instead of {w}");
    }
}

#[test]
fn forward_equals_the_loops_for_both_ropes_tied_or_not_whatever_the_batch() {
    for layout in [RopeLayout::Interleaved, RopeLayout::Half] {
        for tied in [true, false] {
            let model = RandomLlama::new(1, layout, tied);
            // 300 tokens make three tiles of queries; the lengths make several batches.
            let sequences = model.sequences(&[300, 1, 7, 2000, 5]);
            let got = logits(&model, &sequences);
            for i in [0, 1, 2, 4] {
                assert_close(&got[i], &Naive(&model).logits(&sequences[i]), &format!("{layout:?}, tied {tied}, sequence {i}"));
            }
        }
    }
}

#[test]
fn forward_adds_the_biases_of_query_key_and_value() {
    let mut model = RandomLlama::new(2, RopeLayout::Half, true);
    for (part, width) in [("q", 24), ("k", 8), ("v", 8)] {
        model.tensors.insert(format!("blk.1.attn_{part}.bias"), ((0..width).map(|i| i as f32 / 10.0).collect(), vec![width]));
    }
    let sequences = model.sequences(&[9]);
    assert_close(&logits(&model, &sequences)[0], &Naive(&model).logits(&sequences[0]), "with biases");
}

#[test]
fn interleaved_rope_is_half_rope_with_permuted_rows() {
    let half = RandomLlama::new(3, RopeLayout::Half, true);
    let mut interleaved = half.clone();
    interleaved.config.rope.as_mut().unwrap().layout = RopeLayout::Interleaved;
    let (d, hidden) = (half.config.head_dim, half.config.hidden_size);
    for (name, (values, _)) in &mut interleaved.tensors {
        if name.ends_with("attn_q.weight") || name.ends_with("attn_k.weight") {
            let old = values.clone();
            for row in 0..values.len() / hidden {
                let (head, i) = (row / d, row % d);
                let from = head * d + i / 2 + (i % 2) * (d / 2);
                values[row * hidden..][..hidden].copy_from_slice(&old[from * hidden..][..hidden]);
            }
        }
    }
    let sequences = half.sequences(&[30]);
    let (a, b) = (logits(&half, &sequences), logits(&interleaved, &sequences));
    let largest = a[0].iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(a[0].iter().zip(&b[0]).all(|(a, b)| (a - b).abs() < 1e-5 * largest), "the same function");
}

#[test]
fn rope_freqs_tensor_divides_the_frequencies() {
    let plain = RandomLlama::new(4, RopeLayout::Half, true);
    let mut divided = plain.clone();
    divided.tensors.insert("rope_freqs.weight".into(), (vec![4.0, 4.0], vec![2]));
    let mut scaled = plain.clone();
    scaled.config.rope.as_mut().unwrap().scaling = RopeScaling::Linear { factor: 4.0 };
    let sequences = plain.sequences(&[20]);
    assert_eq!(logits(&divided, &sequences), logits(&scaled, &sequences), "all divided by 4 is linear scaling by 4");
    assert_ne!(logits(&divided, &sequences), logits(&plain, &sequences), "and is not nothing");
}

#[test]
fn forward_has_the_same_bits_for_any_number_of_threads() {
    let model = RandomLlama::new(5, RopeLayout::Half, false);
    let sequences = model.sequences(&[150, 700, 33]);
    let with = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| logits(&model, &sequences));
    let one = with(1);
    assert_eq!(one, with(2), "two threads");
    assert_eq!(one, with(5), "five threads");
}

#[test]
fn cached_generation_equals_the_full_forward() {
    let model = RandomLlama::new(6, RopeLayout::Interleaved, false);
    let sequence = model.sequences(&[40]).remove(0);
    let mut generator = Generator::new(&model, &JobContext::silent()).unwrap();
    let want = Naive(&model).logits(&sequence);
    for (range, what) in [(0..11, "prompt"), (11..12, "one token"), (12..40, "several")] {
        let end = range.end;
        assert_close(&generator.advance(&sequence[range]).unwrap(), &vec![want[end - 1].clone()], what);
    }
}

#[test]
fn generation_repeats_itself_for_a_seed_and_stops_at_the_end_token() {
    let model = RandomLlama::new(7, RopeLayout::Half, true);
    let run = |temperature, seed, end| {
        let options = GenerateOptions { tokens: 12, temperature, top_k: 10, seed };
        generate(&model, &[1, 2, 3], end, &options, &JobContext::silent(), |_| {}).unwrap()
    };
    let drawn = run(1.5, 1, None);
    assert_eq!(drawn.len(), 12, "as many as asked");
    assert_eq!(drawn, run(1.5, 1, None), "same seed");
    assert!((2..6).any(|seed| run(1.5, seed, None) != drawn), "other seeds");
    let stopped = run(1.5, 1, Some(drawn[4]));
    let first = drawn.iter().position(|t| *t == drawn[4]).unwrap();
    assert_eq!(stopped, drawn[..first], "up to the end token");
}

#[test]
fn taps_see_each_input_once_with_all_tokens() {
    struct Count(Vec<(String, usize, usize)>);
    impl Taps for Count {
        fn linear_input(&mut self, names: &[String], input: &Tensor) -> crate::Result<()> {
            let (rows, columns) = input.dims2()?;
            self.0.push((names.join(" "), rows, columns));
            Ok(())
        }
    }
    let model = RandomLlama::new(8, RopeLayout::Half, true);
    let mut count = Count(Vec::new());
    let sequences = model.sequences(&[8, 9]);
    Transformer::new(&model).unwrap().hidden(&sequences, Some(&mut count), &JobContext::silent()).unwrap();
    assert_eq!(count.0[0], ("blk.0.attn_q.weight blk.0.attn_k.weight blk.0.attn_v.weight".into(), 17, 24), "shared input");
    assert_eq!(count.0[3], ("blk.0.ffn_down.weight".into(), 17, 36), "widest input");
    assert_eq!(count.0[8], ("token_embd.weight".into(), 17, 24), "the tied head");
    assert_eq!(count.0.len(), 9, "four inputs a block and the head");
}

#[test]
fn a_missing_or_misshapen_tensor_or_token_is_an_error_that_names_it() {
    let model = RandomLlama::new(9, RopeLayout::Half, true);
    let run = |model: &RandomLlama, tokens: Vec<u32>| Transformer::new(model)?.hidden(&[tokens], None, &JobContext::silent()).map(|_| ());
    assert!(run(&model, vec![1, 2]).is_ok(), "the model itself runs");
    assert!(matches!(run(&model, vec![40]), Err(Error::Input(text)) if text.contains("40")), "token outside");
    assert!(matches!(run(&model, vec![]), Err(Error::Input(_))), "no tokens");
    let mut broken = model.clone();
    broken.tensors.shift_remove("blk.1.ffn_up.weight");
    assert!(matches!(run(&broken, vec![1]), Err(Error::MissingTensor { name }) if name == "blk.1.ffn_up.weight"), "missing");
    let mut broken = model.clone();
    broken.tensors["blk.1.attn_k.weight"].1 = vec![24, 8];
    assert!(matches!(run(&broken, vec![1]), Err(Error::Mismatch { expected, .. }) if expected.contains("blk.1.attn_k.weight")), "misshapen");
    let mut broken = model.clone();
    broken.config.kv_head_count = 5;
    assert!(matches!(run(&broken, vec![1]), Err(Error::Mismatch { .. })), "6 heads over 5");
}
