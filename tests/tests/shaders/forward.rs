//! The same transformer on the CPU and on the device: outputs, divergences and matrices of inputs, of tiny models of every architecture and of
//! real ones, stored as floats and in blocks.

use super::gpu;
use half::f16;
use halftone_core::calibrate::{CalibrationOptions, HoldOutText, calibrate_sequences};
use halftone_core::codec::Format;
use halftone_core::compute::DeviceChoice;
use halftone_core::error::Result;
use halftone_core::eval::{CompareOptions, Comparison, Runtime, compare};
use halftone_core::job::{JobContext, QuantizeOptions, SequentialText, quantize_sequentially};
use halftone_core::model::{StoredWeight, Transformer, Weights, logits_of};
use halftone_core::recipe::Recipe;
use halftone_core::report::Reporter;
use halftone_core::source::{self, ModelConfig, Source};
use halftone_tests::models::model;
use halftone_tests::stories15m;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Largest difference of an output, as a share of the range of the CPU's outputs.
const TOLERANCE: f32 = 1e-4;

/// A choice that means the adapter of the tests, opened for this choice alone: devices are shared by whoever chooses alike.
pub(super) fn own_device() -> DeviceChoice {
    static CHOICES: AtomicUsize = AtomicUsize::new(0);
    let choice = CHOICES.fetch_add(1, Ordering::Relaxed);
    let name = gpu().name().char_indices().map(|(i, c)| if choice >> i & 1 == 1 { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() });
    DeviceChoice::Named(name.take(8).collect())
}

pub(super) fn on_gpu() -> JobContext {
    JobContext::new(own_device(), |_| {})
}

/// On a device whose buffers hold 128 KiB.
fn on_cramped() -> JobContext {
    let cx = on_gpu();
    cx.use_backend(Arc::new(super::cramped(128 << 10)));
    cx
}

pub(super) fn tiny(name: &str) -> Source {
    open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/architectures").join(name))
}

fn open(path: &Path) -> Source {
    source::open(path, &Reporter::default()).unwrap()
}

pub(super) fn stories() -> Source {
    open(&stories15m::gguf().unwrap())
}

/// Tokens that follow no pattern.
pub(super) fn sequences(lengths: &[usize], vocab: usize) -> Vec<Vec<u32>> {
    let token = |s: usize, i: usize| ((s * 7919 + i * 104_729 + i * i * 31) % vocab.min(5000)) as u32;
    lengths.iter().enumerate().map(|(s, &length)| (0..length).map(|i| token(s, i)).collect()).collect()
}

/// Logits, or an encoder's hidden states, of all sequences.
fn outputs(weights: &dyn Weights, sequences: &[Vec<u32>], cx: &JobContext) -> Vec<f32> {
    let transformer = Transformer::on(weights, cx).unwrap();
    let hidden = transformer.hidden(sequences, None, cx).unwrap();
    let head = transformer.head_name().map(|_| transformer.head().unwrap());
    let output = |hidden| head.as_ref().map_or_else(|| Clone::clone(hidden), |head| logits_of(hidden, head).unwrap());
    hidden.iter().flat_map(|h| output(h).flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect()
}

fn difference(want: &[f32], got: &[f32]) -> f32 {
    assert_eq!(want.len(), got.len(), "as many outputs");
    let range = want.iter().fold(f32::MIN, |m, v| m.max(*v)) - want.iter().fold(f32::MAX, |m, v| m.min(*v));
    want.iter().zip(got).fold(0.0, |m: f32, (w, g)| if (g - w).is_nan() { f32::INFINITY } else { m.max((g - w).abs()) }) / range
}

/// How often a kernel ran on the context's device.
pub(super) fn calls(cx: &JobContext, kernel: &str) -> u64 {
    let device = cx.accelerator().unwrap();
    let gpu = device.gpu().unwrap();
    gpu.finish().unwrap();
    gpu.used().iter().filter(|used| used.kernel == kernel).map(|used| used.calls).sum()
}

/// Compares the device's outputs with the CPU's; nothing may have fallen back.
fn agree(weights: &dyn Weights, sequences: &[Vec<u32>], product: &str) -> f32 {
    let cx = on_gpu();
    let (want, got) = (outputs(weights, sequences, &JobContext::silent()), outputs(weights, sequences, &cx));
    assert_eq!(cx.reporter.notices(), [], "nothing falls back");
    assert!(calls(&cx, "attention") > 0 && calls(&cx, product) > 0, "it ran there");
    difference(&want, &got)
}

#[test]
fn every_architecture_gives_the_same_outputs_on_both() {
    for name in [
        "llama",
        "mistral",
        "qwen2",
        "qwen2-window",
        "qwen3",
        "gemma",
        "gemma2",
        "gemma3",
        "phi3",
        "phi3-long",
        "gpt2",
        "mixtral",
        "qwen2-moe",
        "qwen3-moe",
        "bert",
    ] {
        let source = tiny(name);
        let error = agree(&source, &sequences(&[40, 3, 17], 96), "norm");
        println!("{name}: {error:.1e}");
        assert!(error < TOLERANCE, "{name}: {error}");
    }
}

#[test]
fn attention_without_a_kernel_is_done_on_the_host_and_told() {
    let (source, cx) = (tiny("mpnet"), on_gpu());
    let sequences = sequences(&[20, 5], 96);
    let error = difference(&outputs(&source, &sequences, &JobContext::silent()), &outputs(&source, &sequences, &cx));
    assert!(error < TOLERANCE, "{error}");
    let notices = cx.reporter.notices();
    assert!(notices.len() == 1 && notices[0].to_string().contains("learned biases"), "{notices:?}");
    assert!(calls(&cx, "norm") > 0 && calls(&cx, "attention") == 0, "the rest is not");
}

#[test]
fn a_sliding_window_is_seen_when_it_is_missing() {
    struct Windowless<'a>(&'a Source, ModelConfig);
    impl Weights for Windowless<'_> {
        fn config(&self) -> &ModelConfig {
            &self.1
        }
        fn load(&self, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
            self.0.load(name)
        }
    }
    let source = tiny("mistral");
    let mut config = source.config.clone();
    config.anatomy.as_mut().unwrap().window = None;
    let without = Windowless(&source, config);
    let sequences = sequences(&[40], 96);
    let error = difference(&outputs(&source, &sequences, &JobContext::silent()), &outputs(&without, &sequences, &on_gpu()));
    assert!(error > 1e-3, "{error}");
}

/// A model whose matrices are stored as halves or in blocks of 32, plainly, without a search.
struct Stored<'a> {
    source: &'a Source,
    format: Format,
    encoded: BTreeMap<String, (Vec<u8>, Vec<usize>)>,
}

impl<'a> Stored<'a> {
    fn new(source: &'a Source, name: &str) -> Self {
        let encode = match name {
            "F16" => |values: &[f32]| values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
            "Q4_0" => |values: &[f32]| values.chunks_exact(32).flat_map(q4_0).collect::<Vec<u8>>(),
            _ => panic!("{name}"),
        };
        let matrices = source.tensors.iter().filter(|tensor| tensor.shape.len() == 2);
        let encoded = matrices.map(|tensor| {
            let (values, shape) = source.load(&tensor.name).unwrap().unwrap();
            (tensor.name.clone(), (encode(&values), shape))
        });
        Self { source, format: name.parse().unwrap(), encoded: encoded.collect() }
    }
}

/// A block whose furthest value becomes −8 steps.
fn q4_0(block: &[f32]) -> Vec<u8> {
    let furthest = block.iter().fold(0.0f32, |m, &v| if v.abs() > m.abs() { v } else { m });
    let scale = f16::from_f32(furthest / -8.0);
    let inverse = if furthest == 0.0 { 0.0 } else { 1.0 / scale.to_f32() };
    let level = |v: f32| ((v * inverse).round() + 8.0).clamp(0.0, 15.0) as u8;
    let pairs = (0..16).map(|i| level(block[i]) | level(block[i + 16]) << 4);
    scale.to_le_bytes().into_iter().chain(pairs).collect()
}

impl Weights for Stored<'_> {
    fn config(&self) -> &ModelConfig {
        &self.source.config
    }

    fn load(&self, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
        let Some((bytes, shape)) = self.encoded.get(name) else { return self.source.load(name) };
        let mut values = vec![0.0; shape.iter().product()];
        self.format.decode(bytes, &mut values);
        Ok(Some((values, shape.clone())))
    }

    fn stored_as(&self, name: &str) -> Option<Format> {
        self.encoded.contains_key(name).then_some(self.format)
    }

    fn stored(&self, name: &str) -> Result<Option<StoredWeight<'_>>> {
        let found = self.encoded.get(name);
        Ok(found.map(|(bytes, shape)| StoredWeight { format: self.format, bytes: Cow::Borrowed(bytes), shape: shape.clone() }))
    }
}

#[test]
fn stories15m_gives_the_same_logits_from_floats_halves_and_blocks() {
    let source = stories();
    let sequences = sequences(&[20], 32_000);
    let error = agree(&source, &sequences, "matmul");
    println!("F32: {error:.1e}");
    assert!(error < TOLERANCE, "F32: {error}");
    for name in ["F16", "Q4_0"] {
        let error = agree(&Stored::new(&source, name), &sequences, "matmul_quantized");
        println!("{name}: {error:.1e}");
        assert!(error < TOLERANCE, "{name}: {error}");
    }
}

#[test]
fn smollm2_gives_the_same_logits_from_its_file_and_from_halves() {
    let source = open(&model("smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"));
    let sequences = sequences(&[16], 49_152);
    for (name, error) in
        [("file", agree(&source, &sequences, "matmul_quantized")), ("F16", agree(&Stored::new(&source, "F16"), &sequences, "matmul_quantized"))]
    {
        println!("{name}: {error:.1e}");
        assert!(error < TOLERANCE, "{name}: {error}");
    }
}

const TEXT: &str = "Once upon a time there was a little girl who had a red ball. She played with it all day. One day the ball rolled away, \
    down the hill and into the lake. The girl was sad. A big dog saw her cry and jumped into the water. He brought the ball back to her. \
    They became friends, and from then on they played together every day, until the sun went down and her mother called her home.";

fn comparison(cx: &JobContext, runtime: Runtime) -> Comparison {
    let source = stories();
    let after = Stored::new(&source, "Q4_0");
    let options = CompareOptions { chunks: 1, context: 64, runtime, noise_floor: false };
    compare(&source, &after, &source.tokenizer().unwrap(), &HoldOutText::new(TEXT), options, cx).unwrap()
}

#[test]
fn a_comparison_on_the_device_says_what_the_cpus_says() {
    for runtime in [Runtime::Exact, Runtime::LlamaCpp] {
        let cx = on_gpu();
        let (want, got) = (comparison(&JobContext::silent(), runtime), comparison(&cx, runtime));
        assert_eq!(cx.reporter.notices(), [], "nothing falls back");
        assert!(calls(&cx, "logits_compare") > 0, "logits stayed there");
        assert_eq!(calls(&cx, "round_inputs") > 0, runtime == Runtime::LlamaCpp, "rounded where the runtime rounds");
        let near = |what: &str, want: f64, got: f64, share: f64| {
            println!("{runtime:?} {what}: {want:.6} and {got:.6}");
            assert!((want - got).abs() <= share * want.abs(), "{runtime:?}: {what} is {got} instead of {want}");
        };
        // A rounding that falls otherwise in one place falls otherwise in all behind it.
        let share = if runtime == Runtime::Exact { 1e-3 } else { 0.03 };
        near("KL", want.kl_mean, got.kl_mean, share);
        near("perplexity", want.perplexity_after.0, got.perplexity_after.0, share);
        near("top 1", want.top1.0, got.top1.0, 0.04);
        if runtime == Runtime::Exact {
            for (want, got) in want.tokens.iter().zip(&got.tokens) {
                assert_eq!((want.token, want.top_before, want.top_after, want.top5_shared), (got.token, got.top_before, got.top_after, got.top5_shared));
            }
        }
    }
}

#[test]
fn matrices_of_inputs_are_those_of_the_cpu() {
    // Of a mixture too, and where 64 tokens are more than fit a buffer of the feed-forward.
    for (source, vocabulary, cx) in [(stories(), 32_000, on_gpu()), (stories(), 32_000, on_cramped()), (tiny("mixtral"), 96, on_gpu())] {
        let name = source.path.display();
        let sequences = sequences(&[32, 32], vocabulary);
        let options = CalibrationOptions { tokens: 64, sequence_length: 32, gram_columns: 1024 };
        let calibrated = |cx: &JobContext| calibrate_sequences(&source, &sequences, "t".into(), &options, cx).unwrap();
        let (want, got) = (calibrated(&JobContext::silent()), calibrated(&cx));
        assert_eq!(cx.reporter.notices(), [], "{name}: nothing falls back");
        assert!(calls(&cx, "gram") > 0, "{name}: added up there");
        assert_eq!(want.tensors, got.tensors, "{name}: the same inputs");
        let mut largest = 0.0f32;
        for (key, want) in &want.inputs {
            let got = &got.inputs[key];
            assert_eq!(want.tokens, got.tokens, "{name}: {key}");
            let (w, g) = (want.gram.as_ref().unwrap(), got.gram.as_ref().unwrap());
            let columns = want.sum_squares.len();
            for i in 0..columns {
                for j in 0..columns {
                    let scale = (w[i * columns + i] * w[j * columns + j]).abs().sqrt() + 1e-12;
                    largest = largest.max((w[i * columns + j] - g[i * columns + j]).abs() / scale);
                }
            }
        }
        println!("{name}: largest difference of an entry: {largest:.1e} of the roots of its diagonals");
        assert!(largest < 1e-3, "{name}: {largest}");
    }
}

#[test]
fn a_sequence_that_fits_no_buffer_goes_through_the_host_and_the_others_do_not() {
    let (source, cx) = (tiny("llama"), on_cramped());
    let (long, short) = (sequences(&[1100], 96), sequences(&[60], 96));
    let error = difference(&outputs(&source, &long, &JobContext::silent()), &outputs(&source, &long, &cx));
    let told: Vec<String> = cx.reporter.notices().iter().map(ToString::to_string).collect();
    assert!(error < TOLERANCE && told.len() == 1 && told[0].contains("a sequence of more than"), "{error}, {told:?}");
    assert_eq!(calls(&cx, "attention"), 0, "all of it");
    let error = difference(&outputs(&source, &short, &JobContext::silent()), &outputs(&source, &short, &cx));
    assert!(error < TOLERANCE && calls(&cx, "attention") > 0, "the device is still there: {error}");
}

#[test]
fn a_sequential_job_runs_its_passes_on_the_device() {
    let (source, folder) = (tiny("llama"), tempfile::tempdir().unwrap());
    let options = CalibrationOptions { tokens: 24 * 32, sequence_length: 32, gram_columns: 64 };
    let text = SequentialText { sequences: sequences(&[32; 24], 96), text: "t".into(), options };
    let tensors = source.tensors.iter().filter(|t| t.quantizable() && t.name != "token_embd.weight" && t.columns().is_multiple_of(32));
    let tensors = tensors.map(|t| (t.name.clone(), "Q4_0".parse().unwrap())).collect();
    let recipe = Recipe { model: source.fingerprint.clone(), rounding: "gptq".into(), tensors, ..Recipe::default() };
    let run = |name: &str, cx: &JobContext| quantize_sequentially(&source, &text, &recipe, &QuantizeOptions { folder: folder.path().join(name) }, cx).unwrap();
    let cx = on_gpu();
    let (cpu, device) = (run("cpu", &JobContext::silent()), run("gpu", &cx));
    assert_eq!(cx.reporter.notices(), [], "nothing falls back");
    assert!(calls(&cx, "attention") > 0 && calls(&cx, "feedback_columns") > 0, "passes and rounding");
    let mut equal = [0usize; 2];
    for header in cpu.tensors() {
        let (a, b) = (cpu.tensor(&header.tensor).unwrap().1, device.tensor(&header.tensor).unwrap().1);
        equal[0] += a.iter().zip(b).filter(|(a, b)| a == b).count();
        equal[1] += a.len();
    }
    assert!(equal[0] * 100 > equal[1] * 95, "{} of {} bytes are equal", equal[0], equal[1]);
}
