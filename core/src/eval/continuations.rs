//! The same prompt continued by both models, with the same seed: what the differences in the numbers read like.
//!
//! One model is in memory at a time, 4 bytes a weight. A sampled text says little about quality: one other token early on and the rest
//! goes its own way. So the number of tokens that both share is given, and nothing is concluded from it.

use crate::error::{Error, Result};
use crate::job::{JobContext, Stage};
use crate::model::{GenerateOptions, Weights, generate};
use crate::source::Tokenizer;
use serde::Serialize;

/// Two continuations of one prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Continuations {
    /// Where both begin.
    pub prompt: String,
    /// How the tokens were chosen.
    pub options: GenerateOptions,
    /// The original's text up to the first difference; both have it.
    pub shared: String,
    /// The rest of the original's text.
    pub before: String,
    /// The rest of the quantized model's text.
    pub after: String,
    /// Tokens of `shared`.
    pub shared_tokens: usize,
    /// Tokens that the original made.
    pub before_tokens: usize,
    /// Tokens that the quantized model made.
    pub after_tokens: usize,
}

/// Continues `prompt` with both models.
///
/// # Errors
/// `Input` for a prompt without tokens; as [`generate`]; `Cancelled`.
pub fn continue_both(
    before: &dyn Weights,
    after: &dyn Weights,
    tokenizer: &Tokenizer,
    prompt: &str,
    options: GenerateOptions,
    cx: &JobContext,
) -> Result<Continuations> {
    let tokens = tokenizer.encode(prompt, true)?;
    if tokens.is_empty() {
        return Err(Error::Input("there is no prompt to continue".to_owned()));
    }
    let total = 2 * options.tokens as u64;
    cx.progress(Stage::Generate, 0, total);
    let made = |weights: &dyn Weights, from: u64| {
        let mut done = from;
        generate(weights, &tokens, tokenizer.eos(), &options, cx, |_| {
            done += 1;
            cx.progress(Stage::Generate, done, total);
        })
    };
    let first = made(before, 0)?;
    let second = made(after, options.tokens as u64)?;
    let common = first.iter().zip(&second).take_while(|(a, b)| a == b).count();
    // Decoded behind the prompt, because a text of its own would lose its first space with some tokenizers.
    let start = tokenizer.decode(&tokens);
    let text = |made: &[u32]| {
        let whole = tokenizer.decode(&[&tokens, made].concat());
        whole.strip_prefix(&start).map_or_else(|| tokenizer.decode(made), str::to_owned)
    };
    let (before_text, after_text) = (text(&first), text(&second));
    let shared: String = before_text.chars().zip(after_text.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
    Ok(Continuations {
        prompt: prompt.to_owned(),
        options,
        before: before_text[shared.len()..].to_owned(),
        after: after_text[shared.len()..].to_owned(),
        shared,
        shared_tokens: common,
        before_tokens: first.len(),
        after_tokens: second.len(),
    })
}
