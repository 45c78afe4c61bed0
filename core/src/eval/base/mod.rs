//! A compact base: what the original says about a text, in at most 1 KB a token instead of one number for every token of the vocabulary.
//!
//! Each scored position keeps the log-sum-exp of its logits, the exact log p of the true token, the exact mass and −entropy of its tail,
//! and [`record::ENTRIES`] tokens with their log p (16 bits between the record's extremes). The tokens are a threshold sample (Duffield,
//! Lund & Thorup 2007): every token with p ≥ τ is kept for itself, and from the tail below τ as many are drawn, systematically in the order
//! of ids and with probability p/τ, as make the number up; each drawn one stands for the mass τ.
//!
//! Against another model's full logits that gives three numbers a position ([`record::KlEstimate`]): an unbiased estimate with the standard
//! error of the draw, and an interval that holds for certain, whatever the tail does. The mean's error is stated in [`KlBounds`].

mod file;
pub mod record;

use super::compare::CompareOptions;
use super::score::{Scored, scored_positions};
use crate::error::{Error, Result};
use record::{KlEstimate, Record};
use serde::{Deserialize, Serialize};

/// Where the exact mean KL lies, as far as a compact base can tell; nats per token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KlBounds {
    /// Standard error of the estimated mean against the exact mean on the same tokens, from the draw of the tails. It does not shrink the
    /// error of the text's own sampling, which is stated beside the mean.
    pub sampling_error: f64,
    /// What 16 bits a log p can change at most.
    pub rounding: f64,
    /// The exact mean is not below this, whatever the tails are.
    pub lowest: f64,
    /// The exact mean is not above this, whatever the tails are.
    pub highest: f64,
}

impl KlBounds {
    /// Of the mean over some positions.
    pub(super) fn of(estimates: &[KlEstimate]) -> Self {
        let n = estimates.len().max(1) as f64;
        let mean = |f: fn(&KlEstimate) -> f64| estimates.iter().map(f).sum::<f64>() / n;
        Self {
            sampling_error: estimates.iter().map(|e| e.error * e.error).sum::<f64>().sqrt() / n,
            rounding: mean(|e| e.rounding),
            lowest: mean(|e| e.lowest),
            highest: mean(|e| e.highest),
        }
    }
}

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaseHeader {
    /// Version of Halftone that wrote it.
    pub tool: String,
    /// Fingerprint of the model.
    pub model: String,
    /// blake3 of the chunks' tokens (u32, little-endian).
    pub text: String,
    /// How it was run.
    pub options: CompareOptions,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Positions that were scored.
    pub records: usize,
}

/// A base in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct CompactBase {
    header: BaseHeader,
    chunks: Vec<Vec<u32>>,
    /// One encoded record a scored position, in text order.
    records: Vec<Vec<u8>>,
}

impl CompactBase {
    /// What it was made of.
    pub fn header(&self) -> &BaseHeader {
        &self.header
    }

    /// How it was run; a comparison with it runs the same.
    pub fn options(&self) -> CompareOptions {
        CompareOptions { noise_floor: false, ..self.header.options }
    }

    /// Tokens of the vocabulary.
    pub fn vocab(&self) -> usize {
        self.header.vocab
    }

    /// The text, as tokens.
    pub fn chunks(&self) -> &[Vec<u32>] {
        &self.chunks
    }

    /// Mean and largest size of a position's record, bytes.
    pub fn record_bytes(&self) -> (f64, usize) {
        let sizes = self.records.iter().map(Vec::len);
        (sizes.clone().sum::<usize>() as f64 / self.records.len().max(1) as f64, sizes.max().unwrap_or(0))
    }

    /// The records of a chunk.
    pub(super) fn records_of(&self, chunk: usize) -> Result<Vec<Record>> {
        let rows = scored_positions(self.header.options.context);
        let records = self.records.get(chunk * rows..(chunk + 1) * rows).unwrap_or_default();
        let decoded: Option<Vec<Record>> = records.iter().map(|bytes| Record::decode(bytes, self.header.vocab)).collect();
        decoded.filter(|r| r.len() == rows).ok_or_else(|| Error::Input(format!("the base's records of chunk {chunk} are damaged")))
    }
}

/// blake3 of the tokens of some chunks.
fn text_hash(chunks: &[Vec<u32>]) -> String {
    let mut hasher = blake3::Hasher::new();
    for token in chunks.iter().flatten() {
        hasher.update(&token.to_le_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Makes a base while a model runs.
pub(super) struct BaseBuilder {
    base: CompactBase,
}

impl BaseBuilder {
    pub(super) fn new(model: &str, options: CompareOptions, chunks: &[Vec<u32>]) -> Self {
        let header = BaseHeader {
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            model: model.to_owned(),
            text: text_hash(chunks),
            options: CompareOptions { chunks: chunks.len(), ..options },
            vocab: 0,
            records: 0,
        };
        Self { base: CompactBase { header, chunks: chunks.to_vec(), records: Vec::new() } }
    }

    /// Adds the next chunk.
    pub(super) fn add(&mut self, scored: &Scored) -> Result<()> {
        let first = self.base.records.len() as u64;
        self.base.header.vocab = scored.vocab;
        self.base.records.extend(scored.map(|i, row, target| Record::of(row, target, first + i as u64).encode())?);
        Ok(())
    }

    pub(super) fn finish(mut self) -> CompactBase {
        self.base.header.records = self.base.records.len();
        self.base
    }
}
