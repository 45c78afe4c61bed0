//! `--refine`: local search by measured KL after the solver.

use super::choice_args::RefineArgs;
use super::session::Session;
use halftone_core::allocate::Problem;
use halftone_core::calibrate::{Calibration, SearchText};
use halftone_core::recipe::Recipe;
use halftone_core::refine::{RefineOptions, Refined, SearchSequences, Start, refine};
use halftone_core::source::Source;
use std::path::Path;

/// Searches, and makes what was found part of the recipe.
pub fn run(
    session: &Session,
    source: &Source,
    calibration: Option<&Calibration>,
    problem: &Problem,
    recipe: &mut Recipe,
    text: &SearchText,
    args: &RefineArgs,
    folder: &Path,
) -> anyhow::Result<Refined> {
    let options =
        RefineOptions { folder: folder.to_owned(), searcher: args.searcher.clone(), time: args.refine, trials: args.refine_trials, seed: session.global.seed };
    let text = SearchSequences::of(source, text)?;
    let found = refine(source, calibration, Start { problem, recipe, text: &text, options: &options }, &session.cx)?;
    found.edit(&options.searcher).apply_to(recipe);
    Ok(found)
}

/// What a search found, in two lines.
pub fn describe(found: &Refined) -> String {
    let ended = if found.cancelled { ", stopped" } else { "" };
    let head = format!(
        "search by measured KL: {:.4} ± {:.4} → {:.4} ± {:.4} on its own text; {} trials, {} better{ended}",
        found.before.mean, found.before.error, found.after.mean, found.after.error, found.trials, found.accepted
    );
    match (found.check, found.reverted) {
        (Some(check), true) => format!("{head}\non text of its own the result differs by {:+.4} ± {:.4}, so the start was given back", check.mean, check.error),
        (Some(check), false) => format!("{head}\non text of its own the result differs by {:+.4} ± {:.4}", check.mean, check.error),
        (None, _) => head,
    }
}
