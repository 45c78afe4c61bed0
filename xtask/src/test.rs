//! `cargo xtask test`: the whole check, on a clean machine too.
//!
//! Every step runs even when one before it failed, and says its time. The last line of output is `N passed, N failed` over all tests; a step
//! that fails without a counted test is one failure. Nothing is skipped: a missing adapter, model or client fails.

use crate::command::{Workspace, line, succeed};
use crate::{clients, models, packages};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// The training code is checked as well.
const FEATURES: [&str; 2] = ["--features", "xtask/train"];

type Step = fn(&Workspace) -> Result<Count>;

const STEPS: &[(&str, Step)] = &[
    ("packages", |w| packages::ensure(w, &packages::for_tests(w)).map(|()| Count::default())),
    ("clients", |w| clients::ensure(w).map(|()| Count::default())),
    ("models", |w| models::ensure(w).map(|()| Count::default())),
    // Of every platform: a test reads the whole graph of crates offline.
    ("fetch", |w| cargo(w, &["fetch", "--locked"])),
    ("fmt", |w| cargo(w, &["fmt", "--all", "--check"])),
    ("clippy", |w| cargo(w, &[&["clippy", "--workspace", "--all-targets"], &FEATURES[..], &["--", "-D", "warnings"]].concat())),
    ("test", |w| counted(w.cargo().args(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]).args(FEATURES))),
    ("doc", |w| counted(w.cargo().args(["test", "--workspace", "--doc", "--no-fail-fast"]))),
];

/// Tests that ran.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Runs all steps, or the one called `only` (models need `clients` once before).
///
/// # Errors
/// When there is no step `only`. Failing steps are not errors here but the exit code.
pub fn run(workspace: &Workspace, only: Option<&str>) -> Result<ExitCode> {
    let chosen: Vec<_> = STEPS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)).collect();
    if chosen.is_empty() {
        bail!("there is no step `{}`; the steps are {}", only.unwrap_or_default(), STEPS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "));
    }
    let (mut total, mut table) = (Count::default(), String::new());
    for (name, step) in chosen {
        println!("\n== {name}");
        let started = Instant::now();
        let count = step(workspace).unwrap_or_else(|error| {
            eprintln!("{name}: {error:#}");
            Count { failed: 1, ..Count::default() }
        });
        let verdict = if count.failed == 0 { "ok" } else { "FAILED" };
        let row = format!("{name:<10} {verdict:<7} {:>7.1} s", started.elapsed().as_secs_f64());
        println!("== {row}");
        table.push_str(&format!("{row}\n"));
        total = Count { passed: total.passed + count.passed, failed: total.failed + count.failed, ignored: total.ignored + count.ignored };
    }
    println!("\n{table}");
    if total.ignored > 0 {
        println!("{} tests carry #[ignore] and did not run", total.ignored);
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn cargo(workspace: &Workspace, args: &[&str]) -> Result<Count> {
    succeed(workspace.cargo().args(args)).map(|()| Count::default())
}

/// Runs a test runner, passes its output on as it comes, and adds up its summaries.
fn counted(command: &mut Command) -> Result<Count> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{}`", line(command)))?;
    let output = child.stdout.take().context("the test runner has no output")?;
    let mut count = Count::default();
    for text in BufReader::new(output).split(b'\n') {
        let text = text?;
        let text = String::from_utf8_lossy(&text);
        println!("{text}");
        if let Some(summary) = summary(&text) {
            count = Count { passed: count.passed + summary.passed, failed: count.failed + summary.failed, ignored: count.ignored + summary.ignored };
        }
    }
    let status = child.wait()?;
    if !status.success() && count.failed == 0 {
        bail!("`{}` failed outside of a test: {status}", line(command));
    }
    Ok(count)
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn summary(text: &str) -> Option<Count> {
    let (_, numbers) = text.strip_prefix("test result: ")?.split_once(". ")?;
    let mut count = Count::default();
    for part in numbers.split("; ") {
        match part.split_once(' ') {
            Some((number, "passed")) => count.passed = number.parse().ok()?,
            Some((number, "failed")) => count.failed = number.parse().ok()?,
            Some((number, "ignored")) => count.ignored = number.parse().ok()?,
            _ => {}
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_runners_summary_is_read_and_other_lines_are_not() {
        let text = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.21s";
        assert_eq!(summary(text), Some(Count { passed: 12, failed: 3, ignored: 1 }));
        assert_eq!(summary("test core::reads_a_header ... ok"), None);
    }
}
