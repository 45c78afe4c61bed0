//! `devices` and `inspect`.

use super::args::InspectArgs;
use super::print;
use super::session::Session;
use halftone_core::source::Source;
use halftone_core::tensor::{Statistics, survey};
use indexmap::IndexMap;
use serde::Serialize;

/// Lists the devices.
pub fn devices(session: &Session) -> anyhow::Result<()> {
    let devices = halftone_core::compute::devices();
    print::result(session.global.json, &devices, || {
        let rows: Vec<Vec<String>> = devices
            .iter()
            .map(|d| {
                vec![
                    d.name.clone(),
                    d.driver.clone(),
                    if d.is_software { "software" } else { "hardware" }.to_owned(),
                    d.extensions.join(", "),
                    if d.max_binding_bytes == u64::MAX { "no limit".to_owned() } else { print::size(d.max_binding_bytes) },
                ]
            })
            .collect();
        print::table(&["device", "driver", "kind", "extensions", "largest binding"], &rows)
    })
}

#[derive(Serialize)]
struct Report<'a> {
    path: &'a std::path::Path,
    format: halftone_core::source::SourceFormat,
    config: &'a halftone_core::source::ModelConfig,
    fingerprint: &'a str,
    parameters: u64,
    size_bytes: u64,
    forward: Result<(), String>,
    types: IndexMap<String, (usize, u64)>,
    tensors: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    entry: &'a halftone_core::source::TensorEntry,
    #[serde(skip_serializing_if = "Option::is_none")]
    statistics: Option<Statistics>,
}

/// Shows the model.
pub fn inspect(session: &Session, args: &InspectArgs) -> anyhow::Result<()> {
    let source = session.open(&args.model)?;
    let mut statistics = if args.statistics { survey(&source, &session.cx)? } else { vec![None; source.tensors.len()] };
    session.pause_progress();
    let report = report(&source, &mut statistics);
    print::result(session.global.json, &report, || text(&report))
}

fn report<'a>(source: &'a Source, statistics: &mut [Option<Statistics>]) -> Report<'a> {
    let mut types: IndexMap<String, (usize, u64)> = IndexMap::new();
    for tensor in &source.tensors {
        let entry = types.entry(tensor.dtype.to_string()).or_default();
        entry.0 += 1;
        entry.1 += tensor.size_bytes;
    }
    Report {
        path: &source.path,
        format: source.format,
        config: &source.config,
        fingerprint: &source.fingerprint,
        parameters: source.parameters(),
        size_bytes: source.size_bytes(),
        forward: source.config.forward_supported().map_err(|e| e.to_string()),
        types,
        tensors: source.tensors.iter().zip(statistics).map(|(entry, s)| Entry { entry, statistics: s.take() }).collect(),
    }
}

fn text(report: &Report<'_>) -> String {
    let c = report.config;
    let mut out = format!(
        "{}\n{} · {} parameters · {} in {} tensors\n",
        c.name.as_deref().unwrap_or("(unnamed)"),
        c.architecture,
        print::grouped(report.parameters),
        print::size(report.size_bytes),
        report.tensors.len()
    );
    if c.block_count > 0 {
        out += &format!(
            "{} blocks · {} wide · {} feed-forward · {} heads ({} key/value) · {} tokens · context {}\n",
            c.block_count, c.hidden_size, c.intermediate_size, c.head_count, c.kv_head_count, c.vocab_size, c.context_length
        );
    }
    if let Err(why) = &report.forward {
        out += &format!("opens weight-only: {why}\n");
    }
    let types: Vec<String> = report.types.iter().map(|(name, (count, bytes))| format!("{name} × {count} ({})", print::size(*bytes))).collect();
    out += &format!("{}\n\n", types.join(", "));
    let with_statistics = report.tensors.iter().any(|t| t.statistics.is_some());
    let mut head = vec!["tensor", "role", "shape", "type", "bytes"];
    if with_statistics {
        head.extend(["deviation", "absmax", "kurtosis", "not finite"]);
    }
    let rows: Vec<Vec<String>> = report
        .tensors
        .iter()
        .map(|t| {
            let shape = t.entry.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("×");
            let mut row = vec![t.entry.name.clone(), t.entry.role.label().to_owned(), shape, t.entry.dtype.to_string(), print::grouped(t.entry.size_bytes)];
            if with_statistics {
                row.extend(match &t.statistics {
                    Some(s) => [format!("{:.4}", s.deviation), format!("{:.3}", s.absmax()), format!("{:.1}", s.kurtosis), s.non_finite.to_string()],
                    None => [const { String::new() }; 4],
                });
            }
            row
        })
        .collect();
    out + &print::table(&head, &rows)
}
