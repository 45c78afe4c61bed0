//! Local search by measurement: an allocation is changed a little, the KL is measured on the search text, and what is better beyond the
//! error of the measurement stays. Anytime, cancellable, and a kill loses at most one trial.
//!
//! The solver's sum leaves out how errors in different tensors interact; here the finished model itself is measured. Every trial is
//! compared with the best allocation so far *on the same tokens*, so that the error is that of the paired difference, a fraction of the
//! KL's own. Many trials at one standard error let some through by chance, so at the end the result is compared with the start on text
//! of its own, and where it is not better there, the start is given back.
//!
//! Invariants: a result has no more bytes than the start; the hold-out is never read; one tensor is rounded once per format.

mod evolution;
mod journal;
mod moves;
mod oracle;
mod store;
mod swaps;

use crate::allocate::{Plan, Problem};
use crate::calibrate::{Calibration, SearchText, sequences};
use crate::codec::Format;
use crate::error::{Error, Result};
use crate::eval::Runtime;
use crate::job::{JobContext, Stage};
use crate::model::Weights;
use crate::numeric::metric::mean_and_standard_error;
use crate::recipe::{Edit, Recipe};
use crate::residual::Residual;
use crate::source::Source;
use indexmap::IndexMap;
use journal::{Journal, Trial};
use moves::{Change, Mover};
use oracle::Oracle;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use store::{Store, Tensors};

/// Sequences to search on, and as many to check the result on.
const SEQUENCES: usize = 8;
/// Their length, tokens.
const LENGTH: usize = 128;

/// A way to find the next allocation to try.
trait Searcher: Send + Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// What it does, in a line without a full stop.
    fn about(&self) -> &'static str;

    /// The next changes of the best allocation so far, with the KL of every token under them; `None` when there is nothing left to try.
    fn next(&self, search: &mut Search<'_>, rng: &mut ChaCha8Rng) -> Result<Option<Step>>;
}

/// The searchers by name, and what they do.
const SEARCHERS: &[&dyn Searcher] = &[&swaps::Swaps, &evolution::Evolution];

/// Names of the searchers with what they do; the first is the default.
pub fn searchers() -> impl Iterator<Item = (&'static str, &'static str)> {
    SEARCHERS.iter().map(|s| (s.name(), s.about()))
}

/// How long to search, and where the work is kept.
#[derive(Clone, Debug)]
pub struct RefineOptions {
    /// Rounded tensors, for all searches in it, and a journal for each; a search that is run again goes on.
    pub folder: PathBuf,
    /// Which searcher.
    pub searcher: String,
    /// Time for trials, after the start was made.
    pub time: Option<Duration>,
    /// Trials in all, earlier ones in the folder included.
    pub trials: Option<usize>,
    /// Decides what is tried.
    pub seed: u64,
}

/// A mean KL and its standard error, nats per token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kl {
    /// The mean.
    pub mean: f64,
    /// Its standard error; of a difference, that of the paired difference.
    pub error: f64,
}

impl Kl {
    fn of(tokens: &[f64]) -> Self {
        let (mean, error) = mean_and_standard_error(tokens);
        Self { mean, error }
    }

    /// How much more the first tokens' KL is than the others', token by token.
    fn difference(after: &[f64], before: &[f64]) -> Self {
        let differences: Vec<f64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
        Self::of(&differences)
    }

    /// Whether a difference is an improvement beyond its own error.
    fn improves(self) -> bool {
        self.mean < -self.error && self.mean < 0.0
    }
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refined {
    /// Formats of every quantized tensor.
    pub formats: IndexMap<String, Format>,
    /// What is kept of the rounding error of some of them.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub residuals: IndexMap<String, Residual>,
    /// KL of the start on the search text.
    pub before: Kl,
    /// KL of the best on the search text: chosen on it, and so a little too low.
    pub after: Kl,
    /// Best minus start on text that was not searched on; absent when nothing changed, or the search was cancelled.
    pub check: Option<Kl>,
    /// The start was given back, because the check did not bear the search out.
    pub reverted: bool,
    /// Trials in all.
    pub trials: usize,
    /// Those that were better.
    pub accepted: usize,
    /// Stopped by the user; the best so far is here.
    pub cancelled: bool,
}

impl Refined {
    /// The edit that makes what was found part of a recipe.
    pub fn edit(&self, searcher: &str) -> Edit {
        Edit::Searched { formats: self.formats.clone(), residuals: self.residuals.clone(), searcher: searcher.to_owned() }
    }
}

/// The text that a search reads: to search on, and to check on.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchSequences {
    search: Vec<Vec<u32>>,
    check: Vec<Vec<u32>>,
}

impl SearchSequences {
    /// From a text that is not the hold-out. With too little text for both, half of it is for the check.
    ///
    /// # Errors
    /// `Unsupported` without a tokenizer, `Input` for less text than two sequences.
    pub fn of(source: &Source, text: &SearchText) -> Result<Self> {
        let mut search = sequences(&*source.tokenizer()?, text.as_str(), LENGTH, Some(2 * SEQUENCES))?;
        if search.len() < 2 {
            return Err(Error::Input(format!("the search needs at least {} tokens of text, half of them to check the result on", 2 * LENGTH)));
        }
        let check = search.split_off(search.len() / 2);
        Ok(Self { search, check })
    }
}

/// Where a search begins and what it goes by.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The candidates, and what each is predicted to cost.
    pub problem: &'a Problem,
    /// One of its allocations.
    pub recipe: &'a Recipe,
    /// What KL is measured on.
    pub text: &'a SearchSequences,
    /// How long, and where the work is kept.
    pub options: &'a RefineOptions,
}

/// Improves the recipe of a problem by measured KL.
///
/// # Errors
/// `Unsupported` for a model that cannot run, or a searcher that is none; `Mismatch` for a recipe that is not one of the problem's
/// allocations; `Cancelled` before the start was measured.
pub fn refine(source: &Source, calibration: Option<&Calibration>, from: Start<'_>, cx: &JobContext) -> Result<Refined> {
    let store = Store::new(source, calibration, &from.recipe.rounding, &from.options.folder, cx)?;
    refine_in(source, &store, calibration.map(Calibration::hash).as_deref(), from, cx)
}

/// As [`refine`], of any weights and any way to round them.
fn refine_in(original: &dyn Weights, tensors: &dyn Tensors, calibration: Option<&str>, from: Start<'_>, cx: &JobContext) -> Result<Refined> {
    let Start { problem, recipe, text, options } = from;
    let searcher = SEARCHERS.iter().copied().find(|s| s.name() == options.searcher).ok_or_else(|| {
        let known: Vec<&str> = searchers().map(|(name, _)| name).collect();
        Error::unsupported(format!("the search {}", options.searcher), format!("known are {}", known.join(", ")))
    })?;
    original.config().predicts_tokens()?;
    let start = picks_of(problem, recipe)?;
    let (mut journal, earlier) = Journal::open(&options.folder, &journal::key(from, calibration))?;
    let runtime = Runtime::from(recipe.target);
    let mut search = Search {
        mover: Mover::new(problem, problem.file_bytes(&start)),
        oracle: Oracle::new(original, tensors, runtime, problem, start.clone(), &text.search, cx)?,
    };
    let before = Kl::of(search.oracle.tokens());
    let mut accepted = 0;
    for trial in &earlier {
        let changes = trial.changes(problem)?;
        search.mover.tried(&changes);
        if trial.accepted {
            search.oracle.adopt(&changes)?;
            accepted += 1;
        }
    }
    if accepted > 0 {
        search.oracle.measure_again()?;
    }
    let (mut trials, began) = (earlier.len(), Instant::now());
    let (mut cancelled, mut after) = (false, Kl::of(search.oracle.tokens()));
    while options.trials.is_none_or(|most| trials < most) && options.time.is_none_or(|time| began.elapsed() < time) {
        report(options, trials, earlier.len(), began, cx);
        // The number of the trial seeds it, so that a search that goes on tries what an uninterrupted one tries.
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(trials as u64));
        let step = match searcher.next(&mut search, &mut rng) {
            Err(Error::Cancelled) => {
                cancelled = true;
                break;
            }
            other => other?,
        };
        let Some(step) = step else { break };
        let difference = step.difference(&search);
        let better = step.tokens.len() == search.oracle.tokens().len() && difference.improves();
        journal.append(&Trial::new(problem, &step.changes, difference, better))?;
        search.mover.tried(&step.changes);
        trials += 1;
        if better {
            search.oracle.adopt(&step.changes)?;
            accepted += 1;
            after = Kl::of(&step.tokens);
            if let Err(error) = search.oracle.measure_again() {
                cancelled = matches!(error, Error::Cancelled);
                if cancelled {
                    break;
                }
                return Err(error);
            }
        }
    }
    let Plan { formats, residuals, .. } = plan_of(problem, search.oracle.picks());
    let mut found = Refined { formats, residuals, before, after, check: None, reverted: false, trials, accepted, cancelled };
    if accepted > 0 && !cancelled {
        let changes: Vec<Change> = changes_between(&start, search.oracle.picks());
        let check = Oracle::new(original, tensors, runtime, problem, start.clone(), &text.check, cx)?;
        let difference = Kl::difference(&check.measure(&changes, text.check.len())?, check.tokens());
        found.check = Some(difference);
        // NaN is no improvement.
        found.reverted = !matches!(difference.mean.partial_cmp(&0.0), Some(std::cmp::Ordering::Less));
        if found.reverted {
            Plan { formats: found.formats, residuals: found.residuals, .. } = plan_of(problem, &start);
        }
    }
    Ok(found)
}

fn report(options: &RefineOptions, trials: usize, earlier: usize, began: Instant, cx: &JobContext) {
    let by_time = options.time.map(|time| {
        let done = began.elapsed().as_secs_f64() / time.as_secs_f64().max(1e-9);
        earlier + ((trials - earlier) as f64 / done.max(1e-3)).round() as usize
    });
    let total = [options.trials, by_time].into_iter().flatten().min().unwrap_or(trials + 1).max(trials + 1);
    cx.progress(Stage::Search, trials as u64, total as u64);
}

/// What a searcher works with.
struct Search<'a> {
    mover: Mover<'a>,
    oracle: Oracle<'a>,
}

impl Search<'_> {
    /// A change of the best allocation so far that was not tried yet.
    fn propose(&self, rng: &mut ChaCha8Rng) -> Option<Vec<Change>> {
        self.mover.propose(self.oracle.picks(), rng)
    }

    /// The KL of the first sequences' tokens under some changes.
    fn measure(&self, changes: &[Change], sequences: usize) -> Result<Vec<f64>> {
        self.oracle.measure(changes, sequences)
    }
}

/// An allocation that was tried.
struct Step {
    changes: Vec<Change>,
    /// KL of each token of the sequences that it was measured on; fewer than all when it was given up.
    tokens: Vec<f64>,
}

impl Step {
    fn difference(&self, search: &Search<'_>) -> Kl {
        Kl::difference(&self.tokens, search.oracle.tokens())
    }
}

/// The picks of a recipe; tensors that stay are those it does not name.
fn picks_of(problem: &Problem, recipe: &Recipe) -> Result<Vec<usize>> {
    let mut picks = Vec::with_capacity(problem.groups.len());
    for group in &problem.groups {
        let tensor = &group.tensors[0];
        let candidate = recipe.candidate(tensor);
        let place = if group.choices.len() == 1 { Some(0) } else { group.choices.iter().position(|c| Some(c.candidate()) == candidate) };
        picks.push(place.ok_or_else(|| Error::Mismatch {
            operation: "refine",
            expected: format!("a recipe of this problem, with one of its candidates for {tensor}"),
            got: candidate.map_or_else(|| "none".to_owned(), |candidate| candidate.to_string()),
        })?);
    }
    Ok(picks)
}

fn plan_of(problem: &Problem, picks: &[usize]) -> Plan {
    Plan::new("refined", problem, picks, None)
}

fn changes_between(from: &[usize], to: &[usize]) -> Vec<Change> {
    (0..from.len()).filter(|&group| from[group] != to[group]).map(|group| Change { group, to: to[group] }).collect()
}

#[cfg(test)]
mod tests;
