//! Our files in other programs' hands: gguf-py reads the values that we read, llama.cpp says the words that we say.

use anyhow::{Context, Result};
use halftone_core::codec::{Format, GgmlType};
use halftone_core::eval::Quantized;
use halftone_core::export::{ExportFormat, writer};
use halftone_core::job::{Artifact, JobContext, QuantizeOptions, quantize};
use halftone_core::model::{Transformer, Weights, logits_of};
use halftone_core::numeric::metric::{argmax, log_sum_exp};
use halftone_core::recipe::Recipe;
use halftone_core::report::Reporter;
use halftone_core::source::{self, Source};
use halftone_tests::{clients, tiny_model};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Quantizes every tensor, the formats by turns, and writes the GGUF.
fn export(source: &Source, formats: &[Format], folder: &Path) -> Result<(Artifact, PathBuf)> {
    let quantizable = source.tensors.iter().filter(|t| t.quantizable());
    let tensors = quantizable.zip(formats.iter().cycle()).map(|(t, f)| (t.name.clone(), *f)).collect();
    let recipe = Recipe { model: source.fingerprint.clone(), rounding: "nearest".into(), tensors, ..Recipe::default() };
    let cx = JobContext::silent();
    let artifact = quantize(source, None, &recipe, &QuantizeOptions { folder: folder.join("job") }, &cx)?;
    let path = folder.join("out.gguf");
    writer(ExportFormat::Gguf).write(source, &artifact, &path, &cx)?;
    Ok((artifact, path))
}

#[test]
fn gguf_py_reads_the_same_values_from_every_type_we_write() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let model = folder.path().join("tiny.gguf");
    tiny_model::write_gguf(&model, 2)?;
    let source = source::open(&model, &Reporter::default())?;
    // gguf-py does not know the two youngest types yet; the golden blocks of their decoders are from ggml itself.
    let unread = [GgmlType::Q1_0, GgmlType::Q2_0];
    let ggml = GgmlType::ALL.iter().filter(|t| t.can_encode() && !unread.contains(t)).map(|t| Format::Ggml(*t));
    let formats: Vec<Format> = [Format::F32, Format::F16, Format::Bf16].into_iter().chain(ggml).collect();
    let mut met = BTreeSet::new();
    // Turned, so that every format meets rows it fits.
    for start in [0, 5, 10, 15, 20] {
        let round: Vec<_> = formats.iter().cycle().skip(start).take(formats.len()).copied().collect();
        let here = folder.path().join(start.to_string());
        std::fs::create_dir(&here)?;
        let (_, path) = export(&source, &round, &here)?;
        let values = here.join("values.f32");
        clients::run("values.py", &[&path, &values]);
        let theirs = std::fs::read(&values)?;
        let written = source::open(&path, &Reporter::default())?;
        let mut at = 0;
        for (index, entry) in written.tensors.iter().enumerate() {
            met.insert(entry.dtype.to_string());
            let ours = written.view(index).to_f32()?;
            for (i, value) in ours.iter().enumerate() {
                let bits = u32::from_le_bytes(theirs[at..at + 4].try_into()?);
                assert_eq!(value.to_bits(), bits, "{} as {}, value {i}: {value} and {}", entry.name, entry.dtype, f32::from_bits(bits));
                at += 4;
            }
        }
        assert_eq!(at, theirs.len());
    }
    let wanted: BTreeSet<_> = formats.iter().map(Format::to_string).collect();
    assert_eq!(met, wanted, "types that were compared");
    Ok(())
}

/// The most likely continuation by our own forward pass: token ids and their log probabilities.
fn greedy(model: &dyn Weights, mut tokens: Vec<u32>, count: usize) -> Result<(Vec<u32>, Vec<f64>)> {
    let transformer = Transformer::new(model)?;
    let head = transformer.head()?;
    let (prompt, mut logprobs) = (tokens.len(), Vec::new());
    for _ in 0..count {
        let hidden = transformer.hidden(std::slice::from_ref(&tokens), None, &JobContext::silent())?;
        let logits = logits_of(&hidden[0], &head)?.to_vec2::<f32>()?;
        let last = logits.last().context("logits of the last token")?;
        let best = argmax(last);
        logprobs.push(f64::from(last[best]) - log_sum_exp(last));
        tokens.push(best as u32);
    }
    Ok((tokens.split_off(prompt), logprobs))
}

/// From safetensors through permuted rows, translated keys and tokenizer to llama.cpp: the words must be ours.
fn llama_cpp_says_what_we_say(formats: &[Format], tolerance: f64) -> Result<()> {
    const COUNT: usize = 12;
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo");
    let source = source::open(&demo, &Reporter::default())?;
    let folder = tempfile::tempdir()?;
    let (artifact, path) = export(&source, formats, folder.path())?;
    let held_out = std::fs::read_to_string(demo.join("heldout.txt"))?;
    let prompt: String = held_out.split_whitespace().take(24).collect::<Vec<_>>().join(" ");
    let answer: serde_json::Value = serde_json::from_str(&clients::run("generate.py", &[path.to_str().context("path")?, &prompt, &COUNT.to_string()]))?;
    let tokens = source.tokenizer()?.encode(&prompt, true)?;
    let (ids, logprobs) = greedy(&Quantized { source: &source, artifact: &artifact }, tokens, COUNT)?;
    let theirs: Vec<u32> = serde_json::from_value(answer["ids"].clone())?;
    assert!(theirs.len() >= COUNT.min(4), "llama.cpp says {answer}");
    assert_eq!(theirs, ids[..theirs.len()], "llama.cpp says {}", answer["text"]);
    for (i, theirs) in serde_json::from_value::<Vec<f64>>(answer["logprobs"].clone())?.iter().enumerate() {
        assert!((theirs - logprobs[i]).abs() < tolerance, "token {i}: log p {theirs} in llama.cpp, {} here", logprobs[i]);
    }
    Ok(())
}

#[test]
fn llama_cpp_computes_what_we_compute_from_an_unquantized_export() -> Result<()> {
    // llama.cpp keeps keys and values in half precision.
    llama_cpp_says_what_we_say(&[Format::F32], 0.01)
}

#[test]
fn llama_cpp_generates_from_a_mixed_export() -> Result<()> {
    // llama.cpp rounds activations to 8 bits where weights are quantized.
    llama_cpp_says_what_we_say(&[GgmlType::Q8_0, GgmlType::Q6_K, GgmlType::Q5_K, GgmlType::Q5_0].map(Format::Ggml), 0.1)
}

#[test]
fn llama_cpp_generates_from_the_grid_types() -> Result<()> {
    llama_cpp_says_what_we_say(&[GgmlType::IQ3_S, GgmlType::IQ4_XS, GgmlType::IQ3_XXS, GgmlType::IQ4_NL].map(Format::Ggml), 0.15)
}
