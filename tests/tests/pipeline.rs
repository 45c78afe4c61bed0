//! From recipe to file on a tiny model: the journal, the writers, what is left after a failure.

#![expect(clippy::unwrap_used, reason = "a test stops where its ground is missing")]

use anyhow::Result;
use halftone_core::Error;
use halftone_core::codec::{Format, GgmlType, Granularity, IntFormat};
use halftone_core::compute::DeviceChoice;
use halftone_core::export::{ExportFormat, Proof, gguf, verify, write_report, writer};
use halftone_core::job::{Artifact, CancelToken, JobContext, JobEvent, QuantizeOptions, quantize};
use halftone_core::recipe::Recipe;
use halftone_core::report::{NoticeKind, Reporter};
use halftone_core::source::{self, Source};
use halftone_tests::tiny_model;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const FORMATS: [Format; 8] = [
    Format::F16,
    Format::Bf16,
    Format::Ggml(GgmlType::Q4_0),
    Format::Ggml(GgmlType::Q5_1),
    Format::Ggml(GgmlType::Q8_0),
    Format::Ggml(GgmlType::Q4_K),
    Format::Ggml(GgmlType::Q5_K),
    Format::Ggml(GgmlType::Q6_K),
];

struct Bench {
    folder: tempfile::TempDir,
    source: Source,
}

impl Bench {
    fn gguf() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("tiny.gguf");
        tiny_model::write_gguf(&path, 1)?;
        Ok(Self { source: source::open(&path, &Reporter::default())?, folder })
    }

    fn safetensors() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("tiny");
        tiny_model::write_folder(&path, 1)?;
        Ok(Self { source: source::open(&path, &Reporter::default())?, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn recipe(&self, seed: u64) -> Recipe {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        self.recipe_with(|_| FORMATS[random.random_range(0..FORMATS.len())])
    }

    fn recipe_with(&self, mut format: impl FnMut(&str) -> Format) -> Recipe {
        let tensors = self.source.tensors.iter().filter(|t| t.quantizable()).map(|t| (t.name.clone(), format(&t.name))).collect();
        Recipe { model: self.source.fingerprint.clone(), rounding: "nearest".into(), tensors, ..Recipe::default() }
    }

    fn quantize(&self, recipe: &Recipe, job: &str, cx: &JobContext) -> halftone_core::Result<Artifact> {
        quantize(&self.source, None, recipe, &QuantizeOptions { folder: self.path(job) }, cx)
    }
}

fn files_in(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    entries.filter(|e| e.path().is_file()).map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
}

/// Cancels itself once this many tensors are durable.
fn cancelling_after(tensors: usize) -> JobContext {
    let cancel = CancelToken::default();
    let (seen, token) = (AtomicUsize::new(0), cancel.clone());
    let mut cx = JobContext::new(DeviceChoice::Cpu, move |event| {
        if matches!(event, JobEvent::Tensor(_)) && seen.fetch_add(1, Ordering::Relaxed) + 1 == tensors {
            token.cancel();
        }
    });
    cx.cancel = cancel;
    cx
}

#[test]
fn a_resumed_job_has_the_bytes_of_an_uninterrupted_one() -> Result<()> {
    let bench = Bench::gguf()?;
    let recipe = bench.recipe(3);
    bench.quantize(&recipe, "whole", &JobContext::silent())?;
    let cancelled = bench.quantize(&recipe, "cut", &cancelling_after(3)).unwrap_err();
    assert!(matches!(cancelled, Error::Cancelled), "{cancelled}");
    let after_cancel = files_in(&bench.path("cut/records"));
    assert!(after_cancel.len() >= 3 && after_cancel.len() < recipe.tensors.len(), "{} records", after_cancel.len());
    assert!(matches!(Artifact::open(&bench.path("cut")), Err(Error::Input(_))), "an unfinished folder is no artifact");
    // What a kill in the middle of a write leaves.
    std::fs::write(bench.path("cut/records/.halftone-abc.rec"), b"half")?;
    bench.quantize(&recipe, "cut", &JobContext::silent())?;
    assert_eq!(files_in(&bench.path("cut/records")), files_in(&bench.path("whole/records")));
    Ok(())
}

#[test]
fn a_second_run_encodes_nothing_and_reports_everything_as_resumed() -> Result<()> {
    let bench = Bench::gguf()?;
    let recipe = bench.recipe(4);
    bench.quantize(&recipe, "job", &JobContext::silent())?;
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let cx = JobContext::new(DeviceChoice::Cpu, move |e| sink.lock().unwrap().push(e));
    bench.quantize(&recipe, "job", &cx)?;
    let resumed = events.lock().unwrap().iter().filter(|e| matches!(e, JobEvent::Tensor(t) if t.resumed)).count();
    assert_eq!(resumed, recipe.tensors.len());
    Ok(())
}

#[test]
fn a_damaged_record_is_refused_by_the_artifact_and_made_again_by_the_job() -> Result<()> {
    let bench = Bench::gguf()?;
    let recipe = bench.recipe(5);
    bench.quantize(&recipe, "job", &JobContext::silent())?;
    let record = bench.path("job/records/0002.rec");
    let whole = std::fs::read(&record)?;
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for bytes in [&damaged[..], &whole[..whole.len() / 2]] {
        std::fs::write(&record, bytes)?;
        let error = Artifact::open(&bench.path("job")).unwrap_err();
        assert!(matches!(&error, Error::Malformed { path, .. } if path.ends_with("records/0002.rec")), "{error}");
        let cx = JobContext::silent();
        bench.quantize(&recipe, "job", &cx)?;
        assert_eq!(std::fs::read(&record)?, whole);
        assert!(cx.reporter.notices().iter().any(|n| n.to_string().contains("made again")), "the repair is told");
    }
    Ok(())
}

#[test]
fn a_folder_of_another_recipe_and_a_recipe_of_another_model_are_refused() -> Result<()> {
    let bench = Bench::gguf()?;
    bench.quantize(&bench.recipe(6), "job", &JobContext::silent())?;
    let before = files_in(&bench.path("job/records"));
    let error = bench.quantize(&bench.recipe(7), "job", &JobContext::silent()).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }) && error.to_string().contains("choose another folder"), "{error}");
    assert_eq!(files_in(&bench.path("job/records")), before);
    let foreign = Recipe { model: "another".into(), ..bench.recipe(6) };
    assert!(matches!(bench.quantize(&foreign, "other", &JobContext::silent()), Err(Error::Mismatch { .. })));
    assert!(!bench.path("other").exists(), "refused before anything is made");
    Ok(())
}

#[test]
fn a_folder_in_which_another_process_works_is_refused() -> Result<()> {
    let bench = Bench::gguf()?;
    let recipe = bench.recipe(8);
    std::fs::create_dir_all(bench.path("job"))?;
    let lock = std::fs::File::create(bench.path("job/lock"))?;
    lock.lock()?;
    let error = bench.quantize(&recipe, "job", &JobContext::silent()).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    drop(lock);
    bench.quantize(&recipe, "job", &JobContext::silent())?;
    Ok(())
}

#[test]
fn predicted_bytes_are_the_bytes_of_the_file_for_every_recipe() -> Result<()> {
    for bench in [Bench::gguf()?, Bench::safetensors()?] {
        for seed in 0..12 {
            let mut recipe = bench.recipe(100 + seed);
            if seed % 3 == 2 {
                // Tensors that are left out stay as they are.
                recipe.tensors.retain(|name, _| !name.contains("attn"));
            }
            let artifact = bench.quantize(&recipe, &format!("job{seed}"), &JobContext::silent())?;
            let tensors = recipe.tensors.iter().map(|(name, format)| {
                let entry = &bench.source.tensors[bench.source.find(name).unwrap()];
                gguf::padded(format.for_columns(entry.columns()).tensor_bytes(entry.rows(), entry.columns()))
            });
            let from_parts = gguf::fixed_bytes(&bench.source) + tensors.sum::<u64>();
            for format in ExportFormat::ALL {
                let path = bench.path(&format!("out{seed}.{}", format.name()));
                let predicted = writer(format).predict_bytes(&bench.source, &recipe)?;
                let exported = writer(format).write(&bench.source, &artifact, &path, &JobContext::silent())?;
                assert_eq!((exported.bytes, std::fs::metadata(&path)?.len()), (predicted, predicted), "{format:?}, seed {seed}");
                if format == ExportFormat::Gguf && seed % 3 != 2 {
                    assert_eq!(from_parts, predicted, "fixed bytes and padded tensors, seed {seed}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn the_same_recipe_gives_the_same_file_twice_and_it_holds_the_artifact() -> Result<()> {
    for bench in [Bench::gguf()?, Bench::safetensors()?] {
        let recipe = bench.recipe(9);
        let one = bench.quantize(&recipe, "one", &JobContext::silent())?;
        let two = bench.quantize(&recipe, "two", &JobContext::silent())?;
        for format in ExportFormat::ALL {
            let paths = ["a", "b"].map(|name| bench.path(&format!("{name}.{}", format.name())));
            let a = writer(format).write(&bench.source, &one, &paths[0], &JobContext::silent())?;
            let b = writer(format).write(&bench.source, &two, &paths[1], &JobContext::silent())?;
            assert_eq!(a.hash, b.hash, "{format:?}");
            assert!(std::fs::read(&paths[0])? == std::fs::read(&paths[1])?, "{format:?}");
            let report = verify(&paths[0], Some((&bench.source, &one)), &JobContext::silent())?;
            assert!(report.compared && report.tensors == bench.source.tensors.len());
            assert_eq!(report.hash, a.hash);
        }
    }
    Ok(())
}

#[test]
fn a_changed_file_does_not_pass_verification() -> Result<()> {
    let bench = Bench::gguf()?;
    let artifact = bench.quantize(&bench.recipe_with(|_| Format::Ggml(GgmlType::Q8_0)), "job", &JobContext::silent())?;
    let path = bench.path("out.gguf");
    writer(ExportFormat::Gguf).write(&bench.source, &artifact, &path, &JobContext::silent())?;
    let mut bytes = std::fs::read(&path)?;
    // The codes of the last row of the head; what follows them is padding.
    let at = bytes.len() - 40;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes)?;
    assert!(verify(&path, None, &JobContext::silent()).is_ok(), "the file is still a whole GGUF of finite values");
    let error = verify(&path, Some((&bench.source, &artifact)), &JobContext::silent()).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }) && error.to_string().contains("output.weight"), "{error}");
    Ok(())
}

#[test]
fn queries_and_keys_from_safetensors_are_interleaved_and_nothing_else_is_moved() -> Result<()> {
    let bench = Bench::safetensors()?;
    let recipe = bench.recipe_with(|_| Format::Bf16);
    let artifact = bench.quantize(&recipe, "job", &JobContext::silent())?;
    let path = bench.path("out.gguf");
    writer(ExportFormat::Gguf).write(&bench.source, &artifact, &path, &JobContext::silent())?;
    let written = source::open(&path, &Reporter::default())?;
    assert_eq!(written.config.head_count, tiny_model::HEADS);
    for (name, _, shape) in tiny_model::tensors() {
        let got = written.view(written.find(&name).unwrap()).to_f32()?;
        let want = bench.source.view(bench.source.find(&name).unwrap()).to_f32()?;
        let columns = shape[shape.len() - 1];
        let moved = name.contains("attn_q") || name.contains("attn_k.");
        for row in 0..want.len() / columns {
            let (head, within) = (row / tiny_model::HEAD_DIM, row % tiny_model::HEAD_DIM);
            let half = tiny_model::HEAD_DIM / 2;
            // Where llama.cpp's rotary pairing of neighbours finds what Hugging Face pairs across the halves.
            let to = if moved { head * tiny_model::HEAD_DIM + 2 * (within % half) + within / half } else { row };
            assert_eq!(got[to * columns..(to + 1) * columns], want[row * columns..(row + 1) * columns], "{name} row {row}");
        }
    }
    Ok(())
}

#[test]
fn integers_are_refused_by_gguf_and_written_dequantized_as_safetensors() -> Result<()> {
    let bench = Bench::safetensors()?;
    let int = Format::Int(IntFormat { bits: 4, scope: Granularity::Group(32), symmetric: false });
    let recipe = bench.recipe_with(|_| int);
    let refused = writer(ExportFormat::Gguf).predict_bytes(&bench.source, &recipe).unwrap_err();
    assert!(matches!(&refused, Error::Unsupported { .. }) && refused.to_string().contains("token_embd.weight"), "{refused}");
    let artifact = bench.quantize(&recipe, "job", &JobContext::silent())?;
    let exported = writer(ExportFormat::Safetensors).write(&bench.source, &artifact, &bench.path("out"), &JobContext::silent())?;
    assert_eq!(exported.path, bench.path("out/model.safetensors"));
    assert!(bench.path("out/config.json").exists(), "the model's configuration goes with it");
    let written = source::open(&bench.path("out"), &Reporter::default())?;
    let (header, bytes) = artifact.tensor("blk.1.ffn_up.weight").unwrap();
    let mut want = vec![0.0; tiny_model::FEED_FORWARD * tiny_model::HIDDEN];
    header.stored_as.decode(bytes, &mut want);
    let got = written.view(written.find("blk.1.ffn_up.weight").unwrap()).to_f32()?;
    assert!(got.iter().zip(&want).all(|(g, w)| *g == half::bf16::from_f32(*w).to_f32()), "the dequantized values in the source's type");
    Ok(())
}

#[test]
fn formats_of_no_file_type_go_through_a_job_and_out_as_values() -> Result<()> {
    let bench = Bench::safetensors()?;
    for name in [
        "INT4-channel",
        "INT8-tensor-asym",
        "FP8-E4M3-channel",
        "FP8-E5M2-tensor",
        "FP6-E3M2-g32",
        "MXFP8-E4M3",
        "NF4-g32",
        "ANY4-g32",
        "ANY3-g32-tensor",
        "TRIT2-g32",
    ] {
        let format: Format = name.parse()?;
        let recipe = bench.recipe_with(|_| format);
        assert!(matches!(writer(ExportFormat::Gguf).predict_bytes(&bench.source, &recipe), Err(Error::Unsupported { .. })), "{name} in GGUF");
        let artifact = bench.quantize(&recipe, name, &JobContext::silent())?;
        let out = bench.path(&format!("{name}.safetensors"));
        writer(ExportFormat::Safetensors).write(&bench.source, &artifact, &out, &JobContext::silent())?;
        let written = source::open(&out, &Reporter::default())?;
        for (index, entry) in bench.source.tensors.iter().enumerate() {
            let Some((header, bytes)) = artifact.tensor(&entry.name) else { continue };
            assert_eq!(header.stored_as, format.for_columns(entry.columns()), "{name}: {}", entry.name);
            assert_eq!(bytes.len() as u64, header.stored_as.tensor_bytes(entry.rows(), entry.columns()), "{name}: bytes of {}", entry.name);
            let mut want = vec![0.0; entry.elements()];
            header.stored_as.decode(bytes, &mut want);
            let got = written.view(written.find(&entry.name).expect("every tensor")).to_f32()?;
            let kept = bench.source.view(index).to_f32()?;
            assert!(got.iter().zip(&want).all(|(g, w)| *g == half::bf16::from_f32(*w).to_f32()), "{name}: values of {}", entry.name);
            assert!(header.stored_as == Format::F16 || got != kept, "{name}: {} was quantized", entry.name);
        }
    }
    Ok(())
}

#[test]
fn short_rows_and_broken_weights_are_told_and_do_not_stop_the_job() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("broken.gguf");
    tiny_model::write_gguf_with(&path, |name, shape| {
        let mut values = tiny_model::values(name, shape, 1);
        if name == "blk.0.ffn_down.weight" {
            (values[7], values[9]) = (f32::NAN, f32::INFINITY);
        }
        values
    })?;
    let bench = Bench { source: source::open(&path, &Reporter::default())?, folder };
    let cx = JobContext::silent();
    let recipe = bench.recipe_with(|_| Format::Ggml(GgmlType::Q4_K));
    let artifact = bench.quantize(&recipe, "job", &cx)?;
    let about: Vec<_> = cx.reporter.notices().into_iter().filter(|n| n.tensor.as_deref() == Some("blk.0.ffn_down.weight")).map(|n| n.kind).collect();
    let fallback = NoticeKind::RowFallback { wanted: Format::Ggml(GgmlType::Q4_K), used: Format::Ggml(GgmlType::Q5_0), columns: tiny_model::FEED_FORWARD };
    assert_eq!(about, [NoticeKind::NonFinite { count: 2, first: 7 }, fallback]);
    let again = JobContext::silent();
    bench.quantize(&recipe, "job", &again)?;
    assert_eq!(again.reporter.notices(), cx.reporter.notices(), "a resumed job tells what the first one told");
    let out = bench.path("out.gguf");
    writer(ExportFormat::Gguf).write(&bench.source, &artifact, &out, &JobContext::silent())?;
    verify(&out, Some((&bench.source, &artifact)), &JobContext::silent())?;
    Ok(())
}

#[test]
fn a_cancelled_export_leaves_nothing_behind() -> Result<()> {
    let bench = Bench::gguf()?;
    let artifact = bench.quantize(&bench.recipe(10), "job", &JobContext::silent())?;
    let out = bench.path("out");
    std::fs::create_dir(&out)?;
    let cx = JobContext::silent();
    cx.cancel.cancel();
    let error = writer(ExportFormat::Gguf).write(&bench.source, &artifact, &out.join("x.gguf"), &cx).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert!(files_in(&out).is_empty());
    Ok(())
}

#[test]
fn a_record_that_cannot_be_written_stops_the_job_and_keeps_the_others() -> Result<()> {
    let bench = Bench::gguf()?;
    let recipe = bench.recipe(11);
    // A folder where the record belongs: the file beside it can be written, but not renamed.
    let records = bench.path("job/records");
    std::fs::create_dir_all(records.join("0005.rec"))?;
    let error = bench.quantize(&recipe, "job", &JobContext::silent()).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path.ends_with("0005.rec")), "{error}");
    let names: Vec<_> = files_in(&records).into_keys().collect();
    assert!(names.iter().all(|n| n.ends_with(".rec") && !n.starts_with('.')), "no temporary file is left: {names:?}");
    assert!((0..5).all(|i| names.contains(&format!("{i:04}.rec"))), "what was before it is durable: {names:?}");
    std::fs::remove_dir(records.join("0005.rec"))?;
    bench.quantize(&recipe, "job", &JobContext::silent())?;
    Ok(())
}

#[test]
fn an_artifact_of_another_model_is_not_exported() -> Result<()> {
    let (bench, other) = (Bench::gguf()?, Bench::safetensors()?);
    let artifact = bench.quantize(&bench.recipe(12), "job", &JobContext::silent())?;
    for format in ExportFormat::ALL {
        let path = other.path("out.gguf");
        let error = writer(format).write(&other.source, &artifact, &path, &JobContext::silent()).unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }) && !path.exists(), "{error}");
    }
    Ok(())
}

#[test]
fn a_report_names_the_hashes_and_every_tensor_and_escapes_what_the_file_says() -> Result<()> {
    let mut bench = Bench::gguf()?;
    bench.source.config.name = Some("<script>".into());
    let artifact = bench.quantize(&bench.recipe(13), "job", &JobContext::silent())?;
    let exported = writer(ExportFormat::Gguf).write(&bench.source, &artifact, &bench.path("out.gguf"), &JobContext::silent())?;
    write_report(&bench.path("out.html"), &bench.source, &artifact, &exported, Proof::default())?;
    let html = std::fs::read_to_string(bench.path("out.html"))?;
    for text in [&exported.hash, &artifact.recipe.hash(), &bench.source.fingerprint] {
        assert!(html.contains(text.as_str()));
    }
    assert!(artifact.tensors().all(|t| html.contains(&t.tensor)));
    assert!(html.contains("&lt;script&gt;") && !html.contains("<script>"));
    Ok(())
}
