//! The search on a small random llama, whose tensors are rounded in memory.

use super::*;
use crate::allocate::{Choice, Group};
use crate::model::random::RandomLlama;
use crate::model::{Transformer, logits_of};
use crate::numeric::metric::kl_divergence;
use crate::residual::Candidate;
use crate::source::RopeLayout;
use std::sync::Arc;
use store::Rounded;

const FORMATS: [&str; 3] = ["INT2-g8", "INT4-g8", "INT8-g8"];

struct InMemory(Format, Vec<u8>);

impl Rounded for InMemory {
    fn stored(&self) -> Candidate {
        self.0.into()
    }

    fn bytes(&self) -> &[u8] {
        &self.1
    }
}

impl Tensors for RandomLlama {
    fn get(&self, tensor: &str, candidate: Candidate) -> Result<Arc<dyn Rounded>> {
        let format = candidate.format;
        let (values, shape) = &self.tensors[tensor];
        let bytes = format.encode(values, shape[shape.len() - 1], None)?;
        Ok(Arc::new(InMemory(format, bytes)))
    }
}

/// All matrices with rows of whole groups; costs that say the opposite of the truth for one block, so that a search has something to find.
fn problem(model: &RandomLlama) -> Problem {
    let matrices = model.tensors.iter().filter(|(_, (_, shape))| shape.len() == 2 && shape[1] % 8 == 0);
    let groups = matrices.map(|(name, (values, shape))| {
        let misleading = if name.contains("blk.0") { 1e-6 } else { 1.0 };
        let choices = FORMATS.iter().enumerate().map(|(i, f)| {
            let format: Format = f.parse().unwrap();
            Choice { format, residual: None, bytes: format.tensor_bytes(shape[0], shape[1]), cost: misleading * 0.05f64.powi(i as i32) }
        });
        Group { choices: choices.collect(), ..Group::new(vec![name.clone()], values.len() as u64) }
    });
    Problem { groups: groups.collect(), fixed_bytes: 0, weights: 1 }
}

fn recipe(problem: &Problem, picks: &[usize]) -> Recipe {
    Recipe { tensors: plan_of(problem, picks).formats, target: crate::allocate::Target::Vllm, ..Recipe::default() }
}

fn text(model: &RandomLlama) -> SearchSequences {
    let mut search = model.sequences(&[40, 30, 50, 40, 30, 45]);
    let check = search.split_off(3);
    SearchSequences { search, check }
}

/// A search of a small model with its tensors in memory.
fn run(model: &RandomLlama, problem: &Problem, recipe: &Recipe, options: &RefineOptions, cx: &JobContext) -> Result<Refined> {
    refine_in(model, model, None, Start { problem, recipe, text: &text(model), options }, cx)
}

fn options(folder: &std::path::Path, searcher: &str, trials: usize) -> RefineOptions {
    RefineOptions { folder: folder.to_owned(), searcher: searcher.to_owned(), time: None, trials: Some(trials), seed: 5 }
}

/// KL of every token by whole passes of both models.
fn whole_pass(model: &RandomLlama, problem: &Problem, picks: &[usize], sequences: &[Vec<u32>]) -> Vec<f64> {
    let mut other = model.clone();
    for (group, &pick) in problem.groups.iter().zip(picks) {
        let format = group.choices[pick].format;
        let rounded = model.get(&group.tensors[0], format.into()).unwrap();
        format.decode(rounded.bytes(), &mut other.tensors[&group.tensors[0]].0);
    }
    let logits = |weights: &RandomLlama| -> Vec<Vec<f32>> {
        let transformer = Transformer::new(weights).unwrap();
        let head = transformer.head().unwrap();
        let hidden = transformer.hidden(sequences, None, &JobContext::silent()).unwrap();
        hidden.iter().flat_map(|h| logits_of(h, &head).unwrap().to_vec2::<f32>().unwrap()).collect()
    };
    logits(model).iter().zip(&logits(&other)).map(|(p, q)| kl_divergence(p, q)).collect()
}

#[test]
fn a_partial_pass_measures_what_a_whole_pass_measures() {
    for tied in [true, false] {
        let model = RandomLlama::new(3, RopeLayout::Half, tied);
        let (problem, text, cx) = (problem(&model), text(&model), JobContext::silent());
        let start = vec![1; problem.groups.len()];
        let mut oracle = Oracle::new(&model, &model, Runtime::Exact, &problem, start.clone(), &text.search, &cx).unwrap();
        let close = |got: &[f64], want: &[f64]| got.len() == want.len() && got.iter().zip(want).all(|(a, b)| (a - b).abs() <= 1e-4 * b.max(1e-3));
        assert!(close(oracle.tokens(), &whole_pass(&model, &problem, &start, &text.search)));
        let last = problem.groups.len() - 1;
        for changes in [vec![(0, 0)], vec![(3, 2)], vec![(2, 0), (last, 2)], vec![(last, 0)]] {
            let changes: Vec<Change> = changes.into_iter().map(|(group, to)| Change { group, to }).collect();
            let mut picks = start.clone();
            changes.iter().for_each(|c| picks[c.group] = c.to);
            let want = whole_pass(&model, &problem, &picks, &text.search);
            let got = oracle.measure(&changes, text.search.len()).unwrap();
            assert!(close(&got, &want), "{changes:?}, tied {tied}: {got:?} instead of {want:?}");
            assert!(!close(oracle.tokens(), &want), "the change is seen");
            assert!(close(&oracle.measure(&changes, 1).unwrap(), &want[..40]), "the first sequence alone");
        }
        oracle.adopt(&[Change { group: 1, to: 2 }]).unwrap();
        oracle.measure_again().unwrap();
        let mut picks = start.clone();
        picks[1] = 2;
        assert!(close(oracle.tokens(), &whole_pass(&model, &problem, &picks, &text.search)), "after a change was adopted");
    }
}

#[test]
fn a_search_lowers_the_measured_kl_within_the_bytes() {
    for searcher in ["swaps", "evolution"] {
        let model = RandomLlama::new(4, RopeLayout::Half, false);
        let (problem, text, folder) = (problem(&model), text(&model), tempfile::tempdir().unwrap());
        // The costs made block 0 small and all else large.
        let budget = problem.groups.iter().map(|g| g.choices[1].bytes).sum();
        let start = crate::allocate::solve(&problem, budget).unwrap();
        let recipe = recipe(&problem, &start.picks);
        let found = run(&model, &problem, &recipe, &options(folder.path(), searcher, 40), &JobContext::silent()).unwrap();
        assert!(found.accepted > 0 && found.after.mean < found.before.mean, "{searcher}: {found:?}");
        let after = Recipe { tensors: found.formats.clone(), ..recipe.clone() };
        let picks = picks_of(&problem, &after).unwrap();
        assert!(problem.file_bytes(&picks) <= problem.file_bytes(&start.picks), "{searcher}: no more bytes than before");
        if !found.reverted {
            let mean = |picks: &[usize]| Kl::of(&whole_pass(&model, &problem, picks, &text.check)).mean;
            let (before, after) = (mean(&start.picks), mean(&picks));
            assert!(after < before, "{searcher}: {after} is not below {before} on other text");
            assert!((found.check.unwrap().mean - (after - before)).abs() < 1e-4 * before, "{searcher}: the check is what it says");
        }
    }
}

#[test]
fn a_search_that_was_cut_off_goes_on_as_if_it_had_not_been() {
    let model = RandomLlama::new(4, RopeLayout::Half, true);
    let problem = problem(&model);
    let start = crate::allocate::solve(&problem, problem.groups.iter().map(|g| g.choices[1].bytes).sum()).unwrap();
    let recipe = recipe(&problem, &start.picks);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let search = |folder: &std::path::Path, trials| run(&model, &problem, &recipe, &options(folder, "swaps", trials), &JobContext::silent());
    let whole = search(folders[0].path(), 30).unwrap();
    search(folders[1].path(), 12).unwrap();
    let journal = journals(folders[1].path()).swap_remove(0);
    // A kill in the middle of a line.
    let mut cut = std::fs::read(&journal).unwrap();
    cut.truncate(cut.len() - 7);
    std::fs::write(&journal, cut).unwrap();
    let resumed = search(folders[1].path(), 30).unwrap();
    assert_eq!((resumed.trials, resumed.accepted, &resumed.formats), (whole.trials, whole.accepted, &whole.formats));
    assert_eq!(std::fs::read_to_string(&journal).unwrap().lines().count(), 30, "thirty trials");
}

fn journals(folder: &std::path::Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect()
}

#[test]
fn a_pin_or_another_runtime_is_another_search_that_leaves_the_first_to_go_on() {
    let model = RandomLlama::new(4, RopeLayout::Half, true);
    let problem = problem(&model);
    let start = crate::allocate::solve(&problem, problem.groups.iter().map(|g| g.choices[1].bytes).sum()).unwrap();
    let (recipe, folder) = (recipe(&problem, &start.picks), tempfile::tempdir().unwrap());
    let search = |problem: &Problem, recipe: &Recipe, trials| run(&model, problem, recipe, &options(folder.path(), "swaps", trials), &JobContext::silent());
    let first = search(&problem, &recipe, 20).unwrap();
    let text = std::fs::read_to_string(&journals(folder.path())[0]).unwrap();
    // A pin changes no format, so the recipe has the same hash.
    for group in 0..problem.groups.len() {
        let mut pinned = problem.clone();
        pinned.groups[group].choices = vec![problem.groups[group].choices[start.picks[group]]];
        let found = search(&pinned, &recipe, 2).unwrap_or_else(|error| panic!("{}: {error}", problem.groups[group].tensors[0]));
        assert_eq!(found.trials, 2, "its own trials");
        assert_eq!(found.formats[&problem.groups[group].tensors[0]], recipe.tensors[&problem.groups[group].tensors[0]], "the pin holds");
    }
    let elsewhere = Recipe { target: crate::allocate::Target::LlamaCpp, ..recipe.clone() };
    assert_eq!((elsewhere.hash(), search(&problem, &elsewhere, 2).unwrap().trials), (recipe.hash(), 2), "trials in other arithmetic are not kept");
    assert!(journals(folder.path()).iter().any(|path| std::fs::read_to_string(path).unwrap() == text), "the first is as it was");
    assert_eq!((search(&problem, &recipe, 25).unwrap().trials, first.trials), (25, 20), "and goes on");
    assert_eq!(journals(folder.path()).len(), problem.groups.len() + 2);
}

#[test]
fn a_cancelled_search_gives_the_best_so_far() {
    let model = RandomLlama::new(4, RopeLayout::Half, true);
    let (problem, folder) = (problem(&model), tempfile::tempdir().unwrap());
    let start = crate::allocate::solve(&problem, problem.groups.iter().map(|g| g.choices[1].bytes).sum()).unwrap();
    let token = crate::job::CancelToken::default();
    let cancel = token.clone();
    let mut cx = JobContext::new(crate::compute::DeviceChoice::Cpu, move |event| {
        if let crate::job::JobEvent::Progress(progress) = event
            && progress.stage == Stage::Search
            && progress.done == 15
        {
            cancel.cancel();
        }
    });
    cx.cancel = token;
    let found = run(&model, &problem, &recipe(&problem, &start.picks), &options(folder.path(), "swaps", 1000), &cx).unwrap();
    assert!(found.cancelled && found.trials == 15 && found.check.is_none(), "{found:?}");
    assert!(found.accepted > 0 && found.after.mean < found.before.mean, "{found:?}");
}
