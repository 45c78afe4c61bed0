//! The studio's two ways to measure after the table: judging its metrics, and searching on from the solver's plan.

use egui_kittest::kittest::{NodeT as _, Queryable as _};
use halftone::studio::app::Studio;
use halftone::studio::command::{Action, Command};
use halftone::studio::dialogs::Purpose;
use halftone::studio::dock::Pane;
use halftone::studio::jobs::JobState;
use halftone::studio::selection::SelectMode;
use halftone::studio::settings::TextChoice;
use halftone_core::allocate::{Budget, Target};
use halftone_core::codec::Format;
use halftone_core::job::Stage;
use halftone_core::refine::{Kl, Refined};
use halftone_core::sensitivity::Metric;
use halftone_tests::studio::Driver;
use std::collections::BTreeMap;
use std::sync::Arc;

const WINDOW: [f32; 2] = [1280.0, 800.0];
const JUDGE: &str = "Probe 24 cells and judge the metrics";
const SEARCH: &str = "Search on by measured KL";

/// The demo model, measured on few tokens without a probe.
fn measured(text: TextChoice) -> (Driver, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut driver = Driver::new(WINDOW, Vec::new());
    driver.harness.state_mut().settings.job_root = Some(folder.path().to_owned());
    driver.harness.state_mut().settings.probe = false;
    driver.demo();
    for action in [Action::Judge, Action::Refine] {
        assert_eq!(action.enabled(&driver.harness.state().view()), Err("Measure the model first"));
    }
    driver.send(Command::SetCalibrationText(text));
    driver.send(Command::SetCalibrationTokens(1024));
    driver.send(Command::Do(Action::Measure));
    driver.wait("the table", 300, |s| s.session.table.is_some());
    driver.send(Command::Do(Action::Show(Pane::Allocate)));
    (driver, folder)
}

fn formats(driver: &Driver) -> BTreeMap<String, Format> {
    driver.harness.state().session.allocation.recipe().tensors.iter().map(|(name, format)| (name.clone(), *format)).collect()
}

fn of(found: &Refined) -> BTreeMap<String, Format> {
    found.formats.iter().map(|(name, format)| (name.clone(), *format)).collect()
}

#[test]
fn judging_measures_cells_shows_every_metric_and_calibrates_the_costs_as_one_step() {
    let (mut driver, _folder) = measured(TextChoice::Bundled);
    let (before, metric) = (formats(&driver), driver.harness.state().session.cost_metric());
    assert!(metric != Metric::CalibratedKl && driver.harness.query_by_label_contains("rank correlation").is_none(), "nothing was probed");
    driver.harness.get_by_label(JUDGE).scroll_to_me();
    driver.frames(3);
    driver.harness.get_by_label(JUDGE).click();
    driver.wait("the evidence", 300, |s| s.session.table.as_ref().is_some_and(|t| t.evidence.trust.is_some()));
    {
        let session = &driver.harness.state().session;
        let table = session.table.as_ref().expect("a table");
        let trust = table.evidence.trust.as_ref().expect("evidence");
        assert_eq!(trust.cells.len(), 24, "as many as the button says");
        assert_eq!(session.correlation.len(), 24, "each is a point of the plot");
        assert!(trust.cells.iter().all(|c| c.error > 0.0) && trust.correlations.len() >= 3, "measured, with errors: {trust:?}");
        assert_eq!(session.cost_metric(), Metric::CalibratedKl, "costs go by the best metric, calibrated");
        let plan = session.allocation.plan.as_ref().expect("a plan");
        let cost = |(name, format): (&String, &Format)| table.row(name)?.cells.iter().find(|c| c.format == *format)?.metric(Metric::CalibratedKl);
        let sum: f64 = plan.formats.iter().map(|cell| cost(cell).expect("every cell has it")).sum();
        assert!((plan.cost / sum - 1.0).abs() < 1e-9, "solved again by it: {} instead of {sum}", plan.cost);
    }
    assert!(driver.harness.query_by_label_contains("24 probes; rank correlation").is_some(), "the plot says how well it ranks");
    assert!(driver.messages().iter().any(|m| m.contains("24 cells measured")), "{:?}", driver.messages());
    if formats(&driver) != before {
        driver.send(Command::Do(Action::Undo));
        assert_eq!(formats(&driver), before, "what it changed is one step");
    }
    assert!(!driver.harness.state().session.allocation.can().0, "and there is no other");
}

#[test]
fn without_a_text_both_are_refused_and_say_why() {
    let (driver, _folder) = measured(TextChoice::None);
    for (action, label) in [(Action::Judge, JUDGE), (Action::Refine, SEARCH)] {
        assert_eq!(action.enabled(&driver.harness.state().view()), Err("Measure with a calibration text first"));
        assert!(driver.harness.get_by_label(label).accesskit_node().is_disabled(), "{label}");
    }
}

#[test]
fn a_search_ends_in_its_time_says_what_it_measured_and_goes_on_when_it_is_asked_again() {
    let (mut driver, folder) = measured(TextChoice::Bundled);
    let bytes_of = |driver: &Driver| driver.harness.state().session.allocation.plan.as_ref().map_or(u64::MAX, |p| p.file_bytes);
    let (before, bytes) = (formats(&driver), bytes_of(&driver));
    driver.send(Command::SetSearchMinutes(0.1));
    driver.harness.get_by_label(SEARCH).click();
    driver.wait("the search", 300, |s| s.session.searched.is_some());
    let found = driver.harness.state().session.searched.clone().expect("a result");
    assert!(found.trials > 0 && found.before.mean > 0.0 && !found.cancelled, "{found:?}");
    assert_eq!(driver.harness.state().view().jobs.last().map(|j| j.state.clone()), Some(JobState::Done));
    assert!(bytes_of(&driver) <= bytes, "no more bytes than before");
    assert_eq!(of(&found) != before, found.accepted > 0 && !found.reverted, "formats change exactly when something better was found");
    assert_eq!(formats(&driver), of(&found), "and the recipe has them");
    assert!(driver.harness.query_by_label_contains("on the search text").is_some(), "the pane says how it went");
    let proven = driver.harness.query_by_label_contains("proven optimal").is_some();
    assert_eq!(proven, formats(&driver) == before, "a plan that nothing was found for keeps its proof");
    driver.send(Command::Do(Action::Refine));
    driver.wait("the second search", 300, |s| !s.view().busy() && s.session.searched.as_ref().is_some_and(|f| f.trials != found.trials));
    let second = driver.harness.state().session.searched.clone().expect("a result");
    assert!(second.trials > found.trials && second.accepted >= found.accepted, "it went on in its journal: {second:?} after {found:?}");
    assert_eq!(second.before, found.before, "from where it began");
    assert_eq!(second.check.is_some(), second.accepted > 0, "all that was found is checked");
    assert_eq!(formats(&driver), of(&second), "and the recipe has it");
    if formats(&driver) != before {
        driver.send(Command::Do(Action::Undo));
        assert_eq!(formats(&driver), before, "one step takes both searches back");
    }
    assert!(folder.path().join("searches").is_dir(), "beside the jobs");

    // A pin changes no format, but what may be tried.
    driver.send(Command::Do(Action::SelectAll));
    driver.send(Command::Do(Action::Pin));
    driver.send(Command::Do(Action::Refine));
    driver.wait("the third search", 300, |s| !s.view().busy());
    assert_eq!(driver.harness.state().view().jobs.last().map(|j| j.state.clone()), Some(JobState::Done), "{:?}", driver.messages());
    assert_eq!(driver.harness.state().session.searched.as_ref().map(|f| f.trials), Some(0), "nothing is left to try");
}

#[test]
fn what_a_search_found_is_one_step_and_an_edited_recipe_is_left_alone() {
    let (mut driver, _folder) = measured(TextChoice::Bundled);
    let began = driver.harness.state().session.allocation.recipe().clone();
    let (small, large): (Format, Format) = ("Q2_K".parse().expect("a format"), "Q8_0".parse().expect("a format"));
    let mut found = began.tensors.clone();
    let last = found.last_mut().expect("a tensor").1;
    *last = if *last == small { large } else { small };
    let kl = Kl { mean: 0.1, error: 0.01 };
    let refined = Arc::new(Refined {
        formats: found,
        residuals: began.residuals.clone(),
        before: kl,
        after: kl,
        check: None,
        reverted: false,
        trials: 9,
        accepted: 1,
        cancelled: true,
    });
    let start = formats(&driver);
    assert!(driver.harness.state_mut().session.take_searched(refined.clone(), &began, "swaps", 0.0));
    driver.frames(3);
    assert_eq!(formats(&driver), of(&refined), "taken in");
    assert_eq!(driver.harness.state().session.allocation.recipe().solver, "exact+swaps");
    assert!(driver.harness.query_by_label_contains("then searched on by measured KL").is_some(), "the plan does not claim to be optimal");
    assert!(driver.harness.query_by_label_contains("Not checked on other text").is_some(), "nor the search to be checked");
    driver.send(Command::Do(Action::Undo));
    assert_eq!(formats(&driver), start, "one step");
    driver.send(Command::Do(Action::Redo));
    assert_eq!(formats(&driver), of(&refined), "and again");
    assert_eq!(*driver.harness.state().session.search_start(), began, "searched again, it goes on from where it began");
    let mut further = Refined::clone(&refined);
    let first = further.formats.first_mut().expect("a tensor").1;
    *first = if *first == small { large } else { small };
    let further = Arc::new(further);
    assert!(driver.harness.state_mut().session.take_searched(further.clone(), &began, "swaps", 0.0));
    driver.frames(3);
    assert_eq!(formats(&driver), of(&further), "what it found then is taken in");
    assert_eq!(driver.harness.state().session.allocation.recipe().solver, "exact+swaps", "as one search");
    driver.send(Command::Do(Action::Undo));
    assert_eq!(formats(&driver), start, "and one step");
    driver.send(Command::Do(Action::Redo));
    driver.send(Command::SetRounding("nearest".to_owned()));
    let edited = driver.harness.state().session.allocation.recipe().clone();
    assert_eq!(*driver.harness.state().session.search_start(), edited, "an edited recipe is searched from itself");
    assert!(!driver.harness.state_mut().session.take_searched(refined, &began, "swaps", 0.0), "it began with another recipe");
    assert_eq!(*driver.harness.state().session.allocation.recipe(), edited, "which stays");
}

#[test]
fn a_cancelled_search_keeps_the_best_so_far_unless_the_recipe_was_edited() {
    let (mut driver, _folder) = measured(TextChoice::Bundled);
    let trials = |s: &Studio| {
        let view = s.view();
        let stage = view.jobs.last().and_then(|j| j.stage()).map(|s| s.progress);
        stage.filter(|p| p.stage == Stage::Search).map_or(0, |p| p.done)
    };
    driver.send(Command::SetSearchMinutes(600.0));
    driver.send(Command::Do(Action::Refine));
    driver.wait("two trials", 300, |s| trials(s) >= 2);
    assert_eq!(Action::Judge.enabled(&driver.harness.state().view()), Err("A job is running"));
    driver.send(Command::Do(Action::CancelJob));
    driver.wait("the end", 60, |s| !s.view().busy());
    let found = driver.harness.state().session.searched.clone().expect("the best so far");
    assert!(found.cancelled && found.trials >= 2, "{found:?}");
    assert_eq!(formats(&driver), of(&found));

    let most = driver.harness.state().session.allocation.byte_range().expect("a range").1;
    driver.send(Command::Do(Action::Refine));
    driver.wait("a trial", 300, |s| trials(s) >= 2);
    driver.send(Command::SetBudget(Budget::FileBytes(most)));
    let edited = formats(&driver);
    driver.send(Command::Do(Action::CancelJob));
    driver.wait("the end", 60, |s| !s.view().busy());
    assert_eq!(formats(&driver), edited, "the edit stays");
    assert!(driver.messages().iter().any(|m| m.contains("was edited while it was searched")), "{:?}", driver.messages());
}

#[test]
fn a_loaded_recipe_brings_its_residuals_and_they_go_with_their_tensors() {
    let (mut driver, folder) = measured(TextChoice::None);
    let mut recipe = driver.harness.state().session.allocation.recipe().clone();
    let names: Vec<String> = recipe.tensors.keys().take(2).cloned().collect();
    recipe.target = Target::Halftone;
    for name in &names {
        recipe.residuals.insert(name.clone(), "r4".parse().expect("a residual"));
    }
    let path = folder.path().join("recipe.toml");
    recipe.save(&path).expect("it is written");
    driver.send(Command::Picked(Purpose::LoadRecipe, vec![path]));
    driver.wait("the recipe", 30, |s| s.session.allocation.recipe().target == Target::Halftone);
    let residuals = |driver: &Driver| driver.harness.state().session.allocation.recipe().residuals.clone();
    let plan = |driver: &Driver| driver.harness.state().session.allocation.plan.clone().expect("a plan");
    assert_eq!(residuals(&driver), recipe.residuals, "as they were written");
    assert_eq!(plan(&driver).residuals, recipe.residuals, "and in the plan, with their bytes");
    let bytes = plan(&driver).file_bytes;

    let tensor = |driver: &Driver, name: &str| driver.harness.state().session.source.as_ref().and_then(|s| s.find(name)).expect("a tensor");
    let (first, second) = (tensor(&driver, &names[0]), tensor(&driver, &names[1]));
    driver.send(Command::PaintTensors(vec![first], recipe.tensors[&names[0]]));
    assert_eq!(residuals(&driver).keys().collect::<Vec<_>>(), [&names[1]], "a painted format has none");
    assert!(plan(&driver).file_bytes < bytes, "nor its bytes");
    driver.send(Command::Select { tensors: vec![second], cursor: None, mode: SelectMode::Replace });
    driver.send(Command::Do(Action::Exclude));
    assert!(residuals(&driver).is_empty(), "what stays as it is has none");
    driver.send(Command::Do(Action::Undo));
    assert_eq!((residuals(&driver).len(), plan(&driver).residuals.len()), (1, 1), "undo brings it back");
    driver.send(Command::Do(Action::Unpin));
    assert!(residuals(&driver).is_empty() && plan(&driver).residuals.is_empty(), "what is handed back is solved for, and no such candidate was measured");
}

#[test]
fn nats_stay_nats_with_another_metric_and_what_becomes_a_size_is_told() {
    let (mut driver, _folder) = measured(TextChoice::None);
    let mut table = halftone_core::sensitivity::Table::clone(driver.harness.state().session.table.as_ref().expect("a table"));
    for cell in table.rows.iter_mut().flat_map(|row| &mut row.cells) {
        (cell.predicted_kl, cell.more.fisher_kl) = (Some(cell.weight_error), Some(0.5 * cell.weight_error));
    }
    driver.harness.state_mut().session.set_table(Arc::new(table), 0.0);
    driver.frames(3);
    let (budget, cost) = {
        let plan = driver.harness.state().session.allocation.plan.clone().expect("a plan");
        (Some(Budget::MaxCost(plan.cost)), plan.cost)
    };
    assert_eq!(driver.harness.state().session.cost_metric(), Metric::PredictedKl);
    driver.send(Command::SetBudget(Budget::MaxCost(cost)));
    let (told, bytes) = (driver.messages().len(), driver.harness.state().session.allocation.plan.as_ref().map(|p| p.file_bytes));
    driver.send(Command::SetCostMetric(Metric::Fisher));
    assert_eq!((driver.harness.state().session.allocation.recipe().budget, driver.messages().len()), (budget, told), "as many nats");
    let smaller = driver.harness.state().session.allocation.plan.as_ref().map(|p| p.file_bytes);
    assert!(smaller < bytes, "half the cost of each cell leaves room: {smaller:?} of {bytes:?}");
    driver.send(Command::SetCostMetric(Metric::Weight));
    assert_eq!(driver.harness.state().session.allocation.recipe().budget, smaller.map(Budget::FileBytes), "the size that it came to");
    assert!(driver.messages().last().is_some_and(|m| m.contains("now a size")), "{:?}", driver.messages());
}
