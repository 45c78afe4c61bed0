//! Reading text and cutting its tokens into sequences.

use crate::error::Result;
use crate::source::Tokenizer;
use std::path::PathBuf;

/// The texts of some files, one after the other. Plain UTF-8; invalid bytes are replaced.
///
/// # Errors
/// `Io`; `Input` when there is no text in them.
pub fn read_texts(paths: &[PathBuf]) -> Result<String> {
    let _ = paths;
    todo!("calibrate room")
}

/// The first `count` whole sequences of `length` tokens (all of them when `count` is `None`); as llama.cpp does, each sequence's first
/// token is replaced by BOS when the model has one.
///
/// # Errors
/// `Input` when the text gives not even one sequence.
pub fn sequences(tokenizer: &Tokenizer, text: &str, length: usize, count: Option<usize>) -> Result<Vec<Vec<u32>>> {
    let _ = (tokenizer, text, length, count);
    todo!("calibrate room")
}
