//! Compute kernels as WGSL files, their uniform structs, and the plain-slice CPU twin of each: the reference for both.
//!
//! `wgsl/NAME.wgsl` is what a GPU runs, `src/twin/NAME.rs` is what it must compute, [`Kernel`] is the table of both: a test holds the
//! folder, the table and the twins together, compares every uniform struct with naga's reflection, and runs each kernel against its twin.
//!
//! Invariant: what is stored does not depend on the device. Encoders search scales in floats that are the same bits everywhere
//! (`wgsl/common/exact.wgsl`); other integer outputs follow from integer arithmetic; float outputs state a tolerance in their twin.
//! The twins of the encoders are what the CPU runs; [`lanes`] makes them vector code.
//! Absent on purpose: devices, threads, files.

pub mod blocks;
pub mod grid_search;
pub mod grids;
mod kernel;
pub mod lanes;
pub mod lattice;
pub mod levels;
pub mod params;
pub mod twin;

pub use kernel::{Binding, BindingKind, Extensions, Kernel};
