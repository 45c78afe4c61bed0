//! The CPU backend: the twins, rows in parallel.

/// The CPU.
#[derive(Debug)]
pub struct Cpu {}
