//! Calibration and what is made of it, on the tiny models of `tests/golden/architectures.py`: blocks behind quantized blocks, experts, bad text.

#![expect(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use halftone_core::calibrate::{Calibration, CalibrationOptions, balanced_choice, calibrate_sequences, read_imatrix};
use halftone_core::error::Error;
use halftone_core::export::{ExportFormat, writer};
use halftone_core::job::{Artifact, JobContext, QuantizeOptions, SequentialText, quantize, quantize_sequentially};
use halftone_core::model::Transformer;
use halftone_core::recipe::Recipe;
use halftone_core::report::Reporter;
use halftone_core::source::{self, Source};
use std::path::Path;

fn open(path: &Path) -> Source {
    source::open(path, &Reporter::default()).unwrap()
}

fn tiny(name: &str) -> Source {
    open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/architectures").join(name))
}

/// Tokens below 96 that follow no pattern; each sequence has a few of its own that it repeats.
fn sequences(count: usize, length: usize) -> Vec<Vec<u32>> {
    let token = |s: usize, i: usize| ((s * 7919 + i % 5 * 104_729 + s * i % 3 * 31) % 96) as u32;
    (0..count).map(|s| (0..length).map(|i| token(s, i)).collect()).collect()
}

fn options(tokens: usize, sequence_length: usize) -> CalibrationOptions {
    CalibrationOptions { tokens, sequence_length, gram_columns: 64 }
}

fn recipe(source: &Source, format: &str, rounding: &str) -> Recipe {
    let tensors = source.tensors.iter().filter(|t| t.quantizable() && t.name != "token_embd.weight");
    let tensors = tensors.map(|t| (t.name.clone(), format.parse().unwrap())).collect();
    Recipe { model: source.fingerprint.clone(), rounding: rounding.into(), tensors, ..Recipe::default() }
}

fn bytes(artifact: &Artifact, part: &str) -> Vec<(String, Vec<u8>)> {
    let names = artifact.tensors().map(|t| t.tensor.clone()).filter(|name| name.contains(part));
    names.map(|name| (name.clone(), artifact.tensor(&name).unwrap().1.to_vec())).collect()
}

#[test]
fn a_sequential_quantization_differs_from_the_first_block_behind_a_quantized_one() {
    let (source, folder) = (tiny("llama"), tempfile::tempdir().unwrap());
    let text = SequentialText { sequences: sequences(24, 32), text: "t".into(), options: options(24 * 32, 32) };
    let (recipe, cx) = (recipe(&source, "Q4_0", "gptq+descent"), JobContext::silent());
    let at = |name: &str| QuantizeOptions { folder: folder.path().join(name) };
    let calibration = calibrate_sequences(&source, &text.sequences, text.text.clone(), &text.options, &cx).unwrap();
    let independent = quantize(&source, Some(&calibration), &recipe, &at("independent"), &cx).unwrap();
    let sequential = quantize_sequentially(&source, &text, &recipe, &at("sequential"), &cx).unwrap();
    assert_eq!(sequential.tensors().count(), recipe.tensors.len(), "every tensor");
    assert_eq!(bytes(&sequential, "blk.0."), bytes(&independent, "blk.0."), "the first block sees what the original's sees");
    assert_ne!(bytes(&sequential, "blk.1."), bytes(&independent, "blk.1."), "the second does not");
    assert_ne!(bytes(&sequential, "output.weight"), bytes(&independent, "output.weight"), "nor does the head");

    // With a prefix that is hardly rounded, the modes agree.
    let fine = Recipe {
        tensors: recipe.tensors.iter().map(|(name, f)| (name.clone(), if name.starts_with("blk.0.") { "F32".parse().unwrap() } else { *f })).collect(),
        ..recipe.clone()
    };
    let sequential = quantize_sequentially(&source, &text, &fine, &at("fine"), &cx).unwrap();
    assert_eq!(bytes(&sequential, "blk.1."), bytes(&independent, "blk.1."), "behind a block that was not rounded");

    // A job that was cut off goes on to the same bytes, on the same text only.
    let whole = bytes(&Artifact::open(&at("sequential").folder).unwrap(), "");
    let records = at("sequential").folder.join("records");
    let lost: Vec<_> = recipe.tensors.keys().enumerate().filter(|(_, name)| name.starts_with("blk.1.")).map(|(i, _)| i).collect();
    lost.iter().for_each(|i| std::fs::remove_file(records.join(format!("{i:04}.rec"))).unwrap());
    let resumed = quantize_sequentially(&source, &text, &recipe, &at("sequential"), &cx).unwrap();
    assert!(!lost.is_empty() && bytes(&resumed, "") == whole, "the same bytes");
    let other = SequentialText { sequences: sequences(12, 32), ..text };
    let refused = quantize_sequentially(&source, &other, &recipe, &at("sequential"), &cx);
    assert!(matches!(refused, Err(Error::Mismatch { .. })), "another text");
    assert!(std::fs::read_dir(folder.path()).unwrap().count() == 3, "only the jobs' folders");
}

fn stacked(name: &str, folder: &Path) -> Source {
    let source = tiny(name);
    let nothing = Recipe { model: source.fingerprint.clone(), rounding: "nearest".into(), ..Recipe::default() };
    let artifact = quantize(&source, None, &nothing, &QuantizeOptions { folder: folder.join("none") }, &JobContext::silent()).unwrap();
    let path = folder.join("stacked.gguf");
    writer(ExportFormat::Gguf).write(&source, &artifact, &path, &JobContext::silent()).unwrap();
    open(&path)
}

fn calibrated(source: &Source, sequences: &[Vec<u32>]) -> (Calibration, Vec<String>) {
    let (cx, length) = (JobContext::silent(), sequences[0].len());
    let calibration = calibrate_sequences(source, sequences, "t".into(), &options(sequences.len() * length, length), &cx).unwrap();
    (calibration, cx.reporter.notices().iter().map(ToString::to_string).collect())
}

#[test]
fn experts_apart_and_in_a_stack_give_the_same_imatrix() {
    for name in ["mixtral", "qwen2-moe", "qwen3-moe"] {
        let folder = tempfile::tempdir().unwrap();
        let stacked = stacked(name, folder.path());
        let (apart, of_stack) = (calibrated(&tiny(name), &sequences(4, 16)).0, calibrated(&stacked, &sequences(4, 16)).0);
        let experts = stacked.config.anatomy.as_ref().unwrap().experts.unwrap();
        let imatrix = |calibration: &Calibration, file: &str| {
            let path = folder.path().join(file);
            calibration.save(&path).unwrap();
            assert_eq!(Calibration::load(&path).unwrap().hash(), calibration.hash(), "{name}: the file keeps the experts");
            read_imatrix(&path.with_extension("imatrix.gguf"), "m").unwrap()
        };
        let (apart, of_stack) = (imatrix(&apart, "apart.safetensors"), imatrix(&of_stack, "stack.safetensors"));
        for tensor in stacked.tensors.iter().filter(|t| t.shape.len() == 3) {
            let (a, b) = (apart.of(&tensor.name).unwrap(), of_stack.of(&tensor.name).unwrap());
            assert_eq!((a.experts.len(), a.sum_squares.len()), (tensor.shape[0], tensor.columns()), "{name}: a row for each expert of {}", tensor.name);
            let tokens = |of: &[halftone_core::calibrate::ExpertSums]| of.iter().map(|e| e.tokens).collect::<Vec<_>>();
            assert_eq!(tokens(&a.experts), tokens(&b.experts), "{name}: tokens of each expert of {}", tensor.name);
            assert_eq!(a.tokens, (4 * 16 * experts.used) as u64, "{name}: every token goes through {} experts", experts.used);
            let close = |a: &f32, b: &f32| (a - b).abs() <= 1e-4 * b.abs().max(1e-3);
            let pairs = a.experts.iter().zip(&b.experts).flat_map(|(a, b)| a.sum_squares.iter().zip(&b.sum_squares));
            assert!(pairs.clone().all(|(a, b)| close(a, b)), "{name}: Σx² of {}", tensor.name);
        }
    }
}

#[test]
fn experts_without_tokens_are_named_and_the_model_is_quantized_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for source in [tiny("qwen3-moe"), stacked("qwen3-moe", folder.path())] {
        // Two tokens choose at most four of six experts.
        let (calibration, notices) = calibrated(&source, &sequences(1, 2));
        let coverage = calibration.expert_coverage().unwrap();
        assert!(coverage.without_tokens.len() >= 4 && coverage.fewest == 0 && coverage.experts == 12, "{coverage}");
        let named = notices.iter().filter(|n| n.starts_with("blk.0.ffn_gate_exps.weight: no token of this text reached expert")).count();
        assert!(named == 1 && notices.len() == 2, "one a block: {notices:?}");
        // The second has one scale for a whole stack.
        for name in ["Q4_0", "INT8-tensor"] {
            let (recipe, cx) = (recipe(&source, name, "nearest"), JobContext::silent());
            let job = QuantizeOptions { folder: folder.path().join(format!("{}-{name}", source.fingerprint)) };
            let artifact = quantize(&source, Some(&calibration), &recipe, &job, &cx).unwrap();
            let finite = artifact.tensors().all(|t| t.weight_error.is_finite() && t.weight_error < 0.1);
            assert!(finite && artifact.tensors().count() == recipe.tensors.len(), "every expert, none rounded as if its inputs were nothing");
            for tensor in source.tensors.iter().filter(|t| t.shape.len() == 3) {
                let (header, bytes) = artifact.tensor(&tensor.name).unwrap();
                assert_eq!(bytes.len() as u64, header.stored_as.tensor_bytes(tensor.rows(), tensor.columns()), "{name}: {}", tensor.name);
            }
        }
    }
}

#[test]
fn balanced_text_gives_the_rarest_expert_more_tokens_than_the_first_text() {
    let source = tiny("qwen3-moe");
    let candidates = sequences(24, 2);
    let chosen = balanced_choice(&source, &candidates, 6, &JobContext::silent()).unwrap().unwrap();
    assert!(chosen.len() == 6 && chosen.is_sorted(), "{chosen:?}");
    let coverage = |which: Vec<Vec<u32>>| calibrated(&source, &which).0.expert_coverage().unwrap();
    let (first, balanced) = (coverage(candidates[..6].to_vec()), coverage(chosen.iter().map(|&i| candidates[i].clone()).collect()));
    let more = balanced.without_tokens.len() <= first.without_tokens.len() && balanced.fewest > first.fewest;
    assert!(more, "first: {first}; balanced: {balanced}");
    assert!(balanced_choice(&tiny("llama"), &candidates, 6, &JobContext::silent()).unwrap().is_none(), "a model without experts");
}

#[test]
fn tokens_of_another_model_and_too_long_contexts_are_told() {
    let cx = JobContext::silent();
    let run = |name: &str, tokens: Vec<u32>| {
        let length = tokens.len();
        calibrate_sequences(&tiny(name), &[tokens], "t".into(), &options(length, length), &cx)
    };
    let error = run("llama", vec![5, 96, 7]).unwrap_err().to_string();
    assert_eq!(error, "the tokenizer is not this model's: it gives token 96, the model knows 96");
    // Rotary positions go on behind what the model was trained for; a table of them ends.
    assert!(run("llama", vec![5; 65]).is_ok(), "the job goes on");
    assert!(cx.reporter.notices()[0].to_string().contains("longer than the 64 the model was trained for"), "and it is told");
    let positions = tiny("gpt2").config.context_length;
    let error = run("gpt2", vec![5; positions + 1]).unwrap_err().to_string();
    assert!(error.contains(&format!("only {positions} positions")), "{error}");
    let nothing = Transformer::new(&tiny("llama")).unwrap().embed(&[vec![]]).unwrap_err().to_string();
    assert!(nothing.contains("no tokens"), "{nothing}");
}
