//! Everything of Halftone that computes. No windows, no terminal: the studio and the command line are clients of this crate.
//!
//! The rooms stand in the order the data travels: `source` opens a file into a catalog of tensors, `transform` keeps its function and
//! makes it easier to round, `calibrate` runs text through
//! the `model`, `sensitivity` makes the table tensor × candidate, `allocate` picks one candidate each under a budget, `recipe` is
//! what the user keeps, `job` carries it out with `round` and `codec`, `eval` says how far the outputs moved, `export` writes the
//! file that other programs load. `tensor`, `numeric` and `compute` are the floor they stand on.
//!
//! Invariant: this crate never reaches egui, eframe, winit, rfd or clap (`tests/tests/architecture.rs` proves it).

pub mod error;
pub mod report;

pub mod numeric;
pub mod tensor;

pub mod compute;

pub mod source;

pub mod codec;
pub mod residual;
pub mod round;

pub mod transform;

pub mod model;

pub mod calibrate;
pub mod gradient;
pub mod sensitivity;

pub mod allocate;
pub mod recipe;

pub mod job;

pub mod eval;
pub mod export;
pub mod refine;

pub mod bench;

pub use error::{Error, Result, UserMessage};
