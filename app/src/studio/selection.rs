//! Which tensors are selected. View state: never part of undo.

use std::collections::BTreeSet;

/// Selected tensors, as catalog positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// All of them.
    pub tensors: BTreeSet<usize>,
    /// The one the inspector shows and the arrow keys move.
    pub cursor: Option<usize>,
    /// Where a Shift selection began.
    pub anchor: Option<usize>,
}

/// How a set of tensors joins the selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectMode {
    /// Instead of what was selected.
    Replace,
    /// With Shift: instead of what was selected, keeping the anchor.
    Extend,
    /// With Ctrl or Cmd: turns each over.
    Toggle,
}

impl Selection {
    /// Applies a click, drag or key.
    pub fn apply(&mut self, tensors: &[usize], cursor: Option<usize>, mode: SelectMode) {
        match mode {
            SelectMode::Replace | SelectMode::Extend => self.tensors = tensors.iter().copied().collect(),
            SelectMode::Toggle => {
                for &tensor in tensors {
                    if !self.tensors.remove(&tensor) {
                        self.tensors.insert(tensor);
                    }
                }
            }
        }
        self.cursor = cursor.or(tensors.first().copied());
        if mode != SelectMode::Extend || self.anchor.is_none() {
            self.anchor = self.cursor;
        }
    }

    /// Nothing selected.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toggling_twice_gives_the_selection_back_and_extend_keeps_the_anchor() {
        let mut selection = Selection::default();
        selection.apply(&[3], Some(3), SelectMode::Replace);
        selection.apply(&[5], Some(5), SelectMode::Toggle);
        selection.apply(&[5], Some(5), SelectMode::Toggle);
        assert_eq!(selection.tensors, BTreeSet::from([3]), "toggled on and off");
        selection.apply(&[3], Some(3), SelectMode::Replace);
        selection.apply(&[3, 4, 5], Some(5), SelectMode::Extend);
        assert_eq!(selection.anchor, Some(3), "Shift grows from where it began");
    }
}
