//! The size of the probe, its text, and what it and calibration cost: the same for the window and the command line.
//!
//! Costs are counts of floating-point operations for estimates of time. They leave out attention over the context and the vector
//! operations, which are a few percent at these lengths.

use crate::calibrate::{CalibrationOptions, SearchText, sequences};
use crate::error::Result;
use crate::gradient::GRADIENT_TOKENS;
use crate::source::{Role, Source};

/// Sequences that the probe runs: few, because every tensor runs them.
pub const PROBE_SEQUENCES: usize = 4;
/// Their length, tokens.
pub const PROBE_LENGTH: usize = 128;

/// Tokens that each cell is measured on where a table's metrics are judged: a pass forward alone, and so a part of those of gradients.
pub const JUDGED_TOKENS: usize = GRADIENT_TOKENS / 4;

/// The probe's sequences from a text, which neither calibration nor the hold-out may share.
///
/// # Errors
/// `Unsupported` without a tokenizer, `Input` for too little text.
pub fn probe_sequences(source: &Source, text: &SearchText) -> Result<Vec<Vec<u32>>> {
    sequences(&*source.tokenizer()?, text.as_str(), PROBE_LENGTH, Some(PROBE_SEQUENCES))
}

/// The sequences that gradients are followed on, `tokens` in all, as long as the probe's.
///
/// # Errors
/// As [`probe_sequences`].
pub fn gradient_sequences(source: &Source, text: &SearchText, tokens: usize) -> Result<Vec<Vec<u32>>> {
    sequences(&*source.tokenizer()?, text.as_str(), PROBE_LENGTH, Some((tokens / PROBE_LENGTH).max(1)))
}

/// Operations of running a model over calibration text and adding up XᵀX of the inputs that are at most `gram_columns` wide.
pub fn calibration_work(source: &Source, options: &CalibrationOptions) -> f64 {
    let gram = |role: Role| matches!(role, Role::Query | Role::AttentionOutput | Role::Gate | Role::Down);
    let per_token: f64 = linears(source)
        .map(|t| {
            let square = if gram(t.role) && t.columns() <= options.gram_columns { (t.columns() as f64).powi(2) } else { 0.0 };
            2.0 * t.elements() as f64 + square
        })
        .sum();
    per_token * options.tokens as f64
}

/// Operations of following gradients: a pass forward, another for the graphs and one back, and the sums of both sides of every linear.
pub fn gradient_work(source: &Source, full_columns: usize) -> f64 {
    let head = source.config.vocab_size as f64 * source.config.hidden_size as f64;
    let square = |columns: usize| if columns <= full_columns { (columns as f64).powi(2) } else { 0.0 };
    let per_token: f64 = linears(source).map(|t| 6.0 * t.elements() as f64 + square(t.rows()) + square(t.columns())).sum();
    (per_token + 4.0 * head) * GRADIENT_TOKENS as f64
}

/// Operations of the probe: each tensor's variant runs the blocks from its own to the last one, then the head.
pub fn probe_work(source: &Source) -> f64 {
    let blocks = source.config.block_count;
    let mut of_block = vec![0.0; blocks];
    for tensor in linears(source) {
        if let Some(sum) = tensor.block.and_then(|b| of_block.get_mut(b)) {
            *sum += tensor.elements() as f64;
        }
    }
    let head = source.config.vocab_size as f64 * source.config.hidden_size as f64;
    // Behind[b]: weights of block b and all after it.
    let mut behind = vec![0.0; blocks + 1];
    for block in (0..blocks).rev() {
        behind[block] = behind[block + 1] + of_block[block];
    }
    let quantizable = source.tensors.iter().filter(|t| t.quantizable());
    let weights: f64 = quantizable.map(|t| head + behind[t.block.unwrap_or(if t.role == Role::Head { blocks } else { 0 }).min(blocks)]).sum();
    2.0 * weights * (PROBE_SEQUENCES * PROBE_LENGTH) as f64
}

/// The weight matrices of the blocks.
fn linears(source: &Source) -> impl Iterator<Item = &crate::source::TensorEntry> {
    source.tensors.iter().filter(|t| t.quantizable() && t.block.is_some())
}
