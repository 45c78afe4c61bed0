//! What the trained model is worth: held-out loss, the same after plain rounding, samples, and the README that says so.

use super::model::{DEMO, Model};
use anyhow::{Result, anyhow};
use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fmt::Write as _;
use std::path::Path;
use tokenizers::Tokenizer;

/// Weights that share a scale and a minimum.
const GROUP: usize = 32;

/// Mean cross-entropy in nats over whole windows of the context's length, each begun with end of text.
///
/// # Errors
/// What candle reports.
pub fn mean_loss(model: &Model, tokens: &[u32], end: u32) -> Result<f64> {
    let (mut sum, mut windows) = (0.0, 0);
    for chunk in tokens.chunks_exact(DEMO.context) {
        let window = std::iter::once(end).chain(chunk.iter().copied()).collect();
        sum += f64::from(super::loss(model, &[window])?.to_scalar::<f32>()?);
        windows += 1;
    }
    Ok(sum / f64::from(windows.max(1)))
}

/// Measures the files in `folder` and writes the README's text.
///
/// # Errors
/// When a file cannot be read, or candle fails.
pub fn report(folder: &Path, tokenizer: &Tokenizer, heldout: &[u32], end: u32, steps: usize) -> Result<String> {
    let file = folder.join("model.safetensors");
    let model = Model::load(DEMO, &file)?;
    let loss = mean_loss(&model, heldout, end)?;
    let mut table =
        format!("| weights of the linears | held-out loss (nats) | perplexity |\n| --- | --- | --- |\n| BF16, as stored | {loss:.4} | {:.3} |\n", loss.exp());
    for bits in [8, 6, 5, 4, 3, 2] {
        let rounded = Model::load(DEMO, &file)?;
        rounded.map_linears(|row| row.chunks_mut(GROUP).for_each(|group| round_group(group, bits)))?;
        let loss = mean_loss(&rounded, heldout, end)?;
        writeln!(table, "| {bits} bits | {loss:.4} | {:.3} |", loss.exp())?;
    }
    let samples: Vec<String> = (0..2).map(|seed| sample(&model, tokenizer, end, 0.7, seed)).collect::<Result<_>>()?;
    Ok(format!(
        "# The demo model\n\n\
         A llama of {} parameters ({} blocks, {} wide, {} query and {} key-value heads of {}, feed-forward {}, {} tokens, context {}, tied head),\n\
         stored in BF16. It tells small stories and is trained here, on text of our own: `cargo xtask train-demo` remakes every file of this\n\
         folder from seeds ({steps} steps of {} tokens; the grammar is `xtask/src/train/grammar.rs`).\n\n\
         | file | what |\n| --- | --- |\n\
         | `model.safetensors`, `config.json` | the model in Hugging Face's layout |\n\
         | `tokenizer.json`, `tokenizer_config.json` | byte-level BPE; `<|endoftext|>` begins and ends a text |\n\
         | `calibration.txt` | stories of another seed, to calibrate on |\n\
         | `heldout.txt` | stories of a third seed, to measure on; never trained on |\n\n\
         ## Figures\n\n\
         Mean loss over `heldout.txt` in windows of {} tokens, each begun with `<|endoftext|>`. Rounded: every linear to the nearest of 2^bits\n\
         levels between the minimum and maximum of each {GROUP} weights of a row; embedding and norms as stored.\n\n\
         {table}\n\
         ## Two samples\n\nTemperature 0.7, from `<|endoftext|>` alone.\n\n{}\n",
        model.len(),
        DEMO.blocks,
        DEMO.hidden,
        DEMO.heads,
        DEMO.kv_heads,
        DEMO.head_dim,
        DEMO.ffn,
        DEMO.vocab,
        DEMO.context,
        super::BATCH * DEMO.context,
        DEMO.context,
        samples.iter().map(|s| s.lines().map(|l| format!("> {l}").trim_end().to_owned() + "\n").collect::<String>()).collect::<Vec<_>>().join("\n---\n\n"),
    ))
}

/// Plain rounding to `2^bits` levels between the smallest and largest weight.
fn round_group(group: &mut [f32], bits: i32) {
    let (min, max) = group.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), w| (lo.min(*w), hi.max(*w)));
    let scale = (max - min) / (2.0_f32.powi(bits) - 1.0);
    if scale > 0.0 {
        group.iter_mut().for_each(|w| *w = ((*w - min) / scale).round() * scale + min);
    }
}

/// A story told until end of text or a full context, drawn at `temperature`.
fn sample(model: &Model, tokenizer: &Tokenizer, end: u32, temperature: f64, seed: u64) -> Result<String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tokens = vec![end];
    while tokens.len() < DEMO.context {
        let input = Tensor::new(&tokens[..], &Device::Cpu)?.unsqueeze(0)?;
        let logits = model.forward(&input)?.get(tokens.len() - 1)?.to_vec1::<f32>()?;
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f64> = logits.iter().map(|l| (f64::from(l - max) / temperature).exp()).collect();
        let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
        let next = weights.iter().position(|w| {
            left -= w;
            left <= 0.0
        });
        match next.unwrap_or(0) as u32 {
            token if token == end => break,
            token => tokens.push(token),
        }
    }
    tokenizer.decode(&tokens[1..], false).map_err(|e| anyhow!("decoding: {e}"))
}

#[cfg(test)]
mod tests {
    use super::round_group;

    #[test]
    fn rounding_keeps_the_ends_of_a_group_and_errs_by_half_a_step_at_most() {
        let weights: Vec<f32> = (0..32).map(|i| (i as f32 * 0.7).sin()).collect();
        let (min, max) = weights.iter().fold((f32::MAX, f32::MIN), |(lo, hi), w| (lo.min(*w), hi.max(*w)));
        for bits in [2, 4, 8] {
            let mut rounded = weights.clone();
            round_group(&mut rounded, bits);
            let half_step = (max - min) / (2.0_f32.powi(bits) - 1.0) / 2.0;
            assert!(weights.iter().zip(&rounded).all(|(w, r)| (w - r).abs() <= half_step * 1.001));
            assert!(rounded.iter().any(|r| (r - min).abs() < 1e-6) && rounded.iter().any(|r| (r - max).abs() < 1e-6));
        }
    }
}
