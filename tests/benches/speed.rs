//! Tokens a second of the forward pass over SmolLM2's blocks in single precision, beside the same pass in plain candle and in torch; what
//! the statistics of a calibration cost on top; and where the time goes, next to the machine's peak. One run, two threads.
//!
//! `cargo bench --workspace --profile dev --features xtask/train --bench speed -- [MODEL.gguf] [PYTHON]`, where PYTHON has torch from pip.
//! Weights are loaded before the clock starts, except where it says so. The head is left out: calibration does not run it.

#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::{rms_norm, silu, softmax_last_dim};
use candle_nn::rotary_emb::rope_i;
use halftone_core::calibrate::{CalibrationOptions, calibrate_sequences};
use halftone_core::job::JobContext;
use halftone_core::model::{Block, Taps, Transformer, Weights, ahead};
use halftone_core::report::Reporter;
use halftone_core::source::{Source, open};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

const SEQUENCES: usize = 4;
const LENGTH: usize = 512;
const TOKENS: usize = SEQUENCES * LENGTH;
const REPEATS: usize = 3;
const THREADS: usize = 2;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    halftone_core::compute::set_threads(THREADS).expect("the pool is not running yet");
    let path = args.first().map_or_else(|| halftone_tests::models::model("smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"), PathBuf::from);
    let source = open(&path, &Reporter::default()).expect("a model");
    let vocab = source.config.vocab_size as u32;
    let sequences: Vec<Vec<u32>> = (0..SEQUENCES as u32).map(|s| (0..LENGTH as u32).map(|i| (s * 7919 + i * 104_729) % vocab).collect()).collect();
    let transformer = Transformer::new(&source).expect("a forward pass");
    let (cx, start) = (JobContext::silent(), transformer.embed(&sequences).expect("tokens"));

    let peak = [1024, 2048].map(|n| gflops(n, n, n)).into_iter().fold(0.0, f64::max);
    println!("peak of a matrix product, 1024 to 2048 cubed: {peak:.0} GFLOP/s on {THREADS} threads");

    let (blocks, loading) = timed(|| (0..transformer.blocks()).map(|b| transformer.block(b).expect("weights")).collect::<Vec<Block>>());
    println!("loading all blocks: {loading:.2} s");
    let ours = || {
        let hidden = blocks.iter().fold(start.clone(), |hidden, block| block.forward(&hidden, None, &cx).expect("runs"));
        transformer.final_norm(&hidden).expect("a norm")
    };
    let plain = Plain::load(&source).expect("weights");
    let begun = Tensor::stack(&start, 0).expect("equal lengths");
    let theirs = || plain.forward(&begun).expect("runs");
    let difference = (Tensor::stack(&ours(), 0).expect("equal lengths") - theirs()).and_then(|d| d.abs()?.max_all()?.to_scalar::<f32>()).expect("numbers");
    println!("largest difference of the final states: {difference:.1e}");
    assert!(difference < 0.05, "both compute the same");
    let ours = best(|| drop(ours()));
    let theirs = best(|| drop(theirs()));
    let speed = |seconds: f64| TOKENS as f64 / seconds;
    println!("forward      {:>8.0} tokens/s", speed(ours));
    println!("plain candle {:>8.0} tokens/s   we are {:.2} times as fast (must be 1.5)", speed(theirs), theirs / ours);
    if let Some(python) = args.get(1) {
        match torch(python, &source) {
            Some(torch) => println!("torch        {:>8.0} tokens/s   we are {:.2} times as fast (goal: 1)", torch, speed(ours) / torch),
            None => println!("torch: {python} cannot run the script"),
        }
    }
    statistics(&source, &sequences, &cx);
    parts(&source, &blocks, &start, peak, ours, &cx);
}

fn timed<R>(f: impl FnOnce() -> R) -> (R, f64) {
    let start = Instant::now();
    let result = f();
    (result, start.elapsed().as_secs_f64())
}

fn best(mut f: impl FnMut()) -> f64 {
    (0..REPEATS).map(|_| timed(&mut f).1).fold(f64::INFINITY, f64::min)
}

/// Billions of operations a second of an m × k by k × n product as the model's linears make it.
fn gflops(m: usize, n: usize, k: usize) -> f64 {
    let (a, b) = (vec![1.0f32; m * k], vec![1.0f32; n * k]);
    let seconds = best(|| drop(std::hint::black_box(halftone_core::numeric::product::times_transposed(&a, &b, k))));
    2.0 * (m * n * k) as f64 / seconds / 1e9
}

/// What Σx², H and the rest cost on top of the pass, both with weights loaded block by block.
fn statistics(source: &Source, sequences: &[Vec<u32>], cx: &JobContext) {
    let transformer = Transformer::new(source).expect("a forward pass");
    let forward = best(|| {
        let mut stream = transformer.stream(sequences, u64::MAX, cx).expect("memory");
        ahead(transformer.blocks(), |b| transformer.block(b), |_, block| stream.through(&block, None, cx)).expect("runs");
    });
    let with = |gram_columns| {
        let options = CalibrationOptions { tokens: TOKENS, sequence_length: LENGTH, gram_columns };
        best(|| drop(calibrate_sequences(source, sequences, String::new(), &options, cx).expect("runs")))
    };
    let percent = |seconds: f64| 100.0 * (seconds / forward - 1.0);
    println!(
        "with weights loaded beside it: {:.0} tokens/s; on top: Σx² and maxima {:.0} %, with every H {:.0} % (must be at most 30)",
        TOKENS as f64 / forward,
        percent(with(0)),
        percent(with(usize::MAX))
    );
}

/// Notes the time at each input.
struct Laps {
    last: Instant,
    /// Queries, keys, values and attention; its output and the norm; entrance of the feed-forward; its exit and the norm.
    seconds: [f64; 4],
}

impl Taps for Laps {
    fn linear_input(&mut self, names: &[String], _: &Tensor) -> halftone_core::Result<()> {
        let ended = ["attn_output", "ffn_gate", "ffn_down", "attn_q"].iter().position(|part| names[0].contains(part));
        let now = Instant::now();
        if let Some(part) = ended {
            self.seconds[part] += (now - self.last).as_secs_f64();
        }
        self.last = now;
        Ok(())
    }
}

fn parts(source: &Source, blocks: &[Block], start: &[Tensor], peak: f64, forward: f64, cx: &JobContext) {
    let c = &source.config;
    let mut laps = Laps { last: Instant::now(), seconds: [0.0; 4] };
    let mut hidden = start.to_vec();
    for block in blocks {
        hidden = block.forward(&hidden, Some(&mut laps), cx).expect("runs");
    }
    let (kv, query) = (c.kv_head_count * c.head_dim, c.head_count * c.head_dim);
    let shapes = [(0, query, c.hidden_size), (0, kv, c.hidden_size), (0, kv, c.hidden_size), (1, c.hidden_size, query)];
    let shapes =
        shapes.into_iter().chain([(2, c.intermediate_size, c.hidden_size), (2, c.intermediate_size, c.hidden_size), (3, c.hidden_size, c.intermediate_size)]);
    let mut linears = [0.0; 4];
    for (part, outputs, inputs) in shapes {
        let speed = gflops(TOKENS, outputs, inputs);
        linears[part] += 2.0 * (TOKENS * outputs * inputs) as f64 / speed / 1e9 * blocks.len() as f64;
        println!("  linear {inputs:>5} to {outputs:>5}: {speed:>5.0} GFLOP/s, {:.0} % of the peak", 100.0 * speed / peak);
    }
    let share = |seconds: f64| 100.0 * seconds / forward;
    println!("linears together {:.0} % of the pass", share(linears.iter().sum()));
    // Causal: half of the scores, and of what they mix.
    let attention = 2.0 * (SEQUENCES * LENGTH * LENGTH * query * blocks.len()) as f64;
    let rest: Vec<f64> = laps.seconds.iter().zip(linears).map(|(all, linear)| all - linear).collect();
    println!("attention with rotation and heads {:.0} %, {:.0} GFLOP/s", share(rest[0]), attention / rest[0] / 1e9);
    println!("activation {:.0} %; norms and sums {:.0} % (both by difference)", share(rest[2]), share(rest[1] + rest[3]));
}

/// The script beside this file, which prints tokens a second.
fn torch(python: &str, source: &Source) -> Option<f64> {
    let c = &source.config;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/torch_forward.py");
    let sizes = [c.block_count, c.hidden_size, c.intermediate_size, c.head_count, c.kv_head_count, c.head_dim, SEQUENCES, LENGTH, THREADS, REPEATS];
    let run = Command::new(python).arg(script).args(sizes.map(|n| n.to_string())).output().ok()?;
    String::from_utf8_lossy(&run.stdout).trim().parse().ok()
}

/// The same blocks as candle's own operations make them.
struct Plain {
    blocks: Vec<[Tensor; 9]>,
    norm: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: f32,
    heads: (usize, usize, usize),
}

impl Plain {
    fn load(source: &Source) -> Result<Self> {
        let c = &source.config;
        let tensor = |name: String| {
            let (values, shape) = source.load(&name).expect("readable").expect("there");
            Tensor::from_vec(values, shape, &Device::Cpu)
        };
        let parts = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"];
        let block = |b: usize| -> Result<[Tensor; 9]> {
            let all: Vec<Tensor> = parts.iter().map(|part| tensor(format!("blk.{b}.{part}.weight"))).collect::<Result<_>>()?;
            Ok(all.try_into().expect("nine"))
        };
        let theta = c.rope.as_ref().expect("rotary").theta;
        let half = c.head_dim / 2;
        let angles: Vec<f32> = (0..LENGTH * half).map(|i| (i / half) as f32 / theta.powf((i % half) as f32 / half as f32)).collect();
        let angles = Tensor::from_vec(angles, (LENGTH, half), &Device::Cpu)?;
        Ok(Self {
            blocks: (0..c.block_count).map(block).collect::<Result<_>>()?,
            norm: tensor("output_norm.weight".to_owned())?,
            cos: angles.cos()?,
            sin: angles.sin()?,
            eps: c.norm_eps,
            heads: (c.head_count, c.kv_head_count, c.head_dim),
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (heads, kv_heads, dim) = self.heads;
        let (batch, length, width) = x.dims3()?;
        let linear = |x: &Tensor, w: &Tensor| x.reshape((batch * length, x.dim(D::Minus1)?))?.matmul(&w.t()?);
        let split = |x: Tensor, heads: usize| x.reshape((batch, length, heads, dim))?.transpose(1, 2)?.contiguous();
        let mask: Vec<f32> = (0..length * length).map(|i| if i % length > i / length { f32::NEG_INFINITY } else { 0.0 }).collect();
        let mask = Tensor::from_vec(mask, (length, length), &Device::Cpu)?;
        let mut x = x.clone();
        for [attn_norm, q, k, v, o, ffn_norm, gate, up, down] in &self.blocks {
            let h = rms_norm(&x, attn_norm, self.eps)?;
            let q = rope_i(&split(linear(&h, q)?, heads)?, &self.cos, &self.sin)?;
            let k = rope_i(&split(linear(&h, k)?, kv_heads)?, &self.cos, &self.sin)?;
            let v = split(linear(&h, v)?, kv_heads)?;
            let shared = |t: Tensor| t.unsqueeze(2)?.expand((batch, kv_heads, heads / kv_heads, length, dim))?.reshape((batch, heads, length, dim));
            let scores = (q.matmul(&shared(k)?.t()?)? * (1.0 / (dim as f64).sqrt()))?.broadcast_add(&mask)?;
            let mixed = softmax_last_dim(&scores)?.matmul(&shared(v)?)?;
            let mixed = mixed.transpose(1, 2)?.reshape((batch, length, heads * dim))?;
            x = (x + linear(&mixed, o)?.reshape((batch, length, width))?)?;
            let h = rms_norm(&x, ffn_norm, self.eps)?;
            let gated = (silu(&linear(&h, gate)?)? * linear(&h, up)?)?;
            x = (x + linear(&gated, down)?.reshape((batch, length, width))?)?;
        }
        rms_norm(&x, &self.norm, self.eps)
    }
}
