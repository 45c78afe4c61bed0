//! Compute kernels as WGSL files, their uniform structs, and the plain-slice CPU twin of each: the reference for both.
//!
//! `wgsl/NAME.wgsl` is what a GPU runs, `src/twin/NAME.rs` is what it must compute, [`Kernel`] is the table of both: a test holds the
//! folder, the table and the twins together, compares every uniform struct with naga's reflection, and runs each kernel against its twin.
//!
//! Invariant: no kernel depends on how a device rounds. Integer outputs follow from integer arithmetic (or from float proposals that
//! integer comparisons then correct), so they are equal everywhere; float outputs state a tolerance in their twin.
//! Absent on purpose: devices, threads, files.

pub mod blocks;
mod kernel;
pub mod lanes;
pub mod levels;
pub mod params;
pub mod twin;

pub use kernel::{Binding, BindingKind, Kernel};
