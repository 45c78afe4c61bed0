//! min Σ cost(t, c_t) subject to Σ bytes(t, c_t) ≤ B, one candidate for each tie group; exactly, with its optimality gap.

mod budget;
mod hull;
mod plan;
mod preset;
mod problem;
mod solve;
#[cfg(test)]
mod testing;

pub use budget::{Budget, parse_size};
pub use plan::{Plan, allocate, frontier, random_plan};
pub use preset::{PRESETS, Preset, preset_plan};
pub use problem::{Choice, Group, Problem, Target};
pub use solve::{Solution, solve};
