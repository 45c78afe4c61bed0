//! The studio, walked from end to end without a window: what a person would do, asserted on state.

use egui_kittest::kittest::Queryable as _;
use halftone::studio::command::{Action, Command};
use halftone::studio::dialogs::Purpose;
use halftone::studio::dock::Pane;
use halftone::studio::jobs::JobState;
use halftone::studio::selection::SelectMode;
use halftone::studio::session::Probed;
use halftone::studio::settings::BudgetUnit;
use halftone_core::allocate::{Budget, CacheType, Overhead, Target};
use halftone_core::codec::Format;
use halftone_core::sensitivity::Metric;
use halftone_tests::studio::Driver;
use std::path::Path;

const WINDOW: [f32; 2] = [1280.0, 800.0];

fn format_of(driver: &Driver, tensor: usize) -> Option<Format> {
    driver.harness.state().session.allocation.formats[tensor]
}

fn find(driver: &Driver, name: &str) -> usize {
    driver.harness.state().session.source.as_ref().and_then(|s| s.find(name)).unwrap_or_else(|| panic!("no tensor {name}"))
}

/// Opens the demo model and measures it with few tokens.
fn measured(driver: &mut Driver) {
    driver.demo();
    driver.wait("statistics", 60, |s| !s.view().busy());
    driver.send(Command::SetCalibrationTokens(1024));
    driver.send(Command::Do(Action::Measure));
    driver.wait("the table", 300, |s| s.session.table.is_some());
}

#[test]
fn the_whole_road_is_walked_on_the_demo_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("demo.gguf");
    let mut driver = Driver::new(WINDOW, vec![(Purpose::ExportFile, vec![out.clone()])]);
    driver.harness.state_mut().settings.job_root = Some(folder.path().join("jobs"));

    driver.demo();
    driver.wait("statistics", 60, |s| s.session.statistics.iter().all(Option::is_some));
    assert!(driver.harness.state().session.map_values.iter().any(Option::is_some), "the map is coloured before anything is measured");

    driver.send(Command::SetCalibrationTokens(1024));
    driver.send(Command::SetChunks(2));
    driver.send(Command::SetContext(128));
    driver.harness.get_by_label("Measure the model").click();
    driver.wait("the table", 300, |s| s.session.table.is_some());
    {
        let session = &driver.harness.state().session;
        assert!(session.calibration.is_some(), "the text was run");
        assert_eq!(session.cost_metric(), Metric::PredictedKl, "with a probe, costs are predicted KL");
        assert!(session.allocation.plan.is_some(), "allocated at once");
    }

    let q = find(&driver, "blk.1.attn_q.weight");
    driver.send(Command::Select { tensors: vec![q], cursor: Some(q), mode: SelectMode::Replace });
    let before = format_of(&driver, q);
    driver.harness.key_press(egui::Key::Num8);
    driver.frames(4);
    assert_eq!(format_of(&driver, q).map(|f| f.to_string()).as_deref(), Some("Q8_0"), "the key 8 paints Q8_0");
    assert!(driver.harness.state().session.allocation.pinned.contains(&q), "a painted tensor is pinned");
    driver.harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Z);
    driver.frames(4);
    assert_eq!(format_of(&driver, q), before, "undo gives the format back");
    assert!(driver.harness.state().session.allocation.pinned.is_empty(), "and the pin");

    driver.send(Command::Do(Action::Quantize));
    driver.wait("the artifact", 300, |s| s.session.artifact.is_some());
    driver.send(Command::Do(Action::Compare));
    driver.wait("the comparison", 300, |s| s.session.comparison.is_some() && s.session.reading.is_some());
    let comparison = driver.harness.state().session.comparison.clone().expect("a comparison");
    assert!(comparison.kl_mean > 0.0 && comparison.kl_mean < 1.0, "4.6 bits move the outputs a little: {}", comparison.kl_mean);

    driver.send(Command::Do(Action::Export));
    driver.wait("the file", 300, |s| s.session.exported.is_some());
    let session = &driver.harness.state().session;
    let plan = session.allocation.plan.as_ref().expect("a plan");
    assert_eq!(std::fs::metadata(&out).expect("the file is there").len(), plan.file_bytes, "predicted bytes are exact");
}

#[test]
fn a_bad_file_shows_an_error_and_the_window_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = folder.path().join("cut-short.gguf");
    std::fs::write(&bad, b"GGUF\x03\0\0\0 and then nothing").expect("a file");
    let mut driver = Driver::new(WINDOW, Vec::new());
    driver.send(Command::Open(bad));
    driver.wait("a message", 30, |s| s.view().messages.toasts().count() == 1);
    driver.harness.run();
    assert!(driver.harness.query_by_label("Put this message away").is_some(), "the error floats");
    assert!(driver.harness.query_all_by_label("Open file…").next().is_some(), "the welcome page is still there");
    driver.harness.get_by_label("Put this message away").click();
    driver.frames(3);
    assert_eq!(driver.harness.state().view().messages.toasts().count(), 0, "put away");
    assert_eq!(driver.harness.state().view().messages.all().len(), 1, "the log keeps it");
}

#[test]
fn dragging_the_budget_slider_makes_one_undo_step() {
    let mut driver = Driver::new(WINDOW, Vec::new());
    measured(&mut driver);
    let allocation = |driver: &Driver| driver.harness.state().session.allocation.recipe().clone();
    let at_first = allocation(&driver);
    driver.frames(4);
    let slider = driver.harness.get_by_label("Budget slider").rect();
    let at = |t: f32| egui::pos2(slider.left() + slider.width() * t, slider.center().y);
    driver.harness.drag_at(at(0.5));
    driver.frames(2);
    let mut budgets = Vec::new();
    for step in 1..=12 {
        driver.harness.hover_at(at(0.5 + 0.03 * step as f32));
        driver.frames(2);
        budgets.push(allocation(&driver).budget);
    }
    driver.harness.drop_at(at(0.86));
    driver.frames(3);
    budgets.dedup();
    assert!(budgets.len() > 5, "every move solves again: {budgets:?}");
    assert_ne!(allocation(&driver), at_first, "the drag changed the recipe");
    driver.send(Command::Do(Action::Undo));
    assert_eq!(allocation(&driver), at_first, "one undo takes the whole drag back");
    assert!(!driver.harness.state().session.allocation.can().0, "and there is nothing more to undo");
    driver.send(Command::Do(Action::Redo));
    assert_ne!(allocation(&driver), at_first, "redo brings it back");
}

#[test]
fn a_tensor_that_is_left_as_it_is_has_a_slash_no_format_and_its_bytes() {
    let mut driver = Driver::new(WINDOW, Vec::new());
    measured(&mut driver);
    let q = find(&driver, "blk.1.attn_q.weight");
    driver.send(Command::Select { tensors: vec![q], cursor: Some(q), mode: SelectMode::Replace });
    driver.harness.key_press(egui::Key::X);
    driver.frames(4);
    let allocation = &driver.harness.state().session.allocation;
    assert!(allocation.staying.contains(&q) && allocation.formats[q].is_none(), "left as it is");
    assert!(!allocation.recipe().tensors.contains_key("blk.1.attn_q.weight"), "the recipe does not name it");
    driver.harness.get_by_label("Inspector: Why").click();
    driver.frames(4);
    assert!(driver.harness.query_by_label_contains("as was asked").is_some(), "the inspector says why");
    driver.send(Command::Do(Action::HandBack));
    let allocation = &driver.harness.state().session.allocation;
    assert!(allocation.staying.is_empty() && allocation.formats[q].is_some(), "handed back");
    driver.frames(4);
    assert!(driver.harness.query_by_label_contains("A megabyte in this plan").is_some(), "the price of a byte");
}

#[test]
fn a_budget_of_memory_holds_the_weights_and_the_context() {
    let mut driver = Driver::new(WINDOW, Vec::new());
    measured(&mut driver);
    driver.send(Command::SetBudgetUnit(BudgetUnit::Memory));
    assert!(driver.harness.query_by_label_contains("Activations (an estimate)").is_some(), "the parts are shown");
    let session = &driver.harness.state().session;
    let config = &session.source.as_ref().expect("a model").config;
    let overhead = Overhead::new(config, Target::LlamaCpp, 2048, CacheType::Q8_0).expect("known attention");
    let bytes = session.allocation.byte_range().expect("a range").0 * 11 / 10 + overhead.bytes();
    driver.send(Command::SetBudget(Budget::Memory { bytes, overhead }));
    let plan = driver.harness.state().session.allocation.plan.clone().expect("a plan");
    assert!(plan.file_bytes + overhead.bytes() <= bytes, "weights and context fit");
    assert!(driver.harness.state().session.allocation.refusal.is_none(), "no refusal");
}

#[test]
fn probed_cells_are_drawn_against_their_prediction() {
    let mut driver = Driver::new(WINDOW, Vec::new());
    measured(&mut driver);
    assert!(driver.harness.query_by_label_contains("rank correlation").is_none(), "nothing was probed");
    let probed = |name: &str, predicted, measured| Probed { name: name.to_owned(), predicted, measured, error: 0.001 };
    driver.harness.state_mut().session.correlation = vec![probed("a", 0.1, 0.2), probed("b", 0.01, 0.03), probed("c", 0.3, 0.31)];
    driver.frames(4);
    assert!(driver.harness.query_by_label_contains("rank correlation 1.00").is_some(), "they rank alike");
}

#[test]
fn a_budget_below_the_smallest_file_is_refused_in_words_and_keeps_the_plan() {
    let mut driver = Driver::new(WINDOW, Vec::new());
    measured(&mut driver);
    let before = driver.harness.state().session.allocation.plan.clone();
    driver.send(Command::SetBudget(Budget::FileBytes(1000)));
    let allocation = &driver.harness.state().session.allocation;
    assert!(allocation.refusal.as_ref().is_some_and(|r| r.summary.contains("No allocation")), "{:?}", allocation.refusal);
    let figures = |plan: &Option<halftone_core::allocate::Plan>| plan.as_ref().map(|p| (p.formats.clone(), p.file_bytes));
    assert_eq!(figures(&allocation.plan), figures(&before), "the formats stay, with their true size");
}

#[test]
fn arrow_keys_walk_the_map_and_shift_extends() {
    let mut driver = Driver::new(WINDOW, Vec::new());
    driver.demo();
    driver.harness.get_by_label("Row 1").click();
    driver.frames(3);
    let row = driver.harness.state().view().selection.tensors.len();
    assert!(row >= 7, "a row head selects its block: {row}");
    let map = driver.harness.get_by_label("Map of tensors").rect();
    driver.harness.get_by_label("Map of tensors").focus();
    let q = find(&driver, "blk.0.attn_q.weight");
    driver.send(Command::Select { tensors: vec![q], cursor: Some(q), mode: SelectMode::Replace });
    driver.harness.key_press(egui::Key::ArrowRight);
    driver.frames(3);
    assert_eq!(driver.harness.state().view().selection.cursor, Some(find(&driver, "blk.0.attn_k.weight")), "right of q is k; map at {map:?}");
    driver.harness.key_press_modifiers(egui::Modifiers::SHIFT, egui::Key::ArrowDown);
    driver.frames(3);
    assert_eq!(driver.harness.state().view().selection.tensors.len(), 2, "Shift and down takes k of two blocks");
}

#[test]
fn nothing_in_the_middle_is_wider_than_its_pane_in_a_small_window() {
    let mut driver = Driver::new(WINDOW, Vec::new());
    measured(&mut driver);
    let q = find(&driver, "blk.1.attn_q.weight");
    driver.send(Command::Select { tensors: vec![q], cursor: Some(q), mode: SelectMode::Replace });
    driver.frames(8);
    let right = driver.harness.get_by_label("Budget slider").rect().left();
    for label in ["Map of tensors", "Paint Q8_0", "Log counts"] {
        let rect = driver.harness.get_by_label(label).rect();
        assert!(rect.right() < right, "{label} ends at {}, behind the steps at {right}", rect.right());
    }
    driver.harness.get_by_label("Inspector: Why").click();
    driver.frames(4);
    let price = driver.harness.get_by_label("A megabyte in this plan").rect();
    assert!(price.right() < right, "{price:?}");
}

#[test]
fn every_pane_names_its_widgets_and_draws_every_glyph() {
    let mut driver = Driver::new(WINDOW, Vec::new());
    measured(&mut driver);
    for theme in [Action::ThemeLight, Action::ThemeDark] {
        driver.send(Command::Do(theme));
        for pane in Pane::ALL {
            driver.send(Command::Do(Action::Show(pane)));
            driver.frames(3);
            driver.harness.check_accessibility();
        }
    }
    driver.send(Command::Do(Action::Palette));
    driver.harness.check_accessibility();
}

#[test]
fn a_cancelled_quantization_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut driver = Driver::new(WINDOW, Vec::new());
    driver.harness.state_mut().settings.job_root = Some(folder.path().to_owned());
    measured(&mut driver);
    driver.send(Command::Do(Action::Quantize));
    driver.wait("the first tensor", 60, |s| s.view().jobs.last().is_some_and(|j| !j.tensors.is_empty() || !j.active()));
    driver.send(Command::Do(Action::CancelJob));
    driver.wait("the end", 60, |s| !s.view().busy());
    let done = driver.harness.state().view().jobs.last().map_or(0, |j| j.tensors.len());
    driver.send(Command::Do(Action::Quantize));
    driver.wait("the artifact", 300, |s| s.session.artifact.is_some());
    let job = driver.harness.state().view().jobs.last().cloned().expect("a job");
    assert_eq!(job.state, JobState::Done, "it went on");
    assert!(job.tensors.iter().filter(|t| t.resumed).count() >= done, "what was durable is not done again");
}

#[test]
#[ignore = "draws pictures to look at, into target/screenshots; HALFTONE_SHOT_MODEL names another model"]
fn screenshots() {
    let model = std::env::var_os("HALFTONE_SHOT_MODEL");
    for (size, suffix) in [(WINDOW, "1280"), ([1920.0, 1080.0], "1920")] {
        let mut driver = Driver::new(size, Vec::new());
        driver.screenshot(&format!("welcome-dark-{suffix}"));
        match &model {
            Some(path) => driver.open(Path::new(path)),
            None => driver.demo(),
        }
        driver.wait("statistics", 120, |s| s.session.statistics.iter().all(Option::is_some));
        driver.both(&format!("opened-{suffix}"));
        driver.send(Command::SetCalibrationTokens(2048));
        driver.send(Command::SetChunks(4));
        driver.send(Command::Do(Action::Measure));
        driver.wait("the table", 600, |s| s.session.table.is_some());
        let tensor = find(&driver, "blk.1.ffn_down.weight");
        driver.send(Command::Select { tensors: vec![tensor], cursor: Some(tensor), mode: SelectMode::Replace });
        driver.send(Command::Do(Action::Bits(6)));
        driver.wait("a look at the tensor", 60, |s| s.view().report.is_some_and(|r| r.tensor == tensor && !r.after.is_empty()));
        driver.both(&format!("allocate-{suffix}"));
        driver.send(Command::SetSearchMinutes(0.1));
        for action in [Action::Judge, Action::Refine] {
            driver.send(Command::Do(action));
            driver.wait("the evidence, the search", 600, |s| !s.view().busy());
        }
        driver.both(&format!("searched-{suffix}"));
        driver.harness.get_by_label("Probe 24 cells and judge the metrics").scroll_to_me();
        driver.both(&format!("judged-{suffix}"));
        for view in ["Columns", "Candidates", "Why", "Difference"] {
            driver.harness.get_by_label(&format!("Inspector: {view}")).click();
            driver.screenshot(&format!("inspector-{}-{suffix}", view.to_lowercase()));
        }
        driver.send(Command::Do(Action::Quantize));
        driver.wait("the artifact", 600, |s| s.session.artifact.is_some());
        driver.send(Command::Do(Action::Show(Pane::Run)));
        driver.both(&format!("run-{suffix}"));
        driver.send(Command::Do(Action::Compare));
        driver.wait("the comparison", 600, |s| s.session.reading.is_some());
        driver.send(Command::Do(Action::Show(Pane::Export)));
        driver.both(&format!("compare-{suffix}"));
        for view in ["Worst tokens", "Distribution", "Tensors"] {
            driver.harness.get_by_label(&format!("Comparison: {view}")).click();
            driver.screenshot(&format!("compare-{}-{suffix}", view.to_lowercase().replace(' ', "-")));
        }
        driver.send(Command::Do(Action::Show(Pane::Log)));
        driver.send(Command::Do(Action::Palette));
        driver.screenshot(&format!("palette-{suffix}"));
        driver.send(Command::Do(Action::Palette));
        driver.send(Command::Do(Action::Help));
        driver.screenshot(&format!("help-{suffix}"));
    }
}
