//! Text to tokens and back, from tokenizer.json or from GGUF's two families: byte-level BPE and sentencepiece scores.

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {}

impl Tokenizer {
    /// Token ids of a text. With `special`, what the model puts in front of a text (BOS) is put there, and special tokens in the text are recognised.
    ///
    /// # Errors
    /// `Input` when the text cannot be encoded.
    pub fn encode(&self, text: &str, special: bool) -> crate::Result<Vec<u32>> {
        let _ = (text, special);
        todo!("source room")
    }

    /// The text of some tokens.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let _ = tokens;
        todo!("source room")
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        todo!("source room")
    }

    /// The token put before a text, when the model wants one.
    pub fn bos(&self) -> Option<u32> {
        todo!("source room")
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        todo!("source room")
    }
}
