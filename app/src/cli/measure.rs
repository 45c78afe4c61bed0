//! `measure`.

use super::args::MeasureArgs;
use super::print;
use super::session::Session;
use anyhow::Context as _;
use halftone_core::calibrate::{self, Calibration, SearchText};
use halftone_core::sensitivity::{MeasureOptions, Metric, Table, measure, probe_sequences};
use halftone_core::source::Source;
use std::path::Path;

/// Makes and saves the table.
pub fn run(session: &Session, args: &MeasureArgs) -> anyhow::Result<()> {
    let source = session.open(&args.model)?;
    let calibration = args.calibration.as_deref().map(|path| load_calibration(path, &source)).transpose()?;
    let mut options = MeasureOptions { rounding: args.rounding.clone(), ..MeasureOptions::default() };
    if !args.formats.is_empty() {
        options.formats.clone_from(&args.formats);
    }
    let wants_kl = args.metrics.iter().any(|m| m == Metric::PredictedKl.name());
    anyhow::ensure!(!wants_kl || !args.probe_text.is_empty(), "--metric predicted-kl needs --probe-text, which must not be the hold-out");
    anyhow::ensure!(args.probe_text.is_empty() || calibration.is_some(), "--probe-text needs --calibration");
    if !args.probe_text.is_empty() {
        options.probe = probe_sequences(&source, &SearchText::new(calibrate::read_texts(&args.probe_text)?))?;
    }
    let table = measure(&source, calibration.as_ref(), &options, &session.cx)?;
    table.save(&args.output)?;
    session.pause_progress();
    print::result(session.global.json, &table, || text(&table))
}

/// A calibration that `calibrate` wrote, or any imatrix.
pub fn load_calibration(path: &Path, source: &Source) -> anyhow::Result<Calibration> {
    let is_imatrix = path.extension().is_some_and(|e| e == "dat" || e == "gguf" || e == "imatrix");
    let calibration = if is_imatrix { calibrate::read_imatrix(path, &source.fingerprint)? } else { Calibration::load(path)? };
    Ok(calibration)
}

/// The metric of this name.
pub fn metric_by_name(name: &str) -> anyhow::Result<Metric> {
    Metric::ALL.into_iter().find(|m| m.name() == name).with_context(|| format!("unknown metric {name}"))
}

fn text(table: &Table) -> String {
    let metric = table.best_metric();
    let mut formats: Vec<_> = table.rows.iter().flat_map(|r| r.cells.iter().map(|c| c.stored_as)).collect();
    formats.sort_by(|a, b| a.bits().total_cmp(&b.bits()).then(a.cmp(b)));
    formats.dedup();
    let names: Vec<String> = formats.iter().map(ToString::to_string).collect();
    let head: Vec<&str> = std::iter::once("tensor").chain(names.iter().map(String::as_str)).collect();
    let rows: Vec<Vec<String>> = table
        .rows
        .iter()
        .map(|row| {
            let cells = formats
                .iter()
                .map(|f| row.cells.iter().find(|c| c.stored_as == *f).and_then(|c| c.metric(metric)).map_or_else(|| "–".to_owned(), |v| format!("{v:.2e}")));
            std::iter::once(row.tensor.clone()).chain(cells).collect()
        })
        .collect();
    format!("{}\n\n{}", metric.label(), print::table(&head, &rows))
}
