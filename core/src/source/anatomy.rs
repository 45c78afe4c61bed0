//! What sets architectures apart: which pieces their blocks have. The forward pass reads this and no names.

use super::Rope;
use serde::{Deserialize, Serialize};

/// Blocks that are listed at most.
pub(super) const MOST_BLOCKS: usize = 1 << 16;

/// How rows are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NormKind {
    /// By the root of the mean square.
    Rms,
    /// By mean and deviation, with a bias.
    Layer,
}

/// Where the norms of a block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NormPlacement {
    /// Before attention and before the feed-forward; one more behind the last block.
    Before,
    /// Behind each, on the residual stream (BERT).
    After,
    /// Before and behind each, the latter on what is added to the stream; one more behind the last block.
    Around,
}

/// The curve of a feed-forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// x·σ(x).
    Silu,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// GELU by the error function.
    Gelu,
}

/// How a token knows where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Positions {
    /// Queries and keys are turned.
    Rotary,
    /// A table, added to the embedding.
    Learned {
        /// The row of the first token.
        first: usize,
    },
}

/// Frequencies for sequences beyond the context of the first training (longrope, Ding et al. 2024).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LongRope {
    /// Longest sequence with the short divisors, tokens.
    pub original_context: usize,
    /// Factor of all rotated channels, for short sequences too.
    pub attention_factor: f32,
    /// Divisor of each frequency; empty when the model has a tensor of them.
    pub short: Vec<f32>,
    /// The same for longer sequences.
    pub long: Vec<f32>,
}

/// A mixture of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experts {
    /// Experts of a block.
    pub count: usize,
    /// Experts of a token.
    pub used: usize,
    /// Width of an expert.
    pub size: usize,
    /// Width of the expert of all tokens (0: there is none).
    pub shared_size: usize,
    /// The shares of a token's experts add up to one.
    pub normalized: bool,
}

/// The pieces of an architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anatomy {
    /// All norms.
    pub norm: NormKind,
    /// Added to every stored γ (gemma stores γ − 1, except in GGUF).
    pub norm_offset: f32,
    /// Where norms are.
    pub placement: NormPlacement,
    /// Each head of queries and keys is normalised.
    pub query_key_norm: bool,
    /// Curve of the feed-forward.
    pub activation: Activation,
    /// The feed-forward multiplies two projections.
    pub gated: bool,
    /// The two are one matrix, called `ffn_up`.
    pub fused_gate_up: bool,
    /// Tokens see no later ones, and the model predicts the next.
    pub causal: bool,
    /// How tokens know where they are.
    pub positions: Positions,
    /// Scores are biased by distance.
    pub relative_bias: bool,
    /// Embeddings are multiplied by √hidden.
    pub scaled_embedding: bool,
    /// Embeddings are normalised, after positions and token types are added.
    pub embedding_norm: bool,
    /// Factor of q·k; `None` is 1/√(channels of a head).
    pub attention_scale: Option<f32>,
    /// Scores are bent into ± this.
    pub attention_soft_cap: Option<f32>,
    /// Logits are bent into ± this.
    pub logit_soft_cap: Option<f32>,
    /// Keys that a token of a local block sees, itself included.
    pub window: Option<usize>,
    /// Which blocks are local; empty: all, if there is a window.
    pub local: Vec<bool>,
    /// Rotary embedding of local blocks, where it is another.
    pub local_rope: Option<Rope>,
    /// Rotary frequencies of long sequences, where they are others.
    pub long_rope: Option<LongRope>,
    /// Mixture of experts, in blocks that have a router.
    pub experts: Option<Experts>,
}

impl Anatomy {
    /// The pieces of an architecture by llama.cpp's name, before a configuration says more; `None` when it has no forward pass here.
    pub fn of(architecture: &str) -> Option<Self> {
        let llama = Self::llama();
        let gemma = |placement| Self { activation: Activation::GeluTanh, scaled_embedding: true, placement, ..Self::llama() };
        let encoder = |first| Self {
            norm: NormKind::Layer,
            placement: NormPlacement::After,
            activation: Activation::Gelu,
            gated: false,
            causal: false,
            positions: Positions::Learned { first },
            embedding_norm: true,
            ..Self::llama()
        };
        Some(match architecture {
            "llama" | "qwen2" | "qwen2moe" => llama,
            "qwen3" | "qwen3moe" => Self { query_key_norm: true, ..llama },
            "gemma" => gemma(NormPlacement::Before),
            "gemma2" => gemma(NormPlacement::Around),
            "gemma3" => Self { query_key_norm: true, ..gemma(NormPlacement::Around) },
            "phi3" => Self { fused_gate_up: true, ..llama },
            "gpt2" => Self { norm: NormKind::Layer, activation: Activation::GeluTanh, gated: false, positions: Positions::Learned { first: 0 }, ..llama },
            "bert" => encoder(0),
            // Its positions begin behind that of padding.
            "mpnet" => Self { relative_bias: true, ..encoder(2) },
            _ => return None,
        })
    }

    fn llama() -> Self {
        Self {
            norm: NormKind::Rms,
            norm_offset: 0.0,
            placement: NormPlacement::Before,
            query_key_norm: false,
            activation: Activation::Silu,
            gated: true,
            fused_gate_up: false,
            causal: true,
            positions: Positions::Rotary,
            relative_bias: false,
            scaled_embedding: false,
            embedding_norm: false,
            attention_scale: None,
            attention_soft_cap: None,
            logit_soft_cap: None,
            window: None,
            local: Vec::new(),
            local_rope: None,
            long_rope: None,
            experts: None,
        }
    }

    /// The window of a block, if it is local.
    pub fn window_of(&self, block: usize) -> Option<usize> {
        self.window.filter(|_| self.local.is_empty() || self.local.get(block).copied().unwrap_or(false))
    }

    /// Which blocks are local when the last of every `period` is not. A file may claim any number of blocks; no model has so many.
    pub(super) fn period(blocks: usize, period: usize) -> Vec<bool> {
        (0..blocks.min(MOST_BLOCKS)).map(|block| block % period.max(1) + 1 < period.max(1)).collect()
    }

    /// How many blocks, counted from a local one to the global one at the end, repeat in an architecture whose files need not say it.
    pub(super) fn default_period(architecture: &str) -> Option<usize> {
        match architecture {
            "gemma2" => Some(2),
            "gemma3" => Some(6),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_or_sixth_block_is_global() {
        assert_eq!(Anatomy::period(4, 2), [true, false, true, false]);
        assert_eq!(Anatomy::period(7, 6), [true, true, true, true, true, false, true]);
        let anatomy = Anatomy { window: Some(4), local: Anatomy::period(2, 2), ..Anatomy::llama() };
        assert_eq!((anatomy.window_of(0), anatomy.window_of(1)), (Some(4), None));
        assert_eq!(Anatomy { window: Some(4), ..Anatomy::llama() }.window_of(9), Some(4), "all blocks");
    }
}
