//! What one would choose without a solver: uniform, and llama.cpp's own mixes.

use super::{Plan, Problem};
use crate::sensitivity::Table;

/// A named rule that gives every tensor a format.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// llama.cpp's name, for example "Q4_K_M", or "uniform Q4_0".
    pub name: &'static str,
}

/// The presets that are drawn beside every plan.
pub const PRESETS: &[Preset] = &[];

/// The plan of a preset on this model; `None` when a format it needs is not in the table.
pub fn preset_plan(preset: &Preset, table: &Table, problem: &Problem) -> Option<Plan> {
    let _ = (preset, table, problem);
    todo!("allocate room")
}
