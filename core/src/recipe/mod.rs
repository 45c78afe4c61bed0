//! The only thing the user edits: which format each tensor gets, and under what rules. TOML on disk, edits with inverses in memory.

mod document;
mod edit;

pub use document::Recipe;
pub use edit::{Edit, History};
