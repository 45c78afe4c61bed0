//! Undo and redo. A step is the recipe as it was before it: a few kilobytes to a hundred, so that taking back is exact by construction.
//!
//! Invariants: a drag is one step; an edit that changes nothing makes no step; undoing every step gives the first recipe (while no more
//! than [`STEPS`] were made). Absent on purpose: selection, zoom, open panes — looking is not editing.

use super::{Edit, Recipe};
use std::collections::VecDeque;

/// Steps that are kept; older ones are forgotten.
pub const STEPS: usize = 200;

/// A recipe with its past and future.
#[derive(Clone, Debug, Default)]
pub struct History {
    recipe: Recipe,
    /// The recipe before each step, oldest first.
    past: VecDeque<Recipe>,
    /// What undo took back, the next to redo last.
    future: Vec<Recipe>,
    /// The recipe at [`Self::begin`].
    open: Option<Recipe>,
}

impl History {
    /// A fresh history.
    pub fn new(recipe: Recipe) -> Self {
        Self { recipe, ..Self::default() }
    }

    /// The recipe as it is now.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Applies an edit. Between [`Self::begin`] and [`Self::end`] all edits make one step; an edit that changes nothing makes none;
    /// `Solved` joins the step before it (and is a step of its own only when there is none).
    pub fn apply(&mut self, edit: Edit) {
        let joins = matches!(edit, Edit::Solved(_)) && !self.past.is_empty();
        let before = self.recipe.clone();
        edit.apply_to(&mut self.recipe);
        if self.recipe == before {
            return;
        }
        self.future.clear();
        if self.open.is_none() && !joins {
            self.push(before);
        }
    }

    /// Opens a step that stays open (a drag). Inside an open step it does nothing.
    pub fn begin(&mut self) {
        if self.open.is_none() {
            self.open = Some(self.recipe.clone());
        }
    }

    /// Closes it. Without an open step it does nothing.
    pub fn end(&mut self) {
        if let Some(before) = self.open.take().filter(|before| *before != self.recipe) {
            self.push(before);
        }
    }

    /// Takes the last step back, closing an open one first; false when there is none.
    pub fn undo(&mut self) -> bool {
        self.end();
        let Some(before) = self.past.pop_back() else { return false };
        self.future.push(std::mem::replace(&mut self.recipe, before));
        true
    }

    /// Does the undone step again; false when there is none.
    pub fn redo(&mut self) -> bool {
        self.end();
        let Some(after) = self.future.pop() else { return false };
        self.past.push_back(std::mem::replace(&mut self.recipe, after));
        true
    }

    /// Whether there is a step to take back, and one to do again.
    pub fn can(&self) -> (bool, bool) {
        let open_changed = self.open.as_ref().is_some_and(|before| *before != self.recipe);
        (!self.past.is_empty() || open_changed, !self.future.is_empty())
    }

    fn push(&mut self, before: Recipe) {
        if self.past.len() == STEPS {
            self.past.pop_front();
        }
        self.past.push_back(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocate::{Budget, Limits, Target};
    use crate::codec::{Format, GgmlType};
    use crate::residual::Candidate;
    use proptest::prelude::*;

    const Q4: Format = Format::Ggml(GgmlType::Q4_0);
    const Q8: Format = Format::Ggml(GgmlType::Q8_0);

    fn start() -> Recipe {
        Recipe { tensors: ["a", "b", "c"].map(|n| (n.to_owned(), Q4)).into(), ..Recipe::default() }
    }

    fn paint(name: &str, format: Format) -> Edit {
        Edit::Paint { tensors: vec![name.to_owned()], stored: format.into() }
    }

    #[test]
    fn a_drag_is_one_undo_step() {
        let mut history = History::new(start());
        history.begin();
        for step in 1..50 {
            history.apply(Edit::SetBudget(Budget::FileBytes(step)));
            history.apply(Edit::Solved([("a".to_owned(), (if step % 2 == 0 { Q4 } else { Q8 }).into())].into()));
        }
        assert_eq!(history.can(), (true, false), "an open drag can be taken back");
        history.end();
        assert!(history.undo());
        assert_eq!(*history.recipe(), start());
        assert!(!history.undo(), "there was one step only");
    }

    #[test]
    fn undo_then_redo_restores_the_recipe() {
        let mut history = History::new(start());
        history.apply(paint("a", Q8));
        history.apply(Edit::SetTarget(Target::Vllm));
        let after = history.recipe().clone();
        assert!(history.undo() && history.undo());
        assert!(history.redo() && history.redo());
        assert_eq!(*history.recipe(), after);
        assert_eq!(history.can(), (true, false));
    }

    #[test]
    fn an_edit_that_changes_nothing_makes_no_step_and_keeps_the_future() {
        let mut history = History::new(start());
        history.apply(paint("a", Q8));
        history.undo();
        history.apply(Edit::SetTarget(Target::LlamaCpp));
        history.begin();
        history.end();
        assert_eq!(history.can(), (false, true));
        history.apply(paint("b", Q8));
        assert_eq!(history.can(), (true, false), "a new edit clears the future");
    }

    #[test]
    fn a_painted_tensor_is_pinned_and_the_solver_leaves_it_until_it_is_handed_back() {
        let solved = || Edit::Solved(["a", "b"].map(|name| (name.to_owned(), Format::F16.into())).into());
        let mut history = History::new(start());
        history.apply(paint("a", Q8));
        history.apply(solved());
        assert_eq!((history.recipe().tensors["a"], history.recipe().tensors["b"]), (Q8, Format::F16));
        history.apply(Edit::Unpin(vec!["a".to_owned()]));
        history.apply(solved());
        assert_eq!(history.recipe().tensors["a"], Format::F16);
        assert!(history.recipe().pins.is_empty());
        assert!(history.undo());
        assert_eq!(history.recipe().tensors["a"], Q8, "the solver's answer went with the step before it");
        assert!(history.undo());
        assert_eq!(*history.recipe(), start());
    }

    #[test]
    fn what_a_search_found_is_a_step_of_its_own_and_solving_again_forgets_the_search() {
        let mut history = History::new(Recipe { solver: "exact".into(), ..start() });
        history.apply(paint("a", Q8));
        let found: indexmap::IndexMap<_, _> = [("a".to_owned(), Q8), ("b".to_owned(), Q8), ("c".to_owned(), Q4)].into();
        history.apply(Edit::Searched { formats: found.clone(), residuals: indexmap::IndexMap::new(), searcher: "swaps".into() });
        assert_eq!((&history.recipe().tensors, history.recipe().solver.as_str()), (&found, "exact+swaps"));
        assert!(history.undo());
        assert_eq!((history.recipe().tensors["b"], history.recipe().tensors["a"]), (Q4, Q8), "the search alone is taken back");
        assert!(history.redo());
        history.apply(Edit::Searched { formats: found.clone(), residuals: indexmap::IndexMap::new(), searcher: "swaps".into() });
        assert_eq!(history.recipe().solver, "exact+swaps", "finding the start again is no edit");
        history.apply(Edit::Solved(found.into_iter().map(|(name, format)| (name, format.into())).collect()));
        assert_eq!(history.recipe().solver, "exact");
    }

    #[test]
    fn a_residual_goes_with_what_it_belongs_to() {
        let kept: Candidate = "Q4_0+r4".parse().unwrap();
        let solved = |stored: Candidate| Edit::Solved(["a", "b"].map(|name| (name.to_owned(), stored)).into());
        let mut history = History::new(start());
        history.apply(Edit::Paint { tensors: vec!["a".to_owned()], stored: kept });
        history.apply(solved(Q8.into()));
        assert_eq!(["a", "b"].map(|name| history.recipe().candidate(name)), [Some(kept), Some(Q8.into())], "a pin is left alone");
        assert_eq!(history.recipe().rules().residuals.len(), 1, "and is a rule");
        history.apply(Edit::Unpin(vec!["a".to_owned()]));
        history.apply(solved(Q8.into()));
        assert_eq!(history.recipe().candidate("a"), Some(Q8.into()), "the solver's answer has none");
        history.apply(solved(kept));
        assert_eq!(history.recipe().candidate("b"), Some(kept), "and this one has");
        history.apply(Edit::Exclude(vec!["b".to_owned()]));
        history.apply(paint("a", Q8));
        assert!(history.recipe().residuals.is_empty(), "neither an excluded tensor nor a repainted one keeps it: {:?}", history.recipe());
    }

    #[test]
    fn pinning_keeps_the_present_format_and_ignores_unknown_names() {
        let mut history = History::new(start());
        history.apply(Edit::Pin(vec!["c".to_owned(), "nowhere".to_owned()]));
        assert_eq!(history.recipe().pins, [("c".to_owned(), Q4)].into_iter().collect::<indexmap::IndexMap<_, _>>());
    }

    #[test]
    fn only_the_newest_steps_are_kept() {
        let mut history = History::new(start());
        for n in 0..STEPS as u64 + 50 {
            history.apply(Edit::SetBudget(Budget::FileBytes(n)));
        }
        let mut undone = 0;
        while history.undo() {
            undone += 1;
        }
        assert_eq!(undone, STEPS);
        assert_eq!(history.recipe().budget, Some(Budget::FileBytes(49)));
    }

    #[derive(Clone, Debug)]
    enum Action {
        Apply(Edit),
        Begin,
        End,
        Undo,
        Redo,
    }

    fn action() -> impl Strategy<Value = Action> {
        let names = || proptest::sample::subsequence(vec!["a".to_owned(), "b".to_owned(), "c".to_owned(), "d".to_owned()], 0..4);
        let stored = || proptest::sample::select(vec!["Q4_0", "Q8_0", "F16", "Q4_0+r4"]).prop_map(|text| text.parse().unwrap());
        let edit = prop_oneof![
            (names(), stored()).prop_map(|(tensors, stored)| Edit::Paint { tensors, stored }),
            names().prop_map(Edit::Pin),
            names().prop_map(Edit::Unpin),
            names().prop_map(Edit::Exclude),
            names().prop_map(|tensors| Edit::Limit { tensors, limits: Limits { min: Some(4.0), max: None } }),
            (1u64..4).prop_map(|n| Edit::SetBudget(Budget::FileBytes(n))),
            proptest::sample::select(vec![Target::LlamaCpp, Target::Vllm]).prop_map(Edit::SetTarget),
            proptest::sample::select(vec!["nearest".to_owned(), "gptq".to_owned()]).prop_map(Edit::SetRounding),
            (names(), stored()).prop_map(|(names, stored)| Edit::Solved(names.into_iter().map(|n| (n, stored)).collect())),
        ];
        prop_oneof![8 => edit.prop_map(Action::Apply), 1 => Just(Action::Begin), 1 => Just(Action::End), 1 => Just(Action::Undo), 1 => Just(Action::Redo)]
    }

    proptest! {
        #[test]
        fn undoing_everything_gives_the_first_recipe_and_redoing_everything_the_last(actions in proptest::collection::vec(action(), 0..60)) {
            let mut history = History::new(start());
            for action in actions {
                match action {
                    Action::Apply(edit) => history.apply(edit),
                    Action::Begin => history.begin(),
                    Action::End => history.end(),
                    Action::Undo => { history.undo(); }
                    Action::Redo => { history.redo(); }
                }
                let recipe = history.recipe();
                prop_assert!(recipe.residuals.keys().all(|name| recipe.tensors.contains_key(name)), "a residual of nothing: {recipe:?}");
            }
            while history.redo() {}
            let last = history.recipe().clone();
            while history.undo() {}
            prop_assert_eq!(history.recipe(), &start());
            while history.redo() {}
            prop_assert_eq!(history.recipe(), &last);
        }
    }
}
