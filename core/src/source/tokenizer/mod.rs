//! Text to tokens and back, from tokenizer.json or from GGUF's two families: byte-level BPE and sentencepiece scores.
//!
//! Absent on purpose: WordPiece and Unigram from GGUF keys (those models open weight-only); llama.cpp's rule that tokens which look like
//! an end of text are control tokens whatever the file says of them.

mod pretrained;
mod scores;

pub(super) mod pre;

use super::{MetaValue, Metadata};
use crate::error::{Error, Result};
use crate::report::Reporter;
use pretrained::Pretrained;
use scores::ScoredVocabulary;
use std::path::Path;

/// What a token is, by GGUF's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenType {
    /// Text.
    Normal = 1,
    /// Stands for what has no token.
    Unknown = 2,
    /// Steers the model; only written by programs.
    Control = 3,
    /// Added text, matched before anything else.
    UserDefined = 4,
    /// Never used.
    Unused = 5,
    /// One byte.
    Byte = 6,
}

impl TokenType {
    fn from_id(id: u64) -> Self {
        match id {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }
}

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    kind: Kind,
    /// Put before a text.
    bos: Option<u32>,
    eos: Option<u32>,
}

#[derive(Debug)]
enum Kind {
    Pretrained(Box<Pretrained>),
    Scores(Box<ScoredVocabulary>),
}

impl Tokenizer {
    /// From tokenizer.json; BOS and EOS are those of the metadata that was translated from the same folder, else of its template.
    pub(super) fn from_json(json: &[u8], metadata: &Metadata, path: &Path) -> Result<Self> {
        let (pretrained, template_bos) = Pretrained::from_json(json).map_err(|detail| Error::malformed("tokenizer.json", path, detail))?;
        let keys = Keys(metadata);
        let bos = match keys.flag("add_bos_token") {
            Some(true) => keys.id("bos_token_id").or(template_bos),
            Some(false) => None,
            None => template_bos,
        };
        Ok(Self { kind: Kind::Pretrained(Box::new(pretrained)), bos, eos: keys.id("eos_token_id") })
    }

    /// From GGUF keys.
    pub(super) fn from_metadata(metadata: &Metadata, path: &Path, reporter: &Reporter) -> Result<Self> {
        let keys = Keys(metadata);
        let Some(model) = keys.get("model").and_then(MetaValue::as_str) else {
            return Err(Error::unsupported("reading text with this model", "it has no tokenizer"));
        };
        let malformed = |detail: String| Error::malformed("GGUF tokenizer", path, detail);
        let (kind, adds_bos, default_bos) = match model {
            "gpt2" => {
                let (pretrained, pre) = Pretrained::from_keys(&keys, reporter).map_err(malformed)?;
                (Kind::Pretrained(Box::new(pretrained)), pre.add_bos, None)
            }
            "llama" => (Kind::Scores(Box::new(ScoredVocabulary::from_keys(&keys).map_err(malformed)?)), true, Some(1)),
            other => {
                return Err(Error::unsupported(
                    format!("the tokenizer {other:?}"),
                    "byte-level BPE (gpt2) and sentencepiece scores (llama) are read from GGUF",
                ));
            }
        };
        let size = keys.tokens().map_err(malformed)?.len();
        let known = |id: &u32| (*id as usize) < size;
        let bos = keys.id("bos_token_id").or(default_bos).filter(known);
        Ok(Self { kind, bos: bos.filter(|_| keys.flag("add_bos_token").unwrap_or(adds_bos)), eos: keys.id("eos_token_id").filter(known) })
    }

    /// Token ids of a text. With `special`, what the model puts in front of a text (BOS) is put there, and special tokens in the text are recognised.
    ///
    /// # Errors
    /// `Input` when the text cannot be encoded.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let mut tokens = Vec::with_capacity(text.len() / 4 + 1);
        tokens.extend(self.bos.filter(|_| special));
        match &self.kind {
            Kind::Pretrained(pretrained) => pretrained.encode(text, special, &mut tokens)?,
            Kind::Scores(scores) => scores.encode(text, special, &mut tokens)?,
        }
        Ok(tokens)
    }

    /// The text of some tokens, special ones included. The space that some models put before a text is taken away again.
    pub fn decode(&self, tokens: &[u32]) -> String {
        match &self.kind {
            Kind::Pretrained(pretrained) => pretrained.decode(tokens),
            Kind::Scores(scores) => scores.decode(tokens),
        }
    }

    /// One token as it stands in running text, its leading space kept; a part of a character is shown as �.
    pub fn piece(&self, token: u32) -> String {
        match &self.kind {
            Kind::Pretrained(pretrained) => pretrained.piece(token),
            Kind::Scores(scores) => String::from_utf8_lossy(&scores.bytes(token)).into_owned(),
        }
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        match &self.kind {
            Kind::Pretrained(pretrained) => pretrained.vocab_size(),
            Kind::Scores(scores) => scores.vocab_size(),
        }
    }

    /// The token put before a text, when the model wants one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }
}

/// The `tokenizer.ggml.*` keys of a model.
struct Keys<'a>(&'a Metadata);

impl<'a> Keys<'a> {
    fn get(&self, key: &str) -> Option<&'a MetaValue> {
        self.0.get(&format!("tokenizer.ggml.{key}"))
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(MetaValue::as_bool)
    }

    fn id(&self, key: &str) -> Option<u32> {
        self.get(key).and_then(MetaValue::as_u64).and_then(|id| u32::try_from(id).ok())
    }

    fn array(&self, key: &str) -> Option<&'a [MetaValue]> {
        self.get(key).and_then(MetaValue::as_array)
    }

    fn tokens(&self) -> Result<Vec<&'a str>, String> {
        let tokens = self.array("tokens").filter(|t| !t.is_empty() && u32::try_from(t.len()).is_ok()).ok_or("there are no tokens")?;
        tokens.iter().map(|t| t.as_str().ok_or_else(|| "a token is not a string".to_owned())).collect()
    }

    /// The type of every token; normal where the file does not say.
    fn types(&self, count: usize) -> Vec<TokenType> {
        let said = self.array("token_type").unwrap_or_default();
        (0..count).map(|id| said.get(id).and_then(MetaValue::as_u64).map_or(TokenType::Normal, TokenType::from_id)).collect()
    }
}
