//! Residuals on the way from the recipe to comparison and export: their bytes, their effect, and where they may not go.

#![expect(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use halftone_core::calibrate::{Calibration, CalibrationOptions, calibrate_sequences};
use halftone_core::codec::Format;
use halftone_core::eval::Quantized;
use halftone_core::export::{ExportFormat, writer};
use halftone_core::job::{Artifact, JobContext, QuantizeOptions, quantize};
use halftone_core::model::{Transformer, Weights, logits_of};
use halftone_core::recipe::Recipe;
use halftone_core::report::Reporter;
use halftone_core::residual::{Candidate, Metric, Residual};
use halftone_core::round::{Evidence, Hessian, rounder};
use halftone_core::sensitivity::{Cell, MeasureOptions, Metric as TableMetric, Table, measure};
use halftone_core::source::{self, Source};
use halftone_tests::models::model;
use std::path::Path;

fn golden(name: &str) -> Source {
    source::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/architectures").join(name), &Reporter::default()).unwrap()
}

fn tokens(count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| 3 + i * 37 % 90).collect()
}

fn logits(model: &dyn Weights) -> Vec<f32> {
    let transformer = Transformer::new(model).unwrap();
    let hidden = transformer.hidden(&[tokens(20)], None, &JobContext::silent()).unwrap();
    logits_of(&hidden[0], &transformer.head().unwrap()).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

/// The linears of the blocks in 3 bits, each with this residual.
fn recipe(source: &Source, residual: Option<&str>) -> Recipe {
    let names = || source.tensors.iter().filter(|t| t.quantizable() && t.block.is_some()).map(|t| t.name.clone());
    let format: Format = "INT3-g8".parse().unwrap();
    let residuals = residual.map(|text| names().map(|name| (name, text.parse().unwrap())).collect()).unwrap_or_default();
    Recipe {
        model: source.fingerprint.clone(),
        rounding: "nearest".into(),
        tensors: names().map(|name| (name, format)).collect(),
        residuals,
        ..Recipe::default()
    }
}

fn job(source: &Source, recipe: &Recipe, folder: &Path) -> Artifact {
    quantize(source, Some(&calibration(source)), recipe, &QuantizeOptions { folder: folder.to_owned() }, &JobContext::silent()).unwrap()
}

#[test]
fn residuals_bring_the_outputs_nearer_and_are_in_the_job_with_their_bytes() {
    for name in ["llama", "gpt2", "qwen3-moe"] {
        let (source, temporary) = (golden(name), tempfile::tempdir().unwrap());
        let original = logits(&source);
        let error = |residual: Option<&str>| {
            let recipe = recipe(&source, residual);
            let artifact = job(&source, &recipe, &temporary.path().join(residual.unwrap_or("none").replace('%', "")));
            for record in artifact.tensors() {
                let entry = &source.tensors[source.find(&record.tensor).unwrap()];
                let want = residual.map(|text| text.parse::<Residual>().unwrap().bytes(entry.rows(), entry.columns()));
                assert_eq!(record.residual.map(|r| r.bytes), want, "bytes of {}", record.tensor);
            }
            (distance(&original, &logits(&Quantized { source: &source, artifact: &artifact })), artifact)
        };
        let (without, _) = error(None);
        for text in ["r4", "o5%", "o5%+r4", "r4-int8"] {
            let (with, artifact) = error(Some(text));
            println!("{name} {text}: {with:.3e} instead of {without:.3e}");
            assert!(with < without, "{name} {text}: {with} instead of {without}");
            // A format that GGUF has, so that only the residual stands in the way.
            let mut recipe = artifact.recipe.clone();
            recipe.tensors.values_mut().for_each(|format| *format = Format::F16);
            let refused = writer(ExportFormat::Gguf).predict_bytes(&source, &recipe).unwrap_err().to_string();
            assert!(refused.contains("no operator") && refused.contains(text), "{refused}");
            let path = temporary.path().join(format!("out-{}.safetensors", text.replace('%', "")));
            writer(ExportFormat::Safetensors).write(&source, &artifact, &path, &JobContext::silent()).unwrap();
        }
    }
}

/// A calibration of a golden model.
fn calibration(source: &Source) -> Calibration {
    let sequences: Vec<Vec<u32>> = (0..8).map(|i| tokens(30)[i..i + 20].to_vec()).collect();
    let options = CalibrationOptions { tokens: 160, sequence_length: 20, gram_columns: 4096 };
    calibrate_sequences(source, &sequences, "tokens".into(), &options, &JobContext::silent()).unwrap()
}

#[test]
fn a_candidate_of_the_table_is_what_the_job_writes() {
    let (source, temporary) = (golden("llama"), tempfile::tempdir().unwrap());
    let (calibration, cx) = (calibration(&source), JobContext::silent());
    let texts = ["INT3-g8", "INT3-g8+r4", "INT3-g8+o5%+r2-int8", "INT4-g8"];
    let options =
        MeasureOptions { formats: texts.map(|t| t.parse().unwrap()).to_vec(), probe: vec![tokens(20), tokens(17)], trust: 24, ..MeasureOptions::default() };
    let table = measure(&source, Some(&calibration), &options, &cx).unwrap();
    for text in texts {
        let candidate: Candidate = text.parse().unwrap();
        let tensors = table.rows.iter().map(|row| (row.tensor.clone(), candidate.format)).collect();
        let residuals = table.rows.iter().filter_map(|row| Some((row.tensor.clone(), candidate.residual?))).collect();
        let recipe = Recipe { model: source.fingerprint.clone(), rounding: table.rounding.clone(), tensors, residuals, ..Recipe::default() };
        let folder = temporary.path().join(text.replace('%', ""));
        let artifact = quantize(&source, Some(&calibration), &recipe, &QuantizeOptions { folder }, &cx).unwrap();
        for row in &table.rows {
            let cell = row.cells.iter().find(|c| c.candidate() == candidate).unwrap_or_else(|| panic!("{text} of {}", row.tensor));
            let (header, codes) = artifact.tensor(&row.tensor).unwrap();
            assert_eq!(cell.bytes, codes.len() as u64 + header.residual.map_or(0, |r| r.bytes), "{text}: bytes of {}", row.tensor);
            let weights = source.view(source.find(&row.tensor).unwrap()).to_f32().unwrap();
            let values = artifact.values(&row.tensor).unwrap();
            let importance = calibration.importance(&row.tensor);
            let power = |of: &dyn Fn(usize) -> f32, weighted: bool| -> f64 {
                let by = |i: usize| if weighted { importance.as_ref().map_or(1.0, |h| f64::from(h[i % header.columns])) } else { 1.0 };
                (0..weights.len()).map(|i| f64::from(of(i)).powi(2) * by(i)).sum()
            };
            let error = |weighted| power(&|i| values[i] - weights[i], weighted) / power(&|i| weights[i], weighted);
            assert!((cell.weight_error / error(false) - 1.0).abs() < 1e-6, "{text}: {} of {}, not {}", cell.weight_error, row.tensor, error(false));
            if let Some(imatrix) = cell.imatrix_error {
                assert!((imatrix / error(true) - 1.0).abs() < 1e-5, "{text}: {imatrix} of {}, not {}", row.tensor, error(true));
            }
        }
    }
    let mut compared = 0;
    for row in &table.rows {
        let of = |text: &str| row.cells.iter().find(|c| c.candidate().to_string() == text).unwrap();
        let (plain, kept) = (of("INT3-g8"), of("INT3-g8+r4"));
        if let (Some(before), Some(after)) = (plain.activation_error, kept.activation_error) {
            assert!(after < before, "{}: {after} behind the residual, {before} without", row.tensor);
            let scale = |cell: &Cell| cell.predicted_kl.unwrap() / cell.activation_error.unwrap();
            assert!((scale(of("INT4-g8")) / scale(plain) - 1.0).abs() < 1e-9, "formats of {} by one scale", row.tensor);
            assert_eq!(kept.predicted_kl, kept.more.measured_kl.map(|kl| kl.max(1e-8)), "a residual of {} by itself", row.tensor);
            compared += 1;
        }
        assert!(row.cells.is_sorted_by_key(|c| c.bytes), "by rising bytes");
    }
    let linears = table.rows.iter().filter(|row| row.block.is_some()).count();
    assert!(linears > 0 && compared >= linears, "{compared} rows of {linears} linears have an activation error");
    let unprobed = MeasureOptions { probe: Vec::new(), search: options.probe.clone(), ..options.clone() };
    for table in [&table, &measure(&source, Some(&calibration), &unprobed, &cx).unwrap()] {
        let trust = table.evidence.trust.as_ref().unwrap();
        let fresh = !table.has(TableMetric::PredictedKl);
        assert_eq!(trust.cells.iter().any(|c| c.residual.is_some()), fresh, "what was not measured yet is held against the metrics like others");
        assert!(table.has(TableMetric::CalibratedKl), "and calibrated");
    }
    let path = temporary.path().join("table.json");
    table.save(&path).unwrap();
    let back = Table::load(&path).unwrap();
    assert_eq!(back.rows[0].cells.iter().map(Cell::candidate).collect::<Vec<_>>(), table.rows[0].cells.iter().map(Cell::candidate).collect::<Vec<_>>());
    let shift = MeasureOptions { formats: vec!["INT3-g8+shift".parse().unwrap()], ..MeasureOptions::default() };
    let refused = measure(&source, Some(&calibration), &shift, &cx).unwrap_err().to_string();
    assert!(refused.contains("INT3-g8+shift"), "no metric sees it: {refused}");
}

#[test]
fn dequantized_files_hold_the_residual() {
    for name in ["llama", "gpt2"] {
        let (source, temporary) = (golden(name), tempfile::tempdir().unwrap());
        let artifact = job(&source, &recipe(&source, Some("o5%+r4")), &temporary.path().join("job"));
        let out = temporary.path().join("out");
        writer(ExportFormat::Safetensors).write(&source, &artifact, &out, &JobContext::silent()).unwrap();
        let written = source::open(&out, &Reporter::default()).unwrap();
        for record in artifact.tensors() {
            let (values, want) = (written.view(written.find(&record.tensor).unwrap()).to_f32().unwrap(), artifact.values(&record.tensor).unwrap());
            // The file has the source's BF16.
            let largest = values.iter().zip(&want).fold(0.0f32, |m, (a, b)| m.max((a - b).abs() / (b.abs() + 1e-2)));
            assert!(largest < 0.005, "{name} {}: {largest}", record.tensor);
        }
    }
}

#[test]
fn a_shift_goes_into_the_biases_that_are_there_and_nowhere_else() {
    let (source, temporary) = (golden("gpt2"), tempfile::tempdir().unwrap());
    let artifact = job(&source, &recipe(&source, Some("shift")), &temporary.path().join("job"));
    let ours = logits(&Quantized { source: &source, artifact: &artifact });
    let plain = job(&source, &recipe(&source, None), &temporary.path().join("plain"));
    let original = logits(&source);
    let (with, without) = (distance(&original, &ours), distance(&original, &logits(&Quantized { source: &source, artifact: &plain })));
    assert!(with < without, "{with} instead of {without}");
    // Integers have no GGUF type, so the same with one that has.
    let mut recipe = artifact.recipe.clone();
    recipe.tensors.values_mut().for_each(|format| *format = "Q4_0".parse().unwrap());
    let artifact = job(&source, &recipe, &temporary.path().join("q4"));
    let path = temporary.path().join("shifted.gguf");
    let predicted = writer(ExportFormat::Gguf).predict_bytes(&source, &recipe).unwrap();
    writer(ExportFormat::Gguf).write(&source, &artifact, &path, &JobContext::silent()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), predicted);
    let (ours, file) = (logits(&Quantized { source: &source, artifact: &artifact }), logits(&source::open(&path, &Reporter::default()).unwrap()));
    assert!(distance(&ours, &file) < 1e-6 * distance(&ours, &vec![0.0; ours.len()]), "the file has the shift");
    let llama = golden("llama");
    let refused = writer(ExportFormat::Gguf).predict_bytes(&llama, &Recipe { tensors: Default::default(), ..self::recipe(&llama, Some("shift")) });
    assert!(refused.unwrap_err().to_string().contains("no bias"), "a llama has none");
}

/// Error at equal bytes on SmolLM2's layers: residual against more bits. Prints a table; the rules it asserts hold whoever wins.
#[test]
fn residuals_of_real_layers_at_equal_bytes() {
    let source = source::open(&model("smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"), &Reporter::default()).unwrap();
    let text = halftone_core::calibrate::read_texts(&[model("wikitext/test.raw")]).unwrap();
    let sequences: Vec<Vec<u32>> = source
        .tokenizer()
        .unwrap()
        .encode(&text.chars().take(14_000).collect::<String>(), true)
        .unwrap()
        .chunks_exact(256)
        .take(8)
        .map(<[u32]>::to_vec)
        .collect();
    let options = CalibrationOptions { tokens: 2048, sequence_length: 256, gram_columns: 1536 };
    let calibration = calibrate_sequences(&source, &sequences, "text".into(), &options, &JobContext::silent()).unwrap();
    println!("{:28} {:>16} {:>10} {:>10} {:>9}", "layer", "candidate", "bytes", "of INT4", "error");
    for name in ["blk.3.attn_q.weight", "blk.14.attn_output.weight", "blk.14.ffn_up.weight", "blk.14.ffn_down.weight"] {
        let entry = &source.tensors[source.find(name).unwrap()];
        let (rows, columns) = (entry.rows(), entry.columns());
        let weights = source.view(source.find(name).unwrap()).to_f32().unwrap();
        let input = calibration.of(name).unwrap();
        let hessian = Hessian::new(input.gram.as_ref().unwrap(), columns, input.tokens).unwrap();
        let metric = Metric::Full(hessian.values());
        let total = metric.power(&weights);
        let importance: Vec<f32> = (0..columns).map(|j| hessian.diagonal(j)).collect();
        let base = |format: &str| {
            let format: Format = format.parse().unwrap();
            let evidence = Evidence { importance: Some(&importance), hessian: Some(&hessian), cross: None, gpu: None, cancel: None };
            let bytes = rounder("gptq+descent").unwrap().round(&weights, columns, format, evidence).unwrap().bytes;
            let mut values = vec![0.0; weights.len()];
            format.decode(&bytes, &mut values);
            (bytes.len() as u64, values)
        };
        let error = |values: &[f32]| metric.power(&weights.iter().zip(values).map(|(w, q)| w - q).collect::<Vec<_>>()) / total;
        let (reference, _) = base("INT4-g64");
        let say =
            |candidate: &str, bytes: u64, error: f64| println!("{name:28} {candidate:>16} {bytes:>10} {:>10.3} {error:>9.2e}", bytes as f64 / reference as f64);
        for format in ["INT3-g64", "INT3-g32", "INT4-g192", "INT4-g64"] {
            let (bytes, values) = base(format);
            say(format, bytes, error(&values));
        }
        let (bytes, values) = base("INT3-g64");
        let without = error(&values);
        for text in ["o0.5%", "o2%", "r8", "r16", "r32-int8", "o0.5%+r16"] {
            let residual: Residual = text.parse().unwrap();
            let stored = residual.encode(&weights, &values, &metric, None).unwrap();
            let mut sum = values.clone();
            residual.add(&stored, &mut sum, columns);
            let with = error(&sum);
            say(&format!("INT3-g64+{text}"), bytes + residual.bytes(rows, columns), with);
            assert!(with < without, "{name} {text}: {with} instead of {without}");
        }
    }
}
