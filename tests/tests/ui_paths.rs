//! The studio without a desktop's file dialogs, and across two starts: typed paths, the question before a file is replaced, pictures of
//! plots, an unfinished job that is gone on with.

use egui_kittest::kittest::Queryable as _;
use halftone::studio::command::{Action, Command, Picture};
use halftone::studio::dialogs::{Purpose, Scripted};
use halftone::studio::dock::Pane;
use halftone::studio::jobs::JobState;
use halftone_core::sensitivity::Metric;
use halftone_tests::studio::Driver;
use std::path::Path;

const WINDOW: [f32; 2] = [1280.0, 800.0];

/// Writes into a field as a person does: click, select all, type.
fn fill(driver: &mut Driver, label: &str, text: &str) {
    driver.harness.get_by_label(label).click();
    driver.frames(3);
    driver.harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::A);
    driver.frames(2);
    driver.harness.event(egui::Event::Text(text.to_owned()));
    driver.frames(3);
}

/// A quantized demo model; measured without a probe, on few tokens.
fn quantized(driver: &mut Driver, jobs: &Path) {
    driver.harness.state_mut().settings.job_root = Some(jobs.to_owned());
    driver.harness.state_mut().settings.probe = false;
    driver.demo();
    driver.send(Command::SetCalibrationTokens(1024));
    driver.send(Command::Do(Action::Measure));
    driver.wait("the table", 300, |s| s.session.table.is_some());
    driver.send(Command::Do(Action::Quantize));
    driver.wait("the artifact", 300, |s| s.session.artifact.is_some());
}

#[test]
fn without_a_file_dialog_a_model_is_opened_and_written_by_typed_paths() {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = halftone::demo::unpack().expect("the demo model");
    let mut driver = Driver::with_dialogs(WINDOW, Scripted::none());
    driver.harness.state_mut().settings.job_root = Some(folder.path().join("jobs"));

    fill(&mut driver, "Path of a model", "no/such/model.gguf");
    driver.harness.key_press(egui::Key::Enter);
    driver.wait("the error", 30, |s| s.view().messages.toasts().count() == 1);
    assert!(driver.messages()[0].contains("no/such/model.gguf"), "{:?}", driver.messages());

    driver.send(Command::Do(Action::OpenFile));
    driver.frames(3);
    driver.harness.get_by_label("Open a model by its path");
    driver.harness.event(egui::Event::Text(demo.display().to_string()));
    driver.frames(2);
    driver.harness.key_press(egui::Key::Enter);
    driver.wait("the model opens", 60, |s| s.session.source.is_some());

    quantized(&mut driver, &folder.path().join("jobs"));
    assert_ne!(driver.harness.state().session.cost_metric(), Metric::PredictedKl, "no probe, no predicted KL");
    driver.send(Command::Do(Action::Show(Pane::Export)));
    let beside = driver.harness.state().session.path_to_export();
    assert!(beside.starts_with(demo.parent().expect("a parent").to_str().expect("unicode")) && beside.ends_with("bpw.gguf"), "{beside}");
    let out = folder.path().join("typed");
    fill(&mut driver, "Path of the export", &out.display().to_string());
    driver.harness.get_by_label("Write the model").click();
    driver.wait("the file", 300, |s| s.session.exported.is_some());
    let written = folder.path().join("typed.gguf");
    assert_eq!(driver.harness.state().session.exported.as_ref().map(|e| e.path.clone()), Some(written.clone()), "the extension is the format's");
    let bytes = std::fs::metadata(&written).expect("it is there").len();
    assert_eq!(bytes, driver.harness.state().session.allocation.plan.as_ref().map_or(0, |p| p.file_bytes), "predicted bytes are exact");

    // The same path again: the window asks, keeps on demand, and replaces on demand.
    std::fs::write(&written, b"somebody's file").expect("a file in the way");
    driver.send(Command::Do(Action::Write));
    driver.wait("the question", 30, |s| s.session.occupied.is_some());
    driver.harness.get_by_label("Keep it").click();
    driver.frames(4);
    assert!(driver.harness.state().session.occupied.is_none() && !driver.harness.state().view().busy(), "kept");
    assert_eq!(std::fs::read(&written).expect("still there"), b"somebody's file", "untouched");
    driver.send(Command::Do(Action::Write));
    driver.wait("the question", 30, |s| s.session.occupied.is_some());
    driver.harness.get_by_label("Replace it").click();
    driver.wait("the file", 300, |s| s.view().jobs.iter().filter(|j| j.label == "Export" && j.state == JobState::Done).count() == 2);
    assert_eq!(std::fs::metadata(&written).expect("it is there").len(), bytes, "replaced");
}

#[test]
fn the_model_itself_and_folders_are_refused_as_places_for_the_export() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut driver = Driver::new(WINDOW, Vec::new());
    quantized(&mut driver, &folder.path().join("jobs"));
    let model = halftone::demo::unpack().expect("the demo model").join("model.safetensors");
    let before = std::fs::metadata(&model).expect("the model").modified().expect("a time");
    for (path, why) in [(model.clone(), "the model itself"), (folder.path().to_owned(), "a folder"), (folder.path().join("no/such/x.gguf"), "no such folder")] {
        let told = driver.messages().len();
        driver.send(Command::SetExportPath(path.display().to_string()));
        driver.send(Command::Do(Action::Write));
        driver.wait("a message", 30, |s| s.view().messages.all().len() > told);
        assert!(driver.messages().last().is_some_and(|m| m.contains(why)), "{why}: {:?}", driver.messages());
    }
    assert!(driver.harness.state().session.exported.is_none(), "nothing was written");
    assert_eq!(std::fs::metadata(&model).expect("the model").modified().expect("a time"), before, "the model is as it was");
}

#[test]
fn a_job_that_was_cut_off_is_offered_at_the_next_start_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let jobs = folder.path().join("jobs");
    let done = {
        let mut first = Driver::new(WINDOW, Vec::new());
        first.harness.state_mut().settings.job_root = Some(jobs.clone());
        first.harness.state_mut().settings.probe = false;
        first.demo();
        first.send(Command::SetCalibrationTokens(1024));
        first.send(Command::Do(Action::Measure));
        first.wait("the table", 300, |s| s.session.table.is_some());
        first.send(Command::Do(Action::Quantize));
        first.wait("the first tensor", 60, |s| s.view().jobs.last().is_some_and(|j| !j.tensors.is_empty() || !j.active()));
        first.send(Command::Do(Action::CancelJob));
        first.wait("the end", 60, |s| !s.view().busy());
        let job = first.harness.state().view().jobs.last().cloned().expect("a job");
        assert_eq!(job.state, JobState::Cancelled, "cut off before its end");
        job.tensors.len()
    };
    let mut second = Driver::new(WINDOW, Vec::new());
    second.send(Command::Picked(Purpose::JobRoot, vec![jobs.clone()]));
    second.wait("the offer", 30, |s| !s.view().unfinished.is_empty());
    second.harness.get_by_label("Resume the job").click();
    second.wait("the artifact", 300, |s| s.session.artifact.is_some());
    let state = second.harness.state();
    let job = state.view().jobs.iter().rfind(|j| j.label == "Quantize").cloned().expect("a job");
    assert!(job.tensors.iter().filter(|t| t.resumed).count() >= done, "what was durable is not done again");
    assert!(job.tensors.iter().any(|t| !t.resumed), "and the rest is done now");
    let artifact = state.session.artifact.clone().expect("an artifact");
    assert!(artifact.recipe.calibration.is_some(), "weighted by the calibration of the first start");
    assert!(
        std::fs::read_dir(&artifact.folder).expect("the folder").flatten().all(|e| !e.file_name().to_string_lossy().contains("calibration")),
        "which is not kept longer than needed"
    );
    assert!(state.view().unfinished.is_empty(), "the offer is gone");
    assert!(state.session.allocation.formats.iter().any(Option::is_some), "the map shows the recipe");

    // What was resumed is compared, read and exported like any other.
    let out = folder.path().join("resumed.gguf");
    second.send(Command::SetExportPath(out.display().to_string()));
    second.send(Command::Do(Action::Write));
    second.wait("the file", 300, |s| s.session.exported.is_some());
    let offered = halftone_core::job::unfinished(&jobs).expect("a listing");
    assert!(offered.is_empty(), "a finished job is not offered: {offered:?}");
}

#[test]
fn an_unfinished_job_can_be_thrown_away_with_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let job = folder.path().join("job");
    std::fs::create_dir_all(job.join("records")).expect("a folder");
    std::fs::write(folder.path().join("other.txt"), b"not ours").expect("a file");
    assert!(halftone_core::job::discard(folder.path()).is_err(), "a folder without a job is refused");
    std::fs::write(job.join("lock"), b"").expect("a lock");
    std::fs::write(job.join("job.toml"), b"x").expect("a job");
    halftone_core::job::discard(&job).expect("it goes");
    assert!(!job.exists() && folder.path().join("other.txt").exists(), "only the job went");
}

#[test]
fn a_plot_is_saved_as_png_and_as_svg() {
    let folder = tempfile::tempdir().expect("a folder");
    let (png, svg) = (folder.path().join("frontier.png"), folder.path().join("weights.svg"));
    let mut driver = Driver::new(WINDOW, vec![(Purpose::Picture, vec![png.clone()])]);
    driver.harness.state_mut().settings.probe = false;
    driver.demo();
    driver.send(Command::SetCalibrationTokens(1024));
    driver.send(Command::Do(Action::Measure));
    driver.wait("the table", 300, |s| s.session.table.is_some());
    driver.harness.get_by_label("Save or copy: Frontier").click();
    driver.frames(3);
    driver.harness.get_by_label("Save picture as PNG…").click();
    driver.wait("the picture", 30, |s| s.view().messages.all().iter().any(|m| m.origin == "Picture"));
    let bytes = std::fs::read(&png).expect("a picture");
    assert_eq!(&bytes[..4], b"\x89PNG", "a PNG");
    let side = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    assert!((200..500).contains(&side(16)) && (150..300).contains(&side(20)), "of the plot alone: {} × {}", side(16), side(20));
    driver.harness.get_by_label("Save or copy: Frontier"); // the button is back

    let mut driver = Driver::new(WINDOW, vec![(Purpose::Picture, vec![svg.clone()])]);
    driver.send(Command::TakePicture { name: "Weights", picture: Picture::Drawing("<svg/>".to_owned()) });
    driver.wait("the picture", 30, |s| s.view().messages.all().iter().any(|m| m.origin == "Picture"));
    assert_eq!(std::fs::read_to_string(&svg).expect("a drawing"), "<svg/>", "written as it is");
}

#[test]
fn the_frontier_as_svg_holds_its_marks_and_its_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let svg = folder.path().join("frontier.svg");
    let mut driver = Driver::new(WINDOW, vec![(Purpose::Picture, vec![svg.clone()])]);
    driver.harness.state_mut().settings.probe = false;
    driver.demo();
    driver.send(Command::SetCalibrationTokens(1024));
    driver.send(Command::Do(Action::Measure));
    driver.wait("the table", 300, |s| s.session.table.is_some());
    assert!(driver.harness.state().session.allocation.frontier.len() > 2, "there is a line to draw");
    driver.harness.get_by_label("Save or copy: Frontier").click();
    driver.frames(3);
    driver.harness.get_by_label("Save picture as SVG…").click();
    driver.wait("the picture", 30, |s| s.view().messages.all().iter().any(|m| m.origin == "Picture"));
    let text = std::fs::read_to_string(&svg).expect("a drawing");
    assert!(text.contains(">File, MB</text>"), "the axis keeps its name: {text}");
    assert!(text.matches("<poly").count() > 10 && text.contains("#62a8e5") && text.contains("<circle"), "the line and the plan's point: {text}");
    assert!(!text.contains("Save picture"), "the menu is not in the picture");
}

#[test]
fn both_models_continue_one_prompt_and_share_its_beginning() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut driver = Driver::new(WINDOW, Vec::new());
    quantized(&mut driver, &folder.path().join("jobs"));
    driver.send(Command::Do(Action::Show(Pane::Compare)));
    driver.harness.state_mut().settings.generation.tokens = 24;
    driver.frames(2);
    driver.harness.get_by_label("Continue the prompt").click();
    driver.wait("the texts", 300, |s| s.session.generated.is_some());
    let first = driver.harness.state().session.generated.clone().expect("texts");
    assert!(first.before_tokens > 0 && first.before_tokens <= 24, "as many as asked, or to the end of the story");
    assert!(first.before != first.after || (first.before.is_empty() && first.after.is_empty()), "the rests begin where they differ");
    driver.harness.get_by_label("Original");
    driver.send(Command::Do(Action::Generate));
    driver.wait("the texts again", 300, |s| s.session.generated.as_ref().is_some_and(|g| !std::sync::Arc::ptr_eq(g, &first)));
    assert_eq!(driver.harness.state().session.generated.as_deref(), Some(&*first), "the same seed, the same texts");
}

#[test]
fn a_job_that_another_process_still_holds_is_offered_when_it_lets_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let jobs = folder.path().join("jobs");
    let mut first = Driver::new(WINDOW, Vec::new());
    quantized(&mut first, &jobs);
    let job = first.harness.state().session.artifact.as_ref().expect("an artifact").folder.clone();
    drop(first);
    // As if it had been killed before its first tensor, and its end were not over yet. Without a calibration nothing has to be kept.
    let text = std::fs::read_to_string(job.join("job.toml")).expect("a job");
    let bare: Vec<&str> = text.lines().filter(|line| !line.starts_with("calibration")).collect();
    std::fs::write(job.join("job.toml"), bare.join("\n")).expect("a job");
    std::fs::remove_file(job.join("records/0000.rec")).expect("a record");
    let lock = std::fs::File::create(job.join("lock")).expect("a lock");
    lock.try_lock().expect("nobody else has it");
    let mut second = Driver::new(WINDOW, Vec::new());
    second.send(Command::Picked(Purpose::JobRoot, vec![jobs.clone()]));
    second.wait("the job", 30, |s| !s.view().unfinished.is_empty());
    assert!(second.harness.state().view().unfinished[0].busy && second.harness.query_by_label("Resume the job").is_none(), "not to be had yet");
    drop(lock);
    second.wait("the offer", 30, |s| s.view().unfinished.iter().any(|j| !j.busy));
    second.harness.get_by_label("Resume the job");
}
