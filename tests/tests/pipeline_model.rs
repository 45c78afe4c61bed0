//! The forward pass on a real model, against llama.cpp.

use halftone_core::calibrate::{Calibration, CalibrationOptions, CalibrationText, HoldOutText, calibrate, read_imatrix, read_texts};
use halftone_core::eval::{CompareOptions, perplexity};
use halftone_core::job::JobContext;
use halftone_core::model::{GenerateOptions, generate};
use halftone_core::report::Reporter;
use halftone_core::source::{Source, open};
use halftone_tests::models::model;

/// What `llama-perplexity -m SmolLM2-135M-Instruct.Q4_1.gguf -f test.raw -c 512 --chunks 16 --no-repack` prints. It multiplies with
/// activations rounded to 8 bits; so does the simulation.
const LLAMA_CPP_PERPLEXITY: f64 = 29.3913;

fn smollm2() -> Source {
    open(&model("smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"), &Reporter::default()).expect("SmolLM2 opens")
}

#[test]
fn perplexity_of_smollm2_on_wikitext_is_llama_cpps_within_half_a_percent() {
    let source = smollm2();
    let text = read_texts(&[model("wikitext/test.raw")]).expect("WikiText-2");
    let options = CompareOptions { chunks: 16, context: 512, ..CompareOptions::default() };
    let tokenizer = source.tokenizer().expect("a tokenizer");
    let (ppl, error) = perplexity(&source, &tokenizer, &HoldOutText::new(text), options, &JobContext::silent()).expect("it runs");
    assert!((ppl / LLAMA_CPP_PERPLEXITY - 1.0).abs() < 0.005, "{ppl} ± {error} against {LLAMA_CPP_PERPLEXITY}");
}

#[test]
fn smollm2_goes_on_sensibly() {
    let source = smollm2();
    let tokenizer = source.tokenizer().expect("a tokenizer");
    let prompt = tokenizer.encode("The capital of France is", true).expect("plain text");
    let options = GenerateOptions { tokens: 4, ..GenerateOptions::default() };
    let made = generate(&source, &prompt, tokenizer.eos(), &options, &JobContext::silent(), |_| {}).expect("it runs");
    let text = tokenizer.decode(&made);
    assert!(text.contains("Paris"), "{text:?}");
}

#[test]
fn calibration_of_smollm2_covers_every_matrix_and_survives_its_file() {
    let source = smollm2();
    let text = read_texts(&[model("wikitext/test.raw")]).expect("WikiText-2");
    let options = CalibrationOptions { tokens: 512, sequence_length: 256, gram_columns: 600 };
    let cx = JobContext::silent();
    let made = calibrate(&source, &CalibrationText::new(text), &options, &cx).expect("it runs");
    for tensor in source.tensors.iter().filter(|t| t.quantizable()) {
        let input = made.of(&tensor.name).unwrap_or_else(|| panic!("nothing about {}", tensor.name));
        assert_eq!((input.tokens, input.sum_squares.len()), (512, tensor.columns()), "{}", tensor.name);
        assert_eq!(input.gram.is_some(), tensor.columns() <= 600, "{}", tensor.name);
    }
    assert_eq!(cx.reporter.notices().len(), 30, "each wide ffn_down is told");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("smollm2.safetensors");
    made.save(&path).expect("saved");
    assert_eq!(Calibration::load(&path).expect("loaded").hash(), made.hash(), "the same calibration");
    let imatrix = read_imatrix(&folder.path().join("smollm2.imatrix.gguf"), &source.fingerprint).expect("an imatrix");
    assert_eq!(imatrix.importance("blk.29.ffn_down.weight"), made.importance("blk.29.ffn_down.weight"), "the same importances");
}
