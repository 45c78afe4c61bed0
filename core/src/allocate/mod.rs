//! min Σ cost(t, c_t) subject to Σ bytes(t, c_t) ≤ B, one candidate for each tie group; exactly, with its optimality gap.

mod budget;
mod hull;
mod integers;
mod memory;
mod plan;
mod preset;
mod price;
mod problem;
mod profile;
mod rules;
mod solver;
#[cfg(test)]
pub(crate) mod testing;

pub use budget::{Budget, parse_size};
pub(crate) use integers::Integers;
pub use memory::{CacheType, Overhead};
pub use plan::{Plan, allocate, allocate_with, frontier};
pub use preset::{PRESETS, Preset, baselines, preset_plan};
pub use price::{StepPrice, Why, byte_price, why};
pub use problem::{Choice, Group, Held, Problem};
pub use profile::{Family, PROFILES, Profile, Step, Target};
pub use rules::{Limits, Rules};
pub use solver::{DEFAULT_SOLVER, RandomControl, SOLVERS, Solution, Solver, random_control, random_plan, solve, solver};
