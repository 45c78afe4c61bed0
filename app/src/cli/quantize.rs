//! `quantize`.

use super::args::QuantizeArgs;
use super::measure::load_calibration;
use super::session::Session;
use super::{calibrate, print};
use halftone_core::job::{Artifact, QuantizeOptions, SequentialText, quantize, quantize_sequentially};
use halftone_core::numeric::metric::sqnr_from_relative_error;
use halftone_core::recipe::Recipe;

/// Quantizes into a job folder.
pub fn run(session: &Session, args: &QuantizeArgs) -> anyhow::Result<()> {
    let source = session.open(&args.model)?;
    let mut recipe = Recipe::load(&args.recipe)?;
    if let Some(rounding) = &args.rounding {
        recipe.rounding.clone_from(rounding);
    }
    let calibration = args.calibration.as_deref().map(|path| load_calibration(path, &source)).transpose()?;
    let options = QuantizeOptions { folder: args.output.clone() };
    let mut cx = session.cx.clone();
    let artifact = if args.sequential {
        cx.scratch.folder = session.beside(&args.output).scratch.folder;
        let how = calibrate::block_options(session, &source, args.tokens);
        let (sequences, text) = calibrate::sequences(session, &args.text, &[], &source, &how)?;
        quantize_sequentially(&source, &SequentialText { sequences, text, options: how }, &recipe, &options, &cx)?
    } else {
        quantize(&source, calibration.as_ref(), &recipe, &options, &cx)?
    };
    session.pause_progress();
    let records: Vec<_> = artifact.tensors().collect();
    print::result(session.global.json, &serde_json::json!({ "job": args.output, "tensors": records }), || text(&artifact))
}

fn text(artifact: &Artifact) -> String {
    let rows: Vec<Vec<String>> =
        artifact.tensors().map(|r| vec![r.tensor.clone(), r.stored().to_string(), format!("{:.2}", sqnr_from_relative_error(r.weight_error))]).collect();
    let kept: u64 = artifact.tensors().filter_map(|r| Some(r.residual?.bytes)).sum();
    let kept = if kept > 0 { format!(", {} bytes of them residuals", print::grouped(kept)) } else { String::new() };
    format!("{}\n\n{} tensors in {}{kept}", print::table(&["tensor", "stored as", "SQNR dB"], &rows), rows.len(), artifact.folder.display())
}
