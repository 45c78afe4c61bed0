//! The demo model's tokenizer: byte-level BPE as GPT-2 has it, trained on the stories.
//!
//! One special token, `<|endoftext|>` (id 0), both begins and ends a text. Nothing is added on encoding.

use anyhow::{Result, anyhow};
use std::path::Path;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

/// Begin and end of text.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Trains a vocabulary of `size` tokens (the 256 bytes among them) on the `texts`.
///
/// # Errors
/// What the trainer reports.
pub fn train(texts: &[String], size: usize) -> Result<Tokenizer> {
    let mut tokenizer = Tokenizer::new(ModelWrapper::BPE(BPE::default()));
    tokenizer.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(false)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    let trainer = BpeTrainer::builder()
        .vocab_size(size)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut TrainerWrapper::from(trainer), texts.iter()).map_err(|e| anyhow!("training the tokenizer: {e}"))?;
    Ok(tokenizer)
}

/// Token ids of `text`, with nothing added.
///
/// # Errors
/// What the tokenizer reports.
pub fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    Ok(tokenizer.encode(text, false).map_err(|e| anyhow!("encoding: {e}"))?.get_ids().to_vec())
}

/// Writes `tokenizer.json` and `tokenizer_config.json` into `folder`.
///
/// # Errors
/// When a file cannot be written.
pub fn save(tokenizer: &Tokenizer, folder: &Path, context: usize) -> Result<()> {
    tokenizer.save(folder.join("tokenizer.json"), true).map_err(|e| anyhow!("writing tokenizer.json: {e}"))?;
    let config = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "add_bos_token": false,
        "add_prefix_space": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": context,
    });
    std::fs::write(folder.join("tokenizer_config.json"), format!("{config:#}\n"))?;
    Ok(())
}
