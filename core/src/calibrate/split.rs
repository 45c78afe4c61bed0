//! One text, three purposes that never share a line: calibrate, search, hold out.

use super::{Coverage, sequences};
use crate::error::Result;
use crate::source::Tokenizer;
use std::marker::PhantomData;
use std::sync::Arc;

/// Text for one purpose. What takes text for another purpose does not take it: calibration text cannot be judged on by mistake, nor the
/// hold-out be tuned on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFor<Purpose> {
    text: Arc<str>,
    purpose: PhantomData<Purpose>,
}

/// For activation statistics.
pub type CalibrationText = TextFor<Calibration>;
/// For choosing: probes of sensitivity.
pub type SearchText = TextFor<Search>;
/// For judging; nothing else reads it.
pub type HoldOutText = TextFor<HoldOut>;

/// The purpose of [`CalibrationText`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calibration {}
/// The purpose of [`SearchText`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {}
/// The purpose of [`HoldOutText`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldOut {}

impl<Purpose> TextFor<Purpose> {
    /// Declares what a text of its own (a file that the user chose for this) is for.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), purpose: PhantomData }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How much of the vocabulary the first `count` sequences of `length` tokens show.
    ///
    /// # Errors
    /// As [`sequences`].
    pub fn coverage(&self, tokenizer: &Tokenizer, length: usize, count: usize) -> Result<Coverage> {
        Ok(Coverage::of(&sequences(tokenizer, &self.text, length, Some(count))?, tokenizer.vocab_size()))
    }
}

/// A text cut in three. What is tuned on one part is judged on another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextSplit {
    /// For activation statistics.
    pub calibration: CalibrationText,
    /// For choosing: probes of sensitivity.
    pub search: SearchText,
    /// For judging; nothing else reads it.
    pub hold_out: HoldOutText,
}

impl TextSplit {
    /// The first eight tenths, the ninth and the last, cut at line ends (or between characters when there are none near).
    pub fn new(text: &str) -> Self {
        let (rest, hold_out) = text.split_at(cut(text, 9));
        let (calibration, search) = rest.split_at(cut(text, 8).min(rest.len()));
        Self { calibration: TextFor::new(calibration), search: TextFor::new(search), hold_out: TextFor::new(hold_out) }
    }
}

/// Where `tenths` tenths of the text end: after the next line end, else at the next character.
fn cut(text: &str, tenths: usize) -> usize {
    let aim = text.ceil_char_boundary(text.len() / 10 * tenths);
    match text[aim..].find('\n') {
        Some(line_end) if line_end < text.len() / 20 => aim + line_end + 1,
        _ => aim,
    }
}

/// blake3 of a text; goes into calibrations.
pub fn text_hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_make_the_text_and_end_at_lines() {
        let text: String = (0..1000).map(|i| format!("line {i} é\n")).collect();
        let split = TextSplit::new(&text);
        assert_eq!(format!("{}{}{}", split.calibration.as_str(), split.search.as_str(), split.hold_out.as_str()), text, "nothing lost, nothing twice");
        assert!(split.calibration.as_str().ends_with('\n') && split.search.as_str().ends_with('\n'), "whole lines");
        assert!(!split.search.as_str().is_empty() && !split.hold_out.as_str().is_empty(), "all three have text");
    }

    #[test]
    fn a_text_without_lines_is_still_cut() {
        let split = TextSplit::new(&"é".repeat(100));
        assert!(!split.calibration.as_str().is_empty() && !split.hold_out.as_str().is_empty(), "cut between characters");
    }
}
