//! Edits and their history: every edit knows its inverse; a drag is one step.

use super::Recipe;
use crate::allocate::{Budget, Target};
use crate::codec::Format;
use indexmap::IndexMap;

/// One change of a recipe.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Gives tensors a format by hand, which pins them.
    Paint {
        /// Canonical names.
        tensors: Vec<String>,
        /// The format.
        format: Format,
    },
    /// Pins tensors at their present format.
    Pin(Vec<String>),
    /// Hands tensors back to the solver.
    Unpin(Vec<String>),
    /// Another budget.
    SetBudget(Budget),
    /// Another runtime.
    SetTarget(Target),
    /// Another rounder.
    SetRounding(String),
    /// The solver's answer: formats of the tensors that are not pinned. Belongs to the step before it.
    Solved(IndexMap<String, Format>),
}

/// A recipe with its past and future.
#[derive(Clone, Debug, Default)]
pub struct History {
    recipe: Recipe,
}

impl History {
    /// A fresh history.
    pub fn new(recipe: Recipe) -> Self {
        Self { recipe }
    }

    /// The recipe as it is now.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Applies an edit. Between [`Self::begin`] and [`Self::end`] all edits make one step; an edit that changes nothing makes none;
    /// `Solved` joins the step before it.
    pub fn apply(&mut self, edit: Edit) {
        let _ = edit;
        todo!("recipe room")
    }

    /// Opens a step that stays open (a drag).
    pub fn begin(&mut self) {
        todo!("recipe room")
    }

    /// Closes it.
    pub fn end(&mut self) {
        todo!("recipe room")
    }

    /// Takes the last step back; false when there is none.
    pub fn undo(&mut self) -> bool {
        todo!("recipe room")
    }

    /// Does the undone step again; false when there is none.
    pub fn redo(&mut self) -> bool {
        todo!("recipe room")
    }

    /// Whether there is a step to take back, and one to do again.
    pub fn can(&self) -> (bool, bool) {
        todo!("recipe room")
    }
}
