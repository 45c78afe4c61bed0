//! `calibrate`.

use super::args::CalibrateArgs;
use super::print;
use super::session::Session;
use halftone_core::calibrate::{self, CalibrationOptions};
use halftone_core::source::Source;

/// Runs the text and saves the statistics.
pub fn run(session: &Session, args: &CalibrateArgs) -> anyhow::Result<()> {
    let source = session.open(&args.model)?;
    let text = calibrate::read_texts(&args.text)?;
    let calibration = calibrate::calibrate(&source, &text, &options(session, &source, args.tokens), &session.cx)?;
    calibration.save(&args.output)?;
    session.pause_progress();
    let tokens = calibration.inputs.values().map(|i| i.tokens).max().unwrap_or(0);
    let summary = serde_json::json!({
        "calibration": args.output, "hash": calibration.hash(), "tokens": tokens,
        "inputs": calibration.inputs.len(), "tensors": calibration.tensors.len(),
    });
    print::result(session.global.json, &summary, || {
        format!(
            "{} tokens; statistics of {} inputs for {} tensors in {}",
            print::grouped(tokens),
            calibration.inputs.len(),
            calibration.tensors.len(),
            args.output.display()
        )
    })
}

/// Options for a model under the memory limit: H = XᵀX is kept for inputs narrow enough that all of them fit.
pub fn options(session: &Session, source: &Source, tokens: usize) -> CalibrationOptions {
    let config = &source.config;
    let hidden = (3 * config.block_count + 1) * config.hidden_size.pow(2) * size_of::<f32>();
    let ffn = config.block_count * config.intermediate_size.pow(2) * size_of::<f32>();
    let limit = usize::try_from(session.global.memory).unwrap_or(usize::MAX);
    let gram_columns = match (hidden <= limit, hidden + ffn <= limit) {
        (_, true) => config.hidden_size.max(config.intermediate_size),
        (true, false) => config.hidden_size,
        (false, false) => 0,
    };
    let sequence_length = match config.context_length {
        0 => CalibrationOptions::default().sequence_length,
        trained => trained.min(CalibrationOptions::default().sequence_length),
    };
    CalibrationOptions { tokens, sequence_length, gram_columns }
}
