//! From a kind of job to the room that does it.

use super::resume::{quantize_durably, resume};
use super::{JobContext, JobKind, Product};
use crate::error::Result;
use crate::eval::Quantized;
use crate::refine::{SearchSequences, Start, refine};
use crate::{calibrate, eval, export, sensitivity, source, tensor};
use std::sync::Arc;

/// Does a job on this thread.
///
/// # Errors
/// What its room says; `Cancelled`.
pub fn run(kind: JobKind, cx: &JobContext) -> Result<Product> {
    Ok(match kind {
        JobKind::Open { path } => Product::Source(Arc::new(source::open(&path, &cx.reporter)?)),
        JobKind::Statistics { source } => Product::Statistics(Arc::new(tensor::survey(&source, cx)?)),
        JobKind::Calibrate { source, text, options } => Product::Calibration(Arc::new(calibrate::calibrate(&source, &text, &options, cx)?)),
        JobKind::Measure { source, calibration, options } => Product::Table(Arc::new(sensitivity::measure(&source, calibration.as_deref(), &options, cx)?)),
        JobKind::Judge { source, calibration, table, text, cells } => {
            let sequences = sensitivity::gradient_sequences(&source, &text, sensitivity::JUDGED_TOKENS)?;
            Product::Judged(Arc::new(sensitivity::judge(&source, calibration.as_deref(), &table, &sequences, cells, cx)?))
        }
        JobKind::Refine { source, calibration, problem, recipe, text, options } => {
            let text = SearchSequences::of(&source, &text)?;
            let start = Start { problem: &problem, recipe: &recipe, text: &text, options: &options };
            let found = refine(&source, calibration.as_deref(), start, cx)?;
            Product::Refined(Arc::new(found), Box::new(recipe))
        }
        JobKind::Quantize { source, calibration, recipe, options } => {
            Product::Artifact(Arc::new(quantize_durably(&source, calibration.as_deref(), &recipe, &options, cx)?))
        }
        JobKind::Resume { source, folder } => Product::Artifact(Arc::new(resume(&source, &folder, cx)?)),
        JobKind::Compare { source, artifact, text, options } => {
            let after = Quantized { source: &source, artifact: &artifact };
            let tokenizer = source.tokenizer()?;
            let options = eval::CompareOptions { runtime: artifact.recipe.target.into(), ..options };
            Product::Comparison(Arc::new(eval::compare(&*source, &after, &tokenizer, &text, options, cx)?))
        }
        JobKind::Generate { source, artifact, prompt, options } => {
            let after = Quantized { source: &source, artifact: &artifact };
            Product::Generated(Arc::new(eval::continue_both(&*source, &after, &*source.tokenizer()?, &prompt, options, cx)?))
        }
        JobKind::Export { source, artifact, format, path } => Product::Exported(Arc::new(export::writer(format).write(&source, &artifact, &path, cx)?)),
    })
}
