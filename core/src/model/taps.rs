//! Looking at the inputs of linears while a model runs.

use super::values::{Input, Values, tensor_from, with_values};
use crate::compute::gpu::forward::Rows;
use crate::error::Result;
use candle_core::Tensor;

/// Who looks at the inputs of linears on their way.
pub trait Taps {
    /// `input` (tokens × columns, f32) is about to enter the linears `names` (canonical), which share it: q, k and v; gate and up.
    ///
    /// # Errors
    /// Whatever stops the pass.
    fn linear_input(&mut self, names: &[String], input: &Tensor) -> Result<()>;

    /// As [`Self::linear_input`] for the tokens that were routed to one expert. Where a file stacks its experts, all of them have the name of
    /// the stack; who does not tell experts apart gets the sums over all.
    ///
    /// # Errors
    /// Whatever stops the pass.
    fn expert_input(&mut self, _expert: usize, names: &[String], input: &Tensor) -> Result<()> {
        self.linear_input(names, input)
    }

    /// As [`Self::linear_input`], or of an expert [`Self::expert_input`], of an input that is also in the memory of a device.
    ///
    /// # Errors
    /// Whatever stops the pass.
    fn resident_input(&mut self, expert: Option<usize>, names: &[String], input: &Tensor, _rows: &Rows) -> Result<()> {
        match expert {
            None => self.linear_input(names, input),
            Some(expert) => self.expert_input(expert, names, input),
        }
    }

    /// Whether [`Self::attended_input`] is wanted; it costs a product of an eighth of each head's weights with the block's input.
    fn wants_attended(&self) -> bool {
        false
    }

    /// How attention used the inputs of the linears `key` and `value`: `input` (tokens × columns), what each token received of the weights of
    /// some queries, Σ_q A_qt, and what those queries mixed, Σ_t A_qt·x_t (queries × columns).
    ///
    /// # Errors
    /// Whatever stops the pass.
    fn attended_input(&mut self, _key: &str, _value: &str, _input: &[f32], _received: &[f32], _mixed: &[f32]) -> Result<()> {
        Ok(())
    }
}

/// The names of the linears that share an input, for the taps.
pub(super) struct Readers {
    names: Vec<String>,
    expert: Option<usize>,
}

impl Readers {
    pub(super) fn new(names: Vec<String>, expert: Option<usize>) -> Self {
        Self { names, expert }
    }

    /// The names.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Shows an input (tokens × `width`) to the taps, if any, and runs the linears on it.
    pub(super) fn show<R>(&self, input: Values, width: usize, taps: Option<&mut dyn Taps>, linears: impl FnOnce(Input<'_>) -> Result<R>) -> Result<R> {
        let Some(taps) = taps else { return linears(input.input()) };
        match input {
            Values::Host(input) => {
                let rows = input.len() / width;
                let input = tensor_from(input, rows, width)?;
                match self.expert {
                    None => taps.linear_input(&self.names, &input)?,
                    Some(expert) => taps.expert_input(expert, &self.names, &input)?,
                }
                with_values(&input, |values| linears(Input::Host(values)))
            }
            Values::Device(rows) => {
                let input = tensor_from(rows.read()?, rows.rows(), width)?;
                taps.resident_input(self.expert, &self.names, &input, &rows)?;
                linears(Input::Device(&rows))
            }
        }
    }
}

/// Taps that have already seen some inputs of a pass, which is gone through again: each is shown once. Inputs are known by what they enter, not by
/// their number, because a router may choose otherwise the second time.
pub(super) struct Resumed<'a> {
    taps: &'a mut dyn Taps,
    /// What this pass has shown.
    shown: Vec<Shown>,
    /// What the pass before had.
    before: Vec<Shown>,
}

/// An input: the first linear that it enters, its expert, and whether it is what attention made of it.
type Shown = (String, Option<usize>, bool);

impl<'a> Resumed<'a> {
    pub(super) fn new(taps: &'a mut dyn Taps) -> Self {
        Self { taps, shown: Vec::new(), before: Vec::new() }
    }

    /// The pass begins again.
    pub(super) fn begin_again(&mut self) {
        self.before = std::mem::take(&mut self.shown);
    }

    fn pass(&mut self, name: Option<&String>, expert: Option<usize>, is_attended: bool, call: impl FnOnce(&mut dyn Taps) -> Result<()>) -> Result<()> {
        let what = (name.cloned().unwrap_or_default(), expert, is_attended);
        if self.before.contains(&what) {
            return Ok(());
        }
        call(&mut *self.taps)?;
        self.shown.push(what);
        Ok(())
    }
}

impl Taps for Resumed<'_> {
    fn linear_input(&mut self, names: &[String], input: &Tensor) -> Result<()> {
        self.pass(names.first(), None, false, |taps| taps.linear_input(names, input))
    }

    fn expert_input(&mut self, expert: usize, names: &[String], input: &Tensor) -> Result<()> {
        self.pass(names.first(), Some(expert), false, |taps| taps.expert_input(expert, names, input))
    }

    fn resident_input(&mut self, expert: Option<usize>, names: &[String], input: &Tensor, rows: &Rows) -> Result<()> {
        self.pass(names.first(), expert, false, |taps| taps.resident_input(expert, names, input, rows))
    }

    fn wants_attended(&self) -> bool {
        self.taps.wants_attended()
    }

    fn attended_input(&mut self, key: &str, value: &str, input: &[f32], received: &[f32], mixed: &[f32]) -> Result<()> {
        self.pass(Some(&key.to_owned()), None, true, |taps| taps.attended_input(key, value, input, received, mixed))
    }
}

/// The same taps again, for a shorter time.
pub(super) fn reborrow<'a>(taps: &'a mut Option<&mut dyn Taps>) -> Option<&'a mut dyn Taps> {
    match taps {
        Some(taps) => Some(&mut **taps),
        None => None,
    }
}
