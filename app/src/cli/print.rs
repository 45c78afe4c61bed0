//! What the command line prints, and how numbers look.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this module is the program's mouth")]

use halftone_core::Error;
use halftone_core::report::Notice;
use serde::Serialize;

/// Prints a value as JSON when asked, else as the text.
pub fn result(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    use std::io::Write as _;
    let text = if json { serde_json::to_string_pretty(value)? } else { text().trim_end().to_owned() };
    match writeln!(std::io::stdout(), "{text}") {
        // Whoever reads us has seen enough (`| head`).
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Tells an error: what failed, why, what to do.
pub fn error(error: &anyhow::Error, json: bool) {
    let message = error.downcast_ref::<Error>().map(Error::user_message);
    if json {
        let value = match &message {
            Some(message) => serde_json::json!({ "error": message }),
            None => serde_json::json!({ "error": { "summary": error.to_string(), "details": format!("{error:#}"), "hint": "" } }),
        };
        println!("{value}");
    }
    match message {
        Some(message) => {
            eprintln!("error: {}", message.summary);
            if message.details != message.summary {
                eprintln!("  {}", message.details);
            }
            if !message.hint.is_empty() {
                eprintln!("  {}", message.hint);
            }
        }
        None => eprintln!("error: {error:#}"),
    }
}

/// Tells what did not go as asked: same kinds together, the first few in full.
pub fn notices(notices: &[Notice]) {
    const SHOWN: usize = 4;
    let mut kinds: Vec<(String, Vec<&Notice>)> = Vec::new();
    for notice in notices {
        let kind = Notice { tensor: None, kind: notice.kind.clone() }.to_string();
        match kinds.iter_mut().find(|(k, _)| *k == kind) {
            Some((_, list)) => list.push(notice),
            None => kinds.push((kind, vec![notice])),
        }
    }
    for (kind, list) in kinds {
        if list.len() == 1 {
            eprintln!("note: {}", list[0]);
            continue;
        }
        let names: Vec<&str> = list.iter().filter_map(|n| n.tensor.as_deref()).collect();
        let more = if names.len() > SHOWN { ", …" } else { "" };
        eprintln!("note: {kind} ({} tensors: {}{more})", list.len(), names[..names.len().min(SHOWN)].join(", "));
    }
}

/// Bytes in MB (10⁶) or GB.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..10_000_000_000 => format!("{:.2} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// An integer with thin groups of three.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Columns aligned by their widest cell: the first left, the others right.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..head.len()).map(|c| rows.iter().map(|r| r[c].chars().count()).chain([head[c].chars().count()]).max().unwrap_or(0)).collect();
    let line = |cells: &[String]| -> String {
        let cells = cells.iter().zip(&widths).enumerate().map(|(i, (cell, &width))| if i == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|&h| h.to_owned()).collect();
    std::iter::once(line(&head)).chain(rows.iter().map(|r| line(r))).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_grouped_by_threes() {
        assert_eq!(super::grouped(90_000_000), "90,000,000", "eight digits");
        assert_eq!(super::grouped(7), "7", "one digit");
    }
}
