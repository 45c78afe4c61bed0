//! The report that goes with an export: one HTML file without scripts or links, so that it can be kept and mailed.
//!
//! It says what was made of what (hashes), what every tensor became and what that cost, how far the outputs moved with their standard
//! errors, and everything that did not go as asked. Equal inputs give equal bytes: there is no date in it.

use super::Exported;
use crate::error::Result;
use crate::eval::Comparison;
use crate::job::{Artifact, RecordHeader, write_atomically};
use crate::numeric::metric::sqnr_from_relative_error;
use crate::sensitivity::{Metric, Trust};
use crate::source::{MetaValue, Source};
use crate::transform::TRANSFORM_KEY;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
table{border-collapse:collapse;width:100%}td,th{padding:.15rem .6rem;text-align:left;border-bottom:1px solid #ddd}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}code{word-break:break-all}.bar{height:.6rem;background:#47c}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}td,th{border-color:#444}}";

/// What was predicted of a file and measured of it, as far as it was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Proof<'a> {
    /// Original and file on held-out text.
    pub comparison: Option<&'a Comparison>,
    /// The metrics held against measured cells.
    pub trust: Option<&'a Trust>,
    /// What the allocation predicted beside what the comparison measured.
    pub prediction: Option<Prediction>,
}

/// A predicted KL beside the one measured on held-out text, nats per token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// What predicted.
    pub metric: Metric,
    /// The allocation's cost by it.
    pub predicted: f64,
    /// The comparison's mean KL.
    pub measured: f64,
    /// Standard error of `measured`.
    pub error: f64,
}

impl Prediction {
    /// Of an allocation's cost by a metric; none by one that is no KL.
    pub fn of(metric: Metric, cost: f64, comparison: &Comparison) -> Option<Self> {
        metric.is_kl().then_some(Self { metric, predicted: cost, measured: comparison.kl_mean, error: comparison.kl_error })
    }

    /// Predicted over measured; 1 where nothing was measured.
    pub fn ratio(self) -> f64 {
        if self.measured > 0.0 { self.predicted / self.measured } else { 1.0 }
    }
}

/// Writes the report of an export.
///
/// # Errors
/// `Io`.
pub fn write_report(path: &Path, source: &Source, artifact: &Artifact, exported: &Exported, proof: Proof<'_>) -> Result<()> {
    write_atomically(path, html(source, artifact, exported, proof).as_bytes())
}

fn html(source: &Source, artifact: &Artifact, exported: &Exported, proof: Proof<'_>) -> String {
    let name = source.config.name.as_deref().unwrap_or("Model");
    let recipe = &artifact.recipe;
    let weights: usize = artifact.tensors().filter_map(|t| Some(source.tensors[source.find(&t.tensor)?].elements())).sum();
    let stored: u64 = artifact.tensors().map(|t| bytes_of(source, t)).sum();
    let facts = [
        ("File", exported.path.file_name().unwrap_or_default().to_string_lossy().into_owned()),
        ("Size", format!("{} bytes", exported.bytes)),
        ("Bits per quantized weight", format!("{:.3}", stored as f64 * 8.0 / weights.max(1) as f64)),
        ("Use it", exported.serve_command.clone()),
        ("blake3 of the file", exported.hash.clone()),
        ("Recipe", recipe.hash()),
        ("Source model", source.fingerprint.clone()),
        ("Transform", source.metadata.get(TRANSFORM_KEY).and_then(MetaValue::as_str).unwrap_or("none").to_owned()),
        ("Calibration", recipe.calibration.clone().unwrap_or_else(|| "none".to_owned())),
        ("Rounding", recipe.rounding.clone()),
        ("Halftone", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let facts: String = facts.iter().fold(String::new(), |mut rows, (label, value)| {
        let _ = write!(rows, "<tr><th>{label}</th><td><code>{}</code></td></tr>", escape(value));
        rows
    });
    let title = format!("{} in {} bytes", escape(name), exported.bytes);
    let comparison = proof.comparison.map(compared).unwrap_or_default();
    let predicted = proof.prediction.map(prediction).unwrap_or_default();
    let trust = proof.trust.map(judged).unwrap_or_default();
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style><h1>{title}</h1><table>{facts}</table>{comparison}{predicted}{trust}{}{}</html>\n",
        notices(artifact),
        tensors(source, artifact),
    )
}

fn compared(c: &Comparison) -> String {
    let with_error = |label: &str, (value, error): (f64, f64)| format!("<tr><th>{label}</th><td>{value:.5} ± {error:.5}</td></tr>");
    let rows = [
        with_error("KL divergence, nats per token", (c.kl_mean, c.kl_error)),
        format!("<tr><th>its median, 90 %, 99 %, 99.9 % and largest</th><td>{}</td></tr>", c.kl_quantiles.map(|q| format!("{q:.4}")).join(" · ")),
        with_error("Perplexity before", c.perplexity_before),
        with_error("Perplexity after", c.perplexity_after),
        with_error("Share of positions with the same most likely token", c.top1),
    ];
    let (chunks, context, positions) = (c.options.chunks, c.options.context, c.tokens.len());
    format!(
        "<h2>Before and after</h2><p>{chunks} × {context} tokens, {positions} positions scored; ± is one standard error.</p><table>{}</table>",
        rows.concat()
    )
}

/// What was predicted beside what was measured.
fn prediction(prediction: Prediction) -> String {
    let Prediction { metric, predicted, measured, error } = prediction;
    let (ratio, by) = (prediction.ratio(), escape(metric.label()));
    format!(
        "<p>Before anything was written, the allocation predicted {predicted:.5} nats ({by}), {ratio:.2} of the {measured:.5} ± {error:.5} measured here.</p>"
    )
}

/// Which metric ranks candidates as the model's output does.
fn judged(trust: &Trust) -> String {
    let mut rows = String::new();
    for c in &trust.correlations {
        let used = if c.metric == trust.best { " (used)" } else { "" };
        let _ = write!(rows, "<tr><td>{}{used}<td class=n>{:.3}<td class=n>{:.3}<td class=n>{}</tr>", escape(c.metric.label()), c.spearman, c.kendall, c.cells);
    }
    let joint = &trust.all_together;
    format!(
        "<h2>How far metrics can be trusted on this model</h2><p>{} cells measured at the logits, {} tokens each. All {} tensors together cost {:.4} ± {:.4} \
         nats, the sum of each alone {:.4}; predictions are scaled by that.</p><table><tr><th>metric<th class=n>Spearman<th class=n>Kendall<th \
         class=n>cells</tr>{rows}</table>",
        trust.cells.len(),
        trust.tokens,
        joint.tensors,
        joint.together,
        joint.error,
        joint.separately,
    )
}

fn notices(artifact: &Artifact) -> String {
    let items: String = artifact.tensors().flat_map(|t| &t.notices).map(|n| format!("<li>{}</li>", escape(&n.to_string()))).collect();
    if items.is_empty() { String::new() } else { format!("<h2>Not as asked</h2><ul>{items}</ul>") }
}

fn tensors(source: &Source, artifact: &Artifact) -> String {
    let widest = artifact.tensors().map(|t| t.weight_error).fold(0.0, f64::max);
    let mut rows = String::new();
    for tensor in artifact.tensors() {
        let share = if widest > 0.0 { 100.0 * (tensor.weight_error / widest).sqrt() } else { 0.0 };
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{}</td><td class=n>{}</td><td class=n>{:.2}</td><td style=\"width:20%\"><div class=bar style=\"width:{share:.1}%\"></div></td></tr>",
            escape(&tensor.tensor),
            tensor.stored(),
            bytes_of(source, tensor),
            sqnr_from_relative_error(tensor.weight_error),
        );
    }
    format!("<h2>Tensors</h2><table><tr><th>tensor<th>stored as<th class=n>bytes<th class=n>SQNR, dB<th>error (amplitude)</tr>{rows}</table>")
}

fn bytes_of(source: &Source, tensor: &RecordHeader) -> u64 {
    source.find(&tensor.tensor).map_or(0, |i| tensor.stored().bytes(source.tensors[i].rows(), tensor.columns))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Format;
    use crate::sensitivity::{Correlation, Fit, Joint, ProbedCell};

    #[test]
    fn the_evidence_names_every_metric_the_best_first_and_the_prediction_its_ratio() {
        let correlation = |metric, spearman| Correlation { metric, spearman, kendall: spearman - 0.1, ratio: 1.0, spread: 0.2, cells: 4 };
        let cell = |kl| ProbedCell { tensor: "t".into(), stored_as: Format::F16, residual: None, kl, error: kl / 10.0 };
        let joint = Joint { tensors: 30, separately: 0.5, together: 0.25, error: 0.01 };
        let trust = Trust {
            tokens: 512,
            cells: [0.1, 0.2, 0.3, 0.4].map(cell).to_vec(),
            correlations: vec![correlation(Metric::PredictedKl, 0.975), correlation(Metric::Weight, 0.5)],
            best: Metric::PredictedKl,
            fit: Fit::of(&[(0.1, 0.1), (0.2, 0.2), (0.3, 0.3), (0.4, 0.4)]).unwrap(),
            probed_together: joint,
            all_together: joint,
        };
        let html = judged(&trust);
        let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text} is not in {html}"));
        assert!(at("Predicted KL (used)") < at("Relative weight error") && at("n>0.975<") < at("n>0.500<"), "best first: {html}");
        assert!(html.contains("4 cells measured") && html.contains("0.2500 ± 0.0100") && html.contains("0.5000"), "{html}");
        let html = prediction(Prediction { metric: Metric::CalibratedKl, predicted: 0.06, measured: 0.08, error: 0.002 });
        assert!(html.contains("0.06000 nats (Calibrated KL), 0.75 of the 0.08000 ± 0.00200"), "{html}");
    }
}
