//! Tokens to the residual stream: a row of the table, and what an architecture adds to it.

use super::linear::load_shaped;
use super::norm::Norm;
use super::values::tensor_from;
use super::weights::{Weights, require};
use crate::error::{Error, Result};
use crate::source::{Anatomy, Positions};
use candle_core::Tensor;

/// Canonical name of the table.
pub(super) const EMBEDDING: &str = "token_embd.weight";

/// The loaded tables.
pub(super) struct Embedding {
    /// vocab × hidden.
    table: Vec<f32>,
    hidden: usize,
    scale: f32,
    /// A row for each position, and which row the first token has.
    positions: Option<(Vec<f32>, usize)>,
    /// Of the first of the token types; all text is of it.
    kind: Option<Vec<f32>>,
    norm: Option<Norm>,
}

impl Embedding {
    pub(super) fn load(weights: &dyn Weights, anatomy: &Anatomy) -> Result<Self> {
        let config = weights.config();
        let hidden = config.hidden_size;
        let positions = match anatomy.positions {
            Positions::Rotary => None,
            Positions::Learned { first } => {
                let name = "position_embd.weight";
                let (_, shape) = require(weights, name)?;
                Some((load_shaped(weights, name, &[shape.first().copied().unwrap_or(0), hidden])?, first))
            }
        };
        let name = "token_types.weight";
        let kind = match weights.load(name)?.filter(|_| anatomy.embedding_norm) {
            Some((_, shape)) => Some(load_shaped(weights, name, &[shape.first().copied().unwrap_or(0), hidden])?.into_iter().take(hidden).collect()),
            None => None,
        };
        Ok(Self {
            table: load_shaped(weights, EMBEDDING, &[config.vocab_size, hidden])?,
            hidden,
            scale: if anatomy.scaled_embedding { (hidden as f32).sqrt() } else { 1.0 },
            positions,
            kind,
            norm: if anatomy.embedding_norm { Some(Norm::load(weights, anatomy, "token_embd_norm", hidden)?) } else { None },
        })
    }

    /// vocab × hidden, which is the head too where it is tied.
    pub(super) fn table(&self) -> &[f32] {
        &self.table
    }

    /// tokens × hidden, for tokens from position `first` of their sequence.
    pub(super) fn embed(&self, tokens: &[u32], first: usize) -> Result<Tensor> {
        if tokens.is_empty() {
            return Err(Error::Input("a sequence of no tokens cannot be run".to_owned()));
        }
        let hidden = self.hidden;
        let mut values = Vec::with_capacity(tokens.len() * hidden);
        for &token in tokens {
            let from = token as usize * hidden;
            let row = self.table.get(from..from + hidden);
            values.extend_from_slice(row.ok_or_else(|| Error::Input(format!("token {token} is outside the vocabulary of {}", self.table.len() / hidden)))?);
        }
        if self.scale != 1.0 {
            values.iter_mut().for_each(|v| *v *= self.scale);
        }
        for (token, row) in values.chunks_exact_mut(hidden).enumerate() {
            if let Some((table, offset)) = &self.positions {
                let position = first + token + offset;
                let added = table.get(position * hidden..(position + 1) * hidden);
                let none = || Error::Input(format!("the model has only {} positions, a sequence needs more", (table.len() / hidden).saturating_sub(*offset)));
                row.iter_mut().zip(added.ok_or_else(none)?).for_each(|(v, a)| *v += a);
            }
            if let Some(kind) = &self.kind {
                row.iter_mut().zip(kind).for_each(|(v, a)| *v += a);
            }
        }
        if let Some(norm) = &self.norm {
            values = norm.apply(&values);
        }
        tensor_from(values, tokens.len(), hidden)
    }
}
