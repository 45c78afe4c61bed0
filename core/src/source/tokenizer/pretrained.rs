//! Tokenizers that the `tokenizers` crate runs: any tokenizer.json, and byte-level BPE built from GGUF's tokens and merges.

use super::pre::{self, PRE_TOKENIZERS, PreTokenizer};
use super::{Keys, MetaValue, TokenType};
use crate::error::{Error, Result};
use crate::report::{NoticeKind, Reporter};
use rayon::prelude::*;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

/// Texts are cut into parts of about this many bytes, which are encoded in parallel.
const PART_BYTES: usize = 16 << 10;

/// A tokenizer of the crate, twice: one that recognises special tokens in a text, one that takes them for text.
pub(super) struct Pretrained {
    special: Tokenizer,
    plain: Tokenizer,
    /// Whether a text may be cut at line ends without changing its tokens.
    divisible: bool,
}

impl std::fmt::Debug for Pretrained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pretrained").field("vocab_size", &self.vocab_size()).finish_non_exhaustive()
    }
}

impl Pretrained {
    /// From the bytes of a tokenizer.json; with the token that its template puts before a text.
    pub(super) fn from_json(json: &[u8]) -> Result<(Self, Option<u32>), String> {
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(|e| e.to_string())?;
        // Sentence-embedding models store how they were run: cut to 128 tokens and padded.
        tokenizer.with_truncation(None).map_err(|e| e.to_string())?;
        tokenizer.with_padding(None);
        let empty = tokenizer.encode("", true).map_err(|e| e.to_string())?;
        let value: serde_json::Value = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        let first_is_special = value.pointer("/post_processor/single/0/SpecialToken").is_some()
            || value
                .pointer("/post_processor/processors")
                .and_then(|p| p.as_array())
                .is_some_and(|p| p.iter().any(|p| p.pointer("/single/0/SpecialToken").is_some()));
        let bos = empty.get_ids().first().copied().filter(|_| first_is_special);
        let known = value.get("pre_tokenizer").is_some_and(|p| pre::recognise(p, false).is_some());
        let normalizes = value.get("normalizer").is_some_and(|n| !n.is_null());
        Ok((Self::new(tokenizer, known && !normalizes), bos))
    }

    /// From GGUF's tokens, merges and the name of its pre-tokenizer.
    pub(super) fn from_keys(keys: &Keys<'_>, reporter: &Reporter) -> Result<(Self, &'static PreTokenizer), String> {
        let name = keys.get("pre").and_then(MetaValue::as_str).unwrap_or("default");
        let pre = pre::named(name).unwrap_or_else(|| {
            let text = format!("the pre-tokenizer {name:?} is not known; the default one is used, and tokens may differ from the model's own");
            reporter.notice(None, NoticeKind::Other { text });
            &PRE_TOKENIZERS[0]
        });
        let tokens = keys.tokens()?;
        let vocabulary: Vocab = tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id as u32)).collect();
        let listed = keys.array("merges").ok_or("there are no merges")?;
        // The separating space is never the first character of a token.
        let pair = |merge: &str| {
            let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at)?;
            let (a, b) = (&merge[..at], &merge[at + 1..]);
            let known = vocabulary.contains_key(a) && vocabulary.contains_key(b) && vocabulary.contains_key(&format!("{a}{b}"));
            known.then(|| (a.to_owned(), b.to_owned()))
        };
        let merges: Merges = listed.iter().filter_map(|m| pair(m.as_str()?)).collect();
        if merges.len() < listed.len() {
            let text = format!("{} merges of the tokenizer name tokens that do not exist; they are left out", listed.len() - merges.len());
            reporter.notice(None, NoticeKind::Other { text });
        }
        let model = BPE::builder().vocab_and_merges(vocabulary, merges).ignore_merges(pre.ignore_merges).build().map_err(|e| e.to_string())?;
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(steps(pre)?));
        tokenizer.with_decoder(Some(ByteLevel::default()));
        let added = |special: bool| {
            let types = keys.types(tokens.len());
            let wanted = move |kind: TokenType| match kind {
                TokenType::Control | TokenType::Unknown => special,
                TokenType::UserDefined => !special,
                _ => false,
            };
            tokens
                .iter()
                .zip(types)
                .filter(move |(text, kind)| wanted(*kind) && !text.is_empty())
                .map(move |(text, _)| AddedToken::from(*text, special).normalized(false))
        };
        tokenizer.add_special_tokens(added(true).collect::<Vec<_>>()).map_err(|e| e.to_string())?;
        tokenizer.add_tokens(added(false).collect::<Vec<_>>()).map_err(|e| e.to_string())?;
        Ok((Self::new(tokenizer, true), pre))
    }

    fn new(special: Tokenizer, cuts_at_line_ends: bool) -> Self {
        let mut plain = special.clone();
        plain.set_encode_special_tokens(true);
        let divisible =
            cuts_at_line_ends && !special.get_added_tokens_decoder().values().any(|token| token.content.contains('\n') || token.rstrip || token.lstrip);
        Self { special, plain, divisible }
    }

    pub(super) fn encode(&self, text: &str, special: bool, tokens: &mut Vec<u32>) -> Result<()> {
        let tokenizer = if special { &self.special } else { &self.plain };
        let parts = if self.divisible { parts(text, PART_BYTES) } else { vec![text] };
        let encode = |part: &&str| tokenizer.encode_fast(*part, false).map(|e| e.get_ids().to_vec()).map_err(|e| Error::Input(format!("tokenize: {e}")));
        let encoded: Vec<Vec<u32>> = parts.par_iter().map(encode).collect::<Result<_>>()?;
        tokens.extend(encoded.into_iter().flatten());
        Ok(())
    }

    pub(super) fn decode(&self, tokens: &[u32]) -> String {
        // Only a decoder that does not fit its own vocabulary fails; the tokens' own texts are then the best there is.
        self.special.decode(tokens, false).unwrap_or_else(|_| tokens.iter().filter_map(|t| self.special.id_to_token(*t)).collect())
    }

    pub(super) fn piece(&self, token: u32) -> String {
        let text = self.special.id_to_token(token).unwrap_or_default();
        // Decoders in sentencepiece's manner drop the space of the first token.
        if text.starts_with('▁') { text.replace('▁', " ") } else { self.decode(&[token]) }
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.special.get_vocab_size(true)
    }
}

/// The patterns as the crate runs them, and bytes written as letters at the end.
fn steps(pre: &PreTokenizer) -> Result<Sequence, String> {
    let split = |pattern: &&str| Split::new(SplitPattern::Regex((*pattern).to_owned()), SplitDelimiterBehavior::Isolated, false);
    let mut steps: Vec<PreTokenizerWrapper> = pre.patterns.iter().map(|p| split(p).map(Into::into).map_err(|e| e.to_string())).collect::<Result<_, _>>()?;
    steps.push(ByteLevel::new(false, true, false).into());
    Ok(Sequence::new(steps))
}

/// Cuts after line ends that stand between something visible and a letter or digit, about every `least` bytes: no pattern of
/// [`PRE_TOKENIZERS`] reaches over such a place, so the tokens of the parts are the tokens of the whole.
fn parts(text: &str, least: usize) -> Vec<&str> {
    let mut parts = Vec::with_capacity(text.len() / least + 1);
    let mut start = 0;
    for (at, _) in text.match_indices('\n') {
        let end = at + 1;
        let before = || text[..at].chars().next_back().is_some_and(|c| !c.is_whitespace());
        let after = || text[end..].chars().next().is_some_and(char::is_alphanumeric);
        if end - start >= least && before() && after() {
            parts.push(&text[start..end]);
            start = end;
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

    static STEPS: std::sync::LazyLock<Vec<Sequence>> = std::sync::LazyLock::new(|| PRE_TOKENIZERS.iter().map(|pre| steps(pre).unwrap()).collect());

    /// The words a text is cut into before merging.
    fn words(steps: &Sequence, text: &str) -> Vec<String> {
        let mut cut = PreTokenizedString::from(text);
        steps.pre_tokenize(&mut cut).unwrap();
        cut.get_splits(OffsetReferential::Original, OffsetType::Byte).into_iter().map(|(word, _, _)| word.to_owned()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn cutting_a_text_into_parts_changes_no_word(text in "([aZ1世]|[!/'\u{301}]|[ \n\r]|\n|[^a]){0,60}") {
            for (pre, steps) in PRE_TOKENIZERS.iter().zip(&*STEPS) {
                let apart: Vec<String> = parts(&text, 1).into_iter().flat_map(|part| words(steps, part)).collect();
                prop_assert_eq!(words(steps, &text), apart, "{:?}", pre.names[0]);
            }
        }
    }
}
