//! The studio, as a library: the window's state, panes and commands. No numerics: everything that computes is in `halftone-core`.

pub mod demo;
pub mod studio;
