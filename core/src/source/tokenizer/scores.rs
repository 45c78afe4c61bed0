//! Sentencepiece's BPE as llama.cpp runs it: spaces become ▁, neighbours merge highest score first, what has no token becomes bytes.

use super::{Keys, MetaValue, TokenType};
use crate::error::{Error, Result};
use rayon::prelude::*;
use regex::{Regex, RegexBuilder};
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

const SPACE: char = '▁';

/// A vocabulary with scores.
pub(super) struct ScoredVocabulary {
    tokens: Vec<String>,
    scores: Vec<f32>,
    types: Vec<TokenType>,
    ids: HashMap<String, u32>,
    /// Token of each byte.
    byte_tokens: Vec<Option<u32>>,
    unknown: Option<u32>,
    adds_space: bool,
    /// No token holds a line end and something else, so lines can be merged apart from each other.
    lines_are_apart: bool,
    /// Matches added tokens; the other matches control tokens too.
    added: Option<Regex>,
    added_and_control: Option<Regex>,
}

impl std::fmt::Debug for ScoredVocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScoredVocabulary").field("vocab_size", &self.tokens.len()).finish_non_exhaustive()
    }
}

impl ScoredVocabulary {
    pub(super) fn from_keys(keys: &Keys<'_>) -> Result<Self, String> {
        let tokens: Vec<String> = keys.tokens()?.into_iter().map(str::to_owned).collect();
        let types = keys.types(tokens.len());
        let scores = keys.array("scores").unwrap_or_default();
        let score = |id: usize| scores.get(id).and_then(number).filter(|s| !s.is_nan()).unwrap_or(0.0);
        let scores = (0..tokens.len()).map(score).collect();
        let ids: HashMap<String, u32> = tokens.iter().enumerate().map(|(id, token)| (token.clone(), id as u32)).collect();
        let of_byte = |byte: u8| ids.get(&format!("<0x{byte:02X}>")).or_else(|| ids.get(std::str::from_utf8(&[byte]).ok()?)).copied();
        let lines_are_apart = !tokens.iter().any(|t| t.len() > 1 && t.contains('\n'));
        Ok(Self {
            byte_tokens: (0..=u8::MAX).map(of_byte).collect(),
            unknown: keys.id("unknown_token_id").or(Some(0)).filter(|id| (*id as usize) < tokens.len()),
            adds_space: keys.flag("add_space_prefix").unwrap_or(true),
            lines_are_apart,
            added: matcher(&tokens, &types, |t| t == TokenType::UserDefined)?,
            added_and_control: matcher(&tokens, &types, |t| matches!(t, TokenType::UserDefined | TokenType::Control | TokenType::Unknown))?,
            tokens,
            scores,
            types,
            ids,
        })
    }

    pub(super) fn encode(&self, text: &str, special: bool, out: &mut Vec<u32>) -> Result<()> {
        let matcher = if special { &self.added_and_control } else { &self.added };
        // A space goes before the text, and before what follows a special token.
        let mut at = 0;
        for found in matcher.iter().flat_map(|regex| regex.find_iter(text)) {
            self.encode_text(&text[at..found.start()], out)?;
            out.extend(self.ids.get(found.as_str()));
            at = found.end();
        }
        self.encode_text(&text[at..], out)
    }

    fn encode_text(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let mut escaped = String::with_capacity(text.len() * 5 / 4);
        if self.adds_space {
            escaped.push(SPACE);
        }
        escaped.extend(text.chars().map(|c| if c == ' ' { SPACE } else { c }));
        if !self.lines_are_apart {
            return self.merge(&escaped).map(|tokens| out.extend(tokens));
        }
        let lines: Vec<&str> = escaped.split_inclusive('\n').collect();
        let merged: Vec<Vec<u32>> = lines.par_iter().map(|line| self.merge(line)).collect::<Result<_>>()?;
        out.extend(merged.into_iter().flatten());
        Ok(())
    }

    /// Merges the neighbours whose joint token has the highest score, the leftmost of equals, until none are left.
    fn merge(&self, text: &str) -> Result<Vec<u32>> {
        let mut symbols: Vec<Symbol> = Vec::with_capacity(text.len());
        for (start, c) in text.char_indices() {
            let index = symbols.len();
            symbols.push(Symbol { start, end: start + c.len_utf8(), previous: index.checked_sub(1), next: Some(index + 1) });
        }
        if let Some(last) = symbols.last_mut() {
            last.next = None;
        }
        let mut queue = BinaryHeap::new();
        let offer = |queue: &mut BinaryHeap<Bigram>, symbols: &[Symbol], left: Option<usize>, right: Option<usize>| {
            let (Some(left), Some(right)) = (left, right) else { return };
            let end = symbols[right].end;
            if let Some(id) = self.ids.get(&text[symbols[left].start..end]) {
                queue.push(Bigram { score: self.scores[*id as usize], left, right, end, middle: symbols[left].end });
            }
        };
        for right in 1..symbols.len() {
            offer(&mut queue, &symbols, Some(right - 1), Some(right));
        }
        while let Some(Bigram { left, right, end, middle, .. }) = queue.pop() {
            // Either side may have been merged with another since: then its end is not what it was, or it is empty.
            let gone = |i: usize| symbols[i].start == symbols[i].end;
            if gone(left) || gone(right) || symbols[left].end != middle || symbols[right].end != end {
                continue;
            }
            symbols[left].end = end;
            symbols[right].start = end;
            symbols[left].next = symbols[right].next;
            if let Some(next) = symbols[left].next {
                symbols[next].previous = Some(left);
            }
            offer(&mut queue, &symbols, symbols[left].previous, Some(left));
            offer(&mut queue, &symbols, Some(left), symbols[left].next);
        }
        let mut tokens = Vec::with_capacity(symbols.len());
        let mut at = (!symbols.is_empty()).then_some(0);
        while let Some(index) = at {
            self.push(&text[symbols[index].start..symbols[index].end], &mut tokens)?;
            at = symbols[index].next;
        }
        Ok(tokens)
    }

    fn push(&self, piece: &str, tokens: &mut Vec<u32>) -> Result<()> {
        if let Some(id) = self.ids.get(piece) {
            tokens.push(*id);
            return Ok(());
        }
        for byte in piece.bytes() {
            let token = self.byte_tokens[usize::from(byte)].or(self.unknown);
            tokens.push(token.ok_or_else(|| Error::Input(format!("tokenize: {piece:?} has no token, nor do its bytes")))?);
        }
        Ok(())
    }

    pub(super) fn decode(&self, tokens: &[u32]) -> String {
        let mut bytes: Vec<u8> = Vec::with_capacity(tokens.len() * 4);
        let mut first = self.adds_space;
        for token in tokens {
            let piece = self.bytes(*token);
            let control = matches!(self.types.get(*token as usize), Some(TokenType::Control));
            let skip = usize::from(first && !control && piece.first() == Some(&b' '));
            first &= control;
            bytes.extend_from_slice(&piece[skip..]);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What a token adds to a text.
    pub(super) fn bytes(&self, token: u32) -> Vec<u8> {
        let Some(text) = self.tokens.get(token as usize) else { return Vec::new() };
        let byte = || u8::from_str_radix(text.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok();
        match self.types[token as usize] {
            TokenType::Byte => byte().map_or_else(|| text.clone().into_bytes(), |b| vec![b]),
            _ => text.replace(SPACE, " ").into_bytes(),
        }
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.tokens.len()
    }
}

/// A piece of the text between its neighbours; empty once it was merged into the one before.
struct Symbol {
    start: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that make a token.
struct Bigram {
    score: f32,
    left: usize,
    right: usize,
    /// Where the left one ended and the right one ends, to know whether they still are what they were.
    middle: usize,
    end: usize,
}

impl Ord for Bigram {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Bigram {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Bigram {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Bigram {}

/// Matches the tokens of some types, the longest first.
fn matcher(tokens: &[String], types: &[TokenType], wanted: impl Fn(TokenType) -> bool) -> Result<Option<Regex>, String> {
    let mut texts: Vec<&str> = tokens.iter().zip(types).filter(|(t, kind)| wanted(**kind) && !t.is_empty()).map(|(t, _)| t.as_str()).collect();
    if texts.is_empty() {
        return Ok(None);
    }
    texts.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
    let pattern = texts.iter().map(|t| regex::escape(t)).collect::<Vec<_>>().join("|");
    // Gemma adds thousands of tokens; the default limit is for patterns written by hand.
    RegexBuilder::new(&pattern).size_limit(1 << 26).build().map(Some).map_err(|e| e.to_string())
}

fn number(value: &MetaValue) -> Option<f32> {
    match value {
        MetaValue::I32(v) => Some(*v as f32),
        other => other.as_f32(),
    }
}
