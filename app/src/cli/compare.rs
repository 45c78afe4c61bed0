//! `compare`.

use super::args::{CompareArgs, ModelArg};
use super::print;
use super::session::Session;
use halftone_core::Error;
use halftone_core::calibrate::read_texts;
use halftone_core::eval::{CompareOptions, Comparison, Quantized, compare};
use halftone_core::job::Artifact;
use halftone_core::model::Weights;
use std::path::Path;

/// Compares the original with a job or a file.
pub fn run(session: &Session, args: &CompareArgs) -> anyhow::Result<()> {
    let (model, other) = match (args.models.as_slice(), args.demo) {
        ([model, other], false) => (Some(model.clone()), Path::new(other)),
        ([other], true) => (None, Path::new(other)),
        _ => return Err(Error::Input("name the original (or --demo) and what was made of it".to_owned()).into()),
    };
    let source = session.open(&ModelArg { model, demo: args.demo })?;
    let tokenizer = source.tokenizer()?;
    let text = read_texts(&args.text)?;
    let options = CompareOptions { chunks: args.chunks, context: args.context };
    let run = |after: &dyn Weights| compare(&source, after, &tokenizer, &text, options, &session.cx);
    let comparison = if other.join("job.toml").is_file() {
        let artifact = Artifact::open(other)?;
        run(&Quantized { source: &source, artifact: &artifact })?
    } else {
        run(&session.open_path(other)?)?
    };
    session.pause_progress();
    print::result(session.global.json, &comparison, || describe(&comparison))
}

/// The figures, each with its standard error.
pub fn describe(c: &Comparison) -> String {
    let [p50, p90, p99, p999, max] = c.kl_quantiles;
    format!(
        "{} tokens scored ({} chunks of {})\n\
         mean KL        {:.5} ± {:.5} nats per token\n\
         KL quantiles   50 % {p50:.5}   90 % {p90:.5}   99 % {p99:.4}   99.9 % {p999:.4}   max {max:.4}\n\
         same top token {:.2} ± {:.2} %\n\
         perplexity     {:.4} ± {:.4} before, {:.4} ± {:.4} after",
        c.tokens.len(),
        c.options.chunks,
        c.options.context,
        c.kl_mean,
        c.kl_error,
        c.top1.0 * 100.0,
        c.top1.1 * 100.0,
        c.perplexity_before.0,
        c.perplexity_before.1,
        c.perplexity_after.0,
        c.perplexity_after.1,
    )
}
