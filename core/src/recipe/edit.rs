//! The edits a user can make of a recipe.

use super::Recipe;
use crate::allocate::{Budget, Limits, Target};
use crate::codec::Format;
use crate::residual::{Candidate, Residual};
use indexmap::IndexMap;

/// One change of a recipe.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Says by hand what tensors are stored as, which pins them.
    Paint {
        /// Canonical names.
        tensors: Vec<String>,
        /// Format and residual.
        stored: Candidate,
    },
    /// Pins tensors at their present format.
    Pin(Vec<String>),
    /// Hands tensors back to the solver: neither pinned nor excluded nor limited.
    Unpin(Vec<String>),
    /// Leaves tensors as they are in the source.
    Exclude(Vec<String>),
    /// Limits the bits of tensors; without a bound the limits go.
    Limit {
        /// Canonical names.
        tensors: Vec<String>,
        /// Fewest and most bits.
        limits: Limits,
    },
    /// Another budget.
    SetBudget(Budget),
    /// Another runtime.
    SetTarget(Target),
    /// Another rounder.
    SetRounding(String),
    /// The solver's answer: what the tensors that are not pinned are stored as. Belongs to the step before it.
    Solved(IndexMap<String, Candidate>),
    /// What a search that goes on after the solver found. A step of its own.
    Searched {
        /// The format of every tensor that is quantized.
        formats: IndexMap<String, Format>,
        /// What is kept of the rounding error of some of them.
        residuals: IndexMap<String, Residual>,
        /// The searcher's name.
        searcher: String,
    },
}

impl Edit {
    /// Makes the change. Names without a format in the recipe cannot be pinned and are passed over.
    pub fn apply_to(self, recipe: &mut Recipe) {
        match self {
            Self::Paint { tensors, stored } => {
                for name in tensors {
                    recipe.excluded.shift_remove(&name);
                    recipe.pins.insert(name.clone(), stored.format);
                    store(recipe, name, stored);
                }
            }
            Self::Pin(names) => {
                for name in names {
                    if let Some(&format) = recipe.tensors.get(&name) {
                        recipe.pins.insert(name, format);
                    }
                }
            }
            Self::Unpin(names) => {
                recipe.pins.retain(|name, _| !names.contains(name));
                recipe.excluded.retain(|name| !names.contains(name));
                recipe.limits.retain(|name, _| !names.contains(name));
            }
            Self::Exclude(names) => {
                for name in names {
                    recipe.tensors.shift_remove(&name);
                    recipe.residuals.shift_remove(&name);
                    recipe.pins.shift_remove(&name);
                    recipe.excluded.insert(name);
                }
            }
            Self::Limit { tensors, limits } => {
                for name in tensors {
                    if limits == Limits::default() {
                        recipe.limits.shift_remove(&name);
                    } else {
                        recipe.limits.insert(name, limits);
                    }
                }
            }
            Self::SetBudget(budget) => recipe.budget = Some(budget),
            Self::SetTarget(target) => recipe.target = target,
            Self::SetRounding(name) => recipe.rounding = name,
            Self::Solved(answer) => {
                // What became excluded together with others is no longer in the answer.
                recipe.tensors.retain(|name, _| answer.contains_key(name) || recipe.pins.contains_key(name) && !recipe.excluded.contains(name));
                recipe.residuals.retain(|name, _| recipe.tensors.contains_key(name));
                // What a search found is no longer in it.
                let solver = recipe.solver.split('+').next().unwrap_or_default().len();
                recipe.solver.truncate(solver);
                for (name, stored) in answer {
                    match recipe.pins.get(&name) {
                        Some(pin) => _ = recipe.tensors.insert(name, *pin),
                        None => store(recipe, name, stored),
                    }
                }
            }
            Self::Searched { formats, residuals, searcher } => {
                if (&formats, &residuals) != (&recipe.tensors, &recipe.residuals) {
                    (recipe.tensors, recipe.residuals) = (formats, residuals);
                    recipe.solver = if recipe.solver.is_empty() { searcher } else { format!("{}+{searcher}", recipe.solver) };
                }
            }
        }
    }
}

/// A tensor is stored so, with what is kept of its rounding error or without.
fn store(recipe: &mut Recipe, name: String, stored: Candidate) {
    match stored.residual {
        Some(residual) => _ = recipe.residuals.insert(name.clone(), residual),
        None => _ = recipe.residuals.shift_remove(&name),
    }
    recipe.tensors.insert(name, stored.format);
}
