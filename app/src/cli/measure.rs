//! `measure`.

use super::args::MeasureArgs;
use super::print;
use super::session::Session;
use anyhow::Context as _;
use halftone_core::calibrate::{self, Calibration, SearchText};
use halftone_core::gradient::{self, GradientOptions, Gradients};
use halftone_core::report::NoticeKind;
use halftone_core::residual::Candidate;
use halftone_core::round::{TOOL, rounding_for};
use halftone_core::sensitivity::{Cell, MeasureOptions, Metric, Table, Trust, gradient_sequences, measure, probe_sequences};
use halftone_core::source::Source;
use std::path::Path;
use std::sync::Arc;

/// Random directions for Hessian traces.
const HESSIAN_PROBES: usize = 4;
/// Points of the integral along the path.
const PATH_POINTS: usize = 2;
/// Cells that --metric measured-kl measures where neither --trust nor --refine says how many.
const MEASURED_CELLS: usize = 24;

/// Makes and saves the table.
pub fn run(session: &Session, args: &MeasureArgs) -> anyhow::Result<()> {
    let source = session.open(&args.model)?;
    let calibration = args.calibration.as_deref().map(|path| load_calibration(path, &source)).transpose()?;
    let mut earlier = args.merge.as_deref().map(Table::load).transpose()?;
    if let Some(earlier) = &earlier {
        let rounding = rounding_for(&args.rounding, calibration.is_some());
        earlier.accepts("merge tables", &source.fingerprint, calibration.as_ref().map(Calibration::hash).as_deref(), rounding, TOOL)?;
    }
    let options = options(session, args, &source, calibration.is_some())?;
    let mut table = measure(&source, calibration.as_ref(), &options, &session.cx)?;
    if let Some(mut merged) = earlier.take() {
        let before = merged.best_metric();
        merged.merge(table)?;
        table = merged;
        if !table.has(before) {
            let text = format!(
                "candidates that were merged in have no {}, so what is chosen goes by {}; --probe-text measures them",
                before.label().to_lowercase(),
                table.best_metric().label().to_lowercase()
            );
            session.cx.reporter.notice(None, NoticeKind::Other { text });
        }
    }
    table.save(&args.output)?;
    session.pause_progress();
    print::result(session.global.json, &table, || text(&table))
}

fn options(session: &Session, args: &MeasureArgs, source: &Source, calibrated: bool) -> anyhow::Result<MeasureOptions> {
    let mut options = MeasureOptions { rounding: args.rounding.clone(), trust: args.trust, refine: args.refine, ..MeasureOptions::default() };
    if !args.formats.is_empty() {
        options.formats.clone_from(&args.formats);
    }
    let asked = |metric: Metric| args.metrics.iter().any(|m| m == metric.name());
    let at_the_logits = [Metric::PredictedKl, Metric::Fisher, Metric::HessianTrace, Metric::Pqi, Metric::MeasuredKl].into_iter().find(|m| asked(*m));
    if args.probe_text.is_empty() {
        if let Some(metric) = at_the_logits {
            anyhow::bail!("--metric {} needs --probe-text, which must not be the hold-out", metric.name());
        }
        anyhow::ensure!(args.trust + args.refine == 0, "--trust and --refine need --probe-text, which must not be the hold-out");
        return Ok(options);
    }
    let text = SearchText::new(calibrate::read_texts(&args.probe_text)?);
    if asked(Metric::PredictedKl) || args.metrics.is_empty() {
        anyhow::ensure!(calibrated, "--metric predicted-kl needs --calibration");
        options.probe = probe_sequences(source, &text)?;
    }
    if asked(Metric::Fisher) {
        options.gradients = Some(Arc::new(gradients(session, args, source, &text)?));
    }
    options.hessian_probes = if asked(Metric::HessianTrace) { HESSIAN_PROBES } else { 0 };
    options.path_points = if asked(Metric::Pqi) { PATH_POINTS } else { 0 };
    if asked(Metric::MeasuredKl) && args.trust + args.refine == 0 {
        options.refine = MEASURED_CELLS;
    }
    if options.hessian_probes + options.path_points + options.trust + options.refine > 0 {
        options.search = gradient_sequences(source, &text, args.gradient_tokens / 4)?;
    }
    Ok(options)
}

/// The gradients of a file that holds those of this model, or newly followed ones, which are kept there.
fn gradients(session: &Session, args: &MeasureArgs, source: &Source, text: &SearchText) -> anyhow::Result<Gradients> {
    if let Some(path) = args.gradients.as_deref().filter(|path| path.exists()) {
        return Ok(Gradients::load(path)?);
    }
    let options = GradientOptions { seed: session.global.seed, ..GradientOptions::within(&source.config, session.global.memory) };
    let sequences = gradient_sequences(source, text, args.gradient_tokens)?;
    let gradients = gradient::collect(source, &source.fingerprint, &sequences, &options, &session.cx)?;
    if let Some(path) = &args.gradients {
        gradients.save(path)?;
    }
    Ok(gradients)
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
    let mut formats: Vec<Candidate> = table.rows.iter().flat_map(|r| r.cells.iter().map(Cell::stored)).collect();
    formats.sort_by(|a, b| a.format.bits().total_cmp(&b.format.bits()).then(a.cmp(b)));
    formats.dedup();
    let names: Vec<String> = formats.iter().map(ToString::to_string).collect();
    let head: Vec<&str> = std::iter::once("tensor").chain(names.iter().map(String::as_str)).collect();
    let rows: Vec<Vec<String>> = table
        .rows
        .iter()
        .map(|row| {
            let cells = formats
                .iter()
                .map(|f| row.cells.iter().find(|c| c.stored() == *f).and_then(|c| c.metric(metric)).map_or_else(|| "–".to_owned(), |v| format!("{v:.2e}")));
            std::iter::once(row.tensor.clone()).chain(cells).collect()
        })
        .collect();
    let trust = table.evidence.trust.as_ref().map(|trust| format!("\n\n{}", trust_text(trust))).unwrap_or_default();
    format!("{}\n\n{}{trust}", metric.label(), print::table(&head, &rows))
}

/// The evidence in a few lines.
pub fn trust_text(trust: &Trust) -> String {
    let rows: Vec<Vec<String>> = trust
        .correlations
        .iter()
        .map(|c| {
            let off = if c.metric.is_kl() { format!("{:.2} ×/÷ {:.2}", c.ratio, c.spread.exp()) } else { "–".to_owned() };
            vec![c.metric.label().to_owned(), format!("{:.3}", c.spearman), format!("{:.3}", c.kendall), off, c.cells.to_string()]
        })
        .collect();
    let joint = |what: &str, j: &halftone_core::sensitivity::Joint| {
        format!(
            "{what} ({} tensors) together: {:.4} ± {:.4} nats; the sum of each alone {:.4}, ratio {:.2}",
            j.tensors,
            j.together,
            j.error,
            j.separately,
            j.ratio()
        )
    };
    format!(
        "{} cells measured at the logits, {} tokens; calibrated KL stands on {}\n{}\n{}\n{}",
        trust.cells.len(),
        trust.tokens,
        trust.best.label(),
        print::table(&["metric", "Spearman", "Kendall", "metric / measured KL", "cells"], &rows),
        joint("Probed", &trust.probed_together),
        joint("All", &trust.all_together)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;
    use halftone_core::Error;
    use halftone_core::sensitivity::Evidence;

    #[test]
    fn a_table_of_another_model_is_refused_before_any_text_is_read() {
        let table = Table {
            model: "another".into(),
            model_path: "another.gguf".into(),
            calibration: None,
            tool: TOOL.into(),
            rounding: "nearest".into(),
            fixed_bytes: 0,
            rows: Vec::new(),
            evidence: Evidence::default(),
        };
        let path = std::env::temp_dir().join(format!("halftone-merge-{}.json", std::process::id()));
        table.save(&path).expect("it is written");
        let merge = path.display().to_string();
        let line = ["halftone", "measure", "--demo", "--merge", &merge, "--metric", "fisher", "--probe-text", "no/such/text", "-o", "no/such/table"];
        let cli = Cli::try_parse_from(line).expect("a line of measure");
        let Some(Command::Measure(args)) = &cli.command else { panic!("measure was parsed as something else") };
        let refused = run(&Session::new(&cli.global), args);
        std::fs::remove_file(&path).expect("it was there");
        let error = refused.expect_err("another model");
        assert!(matches!(error.downcast_ref(), Some(Error::Mismatch { .. })), "{error}");
    }
}
