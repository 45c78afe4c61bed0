//! One text, three purposes that never share a line: calibrate, search, hold out.

/// A text cut in three. What is tuned on one part is judged on another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextSplit {
    /// For activation statistics.
    pub calibration: String,
    /// For choosing: probes of sensitivity.
    pub search: String,
    /// For judging; nothing else reads it.
    pub hold_out: String,
}

impl TextSplit {
    /// The first eight tenths, the ninth and the last, cut at line ends (or between characters when there are none near).
    pub fn new(text: &str) -> Self {
        let (rest, hold_out) = text.split_at(cut(text, 9));
        let (calibration, search) = rest.split_at(cut(text, 8).min(rest.len()));
        Self { calibration: calibration.to_owned(), search: search.to_owned(), hold_out: hold_out.to_owned() }
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
        assert_eq!(format!("{}{}{}", split.calibration, split.search, split.hold_out), text, "nothing lost, nothing twice");
        assert!(split.calibration.ends_with('\n') && split.search.ends_with('\n'), "whole lines");
        assert!(!split.search.is_empty() && !split.hold_out.is_empty(), "all three have text");
    }

    #[test]
    fn a_text_without_lines_is_still_cut() {
        let split = TextSplit::new(&"é".repeat(100));
        assert!(!split.calibration.is_empty() && !split.hold_out.is_empty(), "cut between characters");
    }
}
