//! Our encoders against ggml's: for every type the weighted error, Σ importance·(ŵ − w)², relative to that of `ggml_quantize_chunk` (which is
//! what llama-quantize calls) on the same tensor with the same importances, and the time, both on two threads.
//!
//! ```text
//! cargo bench --bench codec_quality -- [--model MODEL --imatrix IMATRIX] [--every N] [--types Q4_K,IQ3_S] [--ggml LIBGGML_BASE]
//! ```
//!
//! ggml is that of the test clients (`cargo xtask test` installs them), or another shared library.
//!
//! The layers: heavy-tailed synthetic ones of 256 × 4096 (Student's t with 3 and 5 degrees of freedom, log-normal importances), and of MODEL
//! every N-th linear whose rows are whole blocks. Inside its searches ggml weighs by importance·√(σ² + w²); the yardstick here is the plain
//! weighted square, which is what its users ask for. Some of its encoders ignore importances.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use anyhow::{Context, Result};
use halftone_core::calibrate::read_imatrix;
use halftone_core::codec::{Format, GgmlType};
use halftone_core::report::Reporter;
use halftone_core::source;
use halftone_tests::clients;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::time::Instant;

const REPEATS: usize = 2;

struct Layer {
    name: String,
    columns: usize,
    weights: Vec<f32>,
    importance: Vec<f32>,
}

/// A standard normal number, by Box and Muller.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v) = (rng.random_range(f64::MIN_POSITIVE..1.0), rng.random_range(0.0..std::f64::consts::TAU));
    (-2.0 * u.ln()).sqrt() * v.cos()
}

fn synthetic(freedom: usize, seed: u64) -> Layer {
    let (rows, columns) = (256, 4096);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut student = || {
        let chi: f64 = (0..freedom).map(|_| normal(&mut rng).powi(2)).sum();
        (0.02 * normal(&mut rng) / (chi / freedom as f64).sqrt()) as f32
    };
    let weights = (0..rows * columns).map(|_| student()).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed + 1000);
    let importance = (0..columns).map(|_| (1.5 * normal(&mut rng)).exp() as f32).collect();
    Layer { name: format!("t{freedom}/{seed}"), columns, weights, importance }
}

/// Every `every`-th linear of a model that the imatrix knows.
fn of_model(model: &Path, imatrix: &Path, every: usize) -> Result<Vec<Layer>> {
    let source = source::open(model, &Reporter::default())?;
    let calibration = read_imatrix(imatrix, &source.fingerprint)?;
    let linears = source.tensors.iter().enumerate().filter(|(_, t)| t.name.starts_with("blk.") && t.quantizable());
    let mut layers = Vec::new();
    for (index, entry) in linears.step_by(every) {
        let input = calibration.inputs.get(&entry.name).with_context(|| format!("{} is not in the imatrix", entry.name))?;
        let importance = input.sum_squares.iter().map(|s| s / input.tokens.max(1) as f32).collect();
        layers.push(Layer { name: entry.name.clone(), columns: entry.columns(), weights: source.view(index).to_f32()?, importance });
    }
    Ok(layers)
}

/// ggml in a process of its own.
struct Ggml {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

impl Ggml {
    fn start(library: Option<&Path>) -> Result<Self> {
        let mut child = clients::command("quantize.py").args(library).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (stdin, stdout) = (child.stdin.take().context("stdin")?, child.stdout.take().context("stdout")?);
        Ok(Self { stdin, stdout: BufReader::new(stdout), folder: tempfile::tempdir()? })
    }

    fn load(&self, layer: &Layer) -> Result<()> {
        std::fs::write(self.folder.path().join("weights"), bytemuck::cast_slice(&layer.weights))?;
        Ok(std::fs::write(self.folder.path().join("importance"), bytemuck::cast_slice(&layer.importance))?)
    }

    /// The loaded layer's blocks and the time they took.
    fn quantize(&mut self, kind: GgmlType, layer: &Layer) -> Result<(Vec<u8>, Time)> {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let rows = layer.weights.len() / layer.columns;
        let (id, block, bytes) = (kind.id(), kind.block_columns(), kind.block_bytes());
        writeln!(self.stdin, "{id} {rows} {} {block} {bytes} {} {} {} {REPEATS}", layer.columns, file("weights"), file("importance"), file("out"))?;
        let mut answer = String::new();
        self.stdout.read_line(&mut answer)?;
        let (clock, processor) = answer.trim().split_once(' ').context("ggml's answer")?;
        Ok((std::fs::read(file("out"))?, Time { clock: clock.parse()?, processor: processor.parse()? }))
    }
}

/// Seconds by the clock, and of all threads' processor time: the latter does not count what other programs take from a shared machine.
#[derive(Clone, Copy)]
struct Time {
    clock: f64,
    processor: f64,
}

/// Seconds that the threads of this process have run; as Linux counts them, 0 elsewhere.
fn processor_seconds() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let of = |task: std::io::Result<std::fs::DirEntry>| -> Option<f64> {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        Some(text.split_whitespace().next()?.parse::<f64>().ok()? * 1e-9)
    };
    tasks.filter_map(of).sum()
}

fn error(kind: GgmlType, bytes: &[u8], layer: &Layer) -> f64 {
    let mut values = vec![f32::NAN; layer.weights.len()];
    Format::Ggml(kind).decode(bytes, &mut values);
    let square = |i: usize| f64::from(layer.importance[i % layer.columns]) * (f64::from(values[i]) - f64::from(layer.weights[i])).powi(2);
    (0..values.len()).map(square).sum()
}

struct Arguments {
    ggml: Option<PathBuf>,
    model: Option<(PathBuf, PathBuf)>,
    every: usize,
    types: Vec<GgmlType>,
}

fn arguments() -> Result<Option<Arguments>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs this too, without the flag.
    if !given.iter().any(|a| a == "--bench") {
        return Ok(None);
    }
    let value = |name: &str| given.iter().position(|a| a == name).and_then(|i| given.get(i + 1));
    let model = value("--model").map(|m| Ok::<_, anyhow::Error>((m.into(), value("--imatrix").context("--model needs --imatrix")?.into()))).transpose()?;
    let wanted = value("--types");
    let types = GgmlType::ALL.iter().copied().filter(|t| t.can_encode() && wanted.is_none_or(|w| w.split(',').any(|w| w == t.name())));
    Ok(Some(Arguments { ggml: value("--ggml").map(PathBuf::from), model, every: value("--every").map_or(Ok(1), |n| n.parse())?, types: types.collect() }))
}

fn main() -> Result<()> {
    let Some(Arguments { ggml, model, every, types }) = arguments()? else {
        println!("nothing compared: run by `cargo bench`");
        return Ok(());
    };
    let mut layers: Vec<Layer> = (0..4).map(|seed| synthetic(if seed % 2 == 0 { 3 } else { 5 }, seed)).collect();
    if let Some((model, imatrix)) = model {
        layers.extend(of_model(&model, &imatrix, every)?);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
    let mut ggml = Ggml::start(ggml.as_deref())?;
    let mut measured: Vec<Vec<(f64, Time, Time, &Layer)>> = types.iter().map(|_| Vec::new()).collect();
    for layer in &layers {
        ggml.load(layer)?;
        for (&kind, measured) in types.iter().zip(&mut measured).filter(|(t, _)| layer.columns % t.block_columns() == 0) {
            let (mut time, mut bytes) = (Time { clock: f64::INFINITY, processor: f64::INFINITY }, Vec::new());
            for _ in 0..REPEATS {
                let (start, start_processor) = (Instant::now(), processor_seconds());
                bytes = pool.install(|| Format::Ggml(kind).encode(&layer.weights, layer.columns, Some(&layer.importance)))?;
                time.clock = time.clock.min(start.elapsed().as_secs_f64());
                time.processor = time.processor.min(processor_seconds() - start_processor);
            }
            let (theirs, their_time) = ggml.quantize(kind, layer)?;
            measured.push((error(kind, &bytes, layer) / error(kind, &theirs, layer), time, their_time, layer));
        }
    }
    println!("| type | mean ratio | max ratio | of | n | clock ratio | processor ratio | ours, ns a weight | ggml's |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (kind, measured) in types.iter().zip(&measured).filter(|(_, m)| !m.is_empty()) {
        let mean = measured.iter().map(|m| m.0).sum::<f64>() / measured.len() as f64;
        let worst = measured.iter().max_by(|a, b| a.0.total_cmp(&b.0)).context("a layer")?;
        let weights: usize = measured.iter().map(|m| m.3.weights.len()).sum();
        let sum = |of: fn(&(f64, Time, Time, &Layer)) -> f64| measured.iter().map(of).sum::<f64>();
        let (clock, processor, theirs) = (sum(|m| m.1.clock) / sum(|m| m.2.clock), sum(|m| m.1.processor), sum(|m| m.2.processor));
        let nanoseconds = |s: f64| s * 1e9 / weights as f64;
        println!(
            "| {kind} | {mean:.4} | {:.4} | {} | {} | {clock:.2} | {:.2} | {:.1} | {:.1} |",
            worst.0,
            worst.3.name,
            measured.len(),
            processor / theirs,
            nanoseconds(processor),
            nanoseconds(theirs)
        );
    }
    Ok(())
}
