//! The program: the studio (egui) and the command line, two clients of `halftone_core`. No numerics here.

pub mod cli;
pub mod demo;
pub mod locate;
pub mod studio;
