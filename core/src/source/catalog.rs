//! What each tensor is for: role, block, the group it is fused with.

use crate::tensor::DType;
use serde::{Deserialize, Serialize};

/// What a tensor does in its model. The map has a column for each that occurs, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Token embedding (also the head, when tied).
    Embedding,
    /// Attention query projection.
    Query,
    /// Attention key projection.
    Key,
    /// Attention value projection.
    Value,
    /// Fused query, key and value.
    QueryKeyValue,
    /// Attention output projection.
    AttentionOutput,
    /// Expert router.
    Router,
    /// Gate projection of the feed-forward.
    Gate,
    /// Up projection.
    Up,
    /// Fused gate and up.
    GateUp,
    /// Down projection.
    Down,
    /// Output head.
    Head,
    /// Any normalisation weight.
    Norm,
    /// A bias vector.
    Bias,
    /// Anything else.
    Other,
}

impl Role {
    /// Short column head of the map.
    pub fn label(self) -> &'static str {
        match self {
            Self::Embedding => "embed",
            Self::Query => "q",
            Self::Key => "k",
            Self::Value => "v",
            Self::QueryKeyValue => "qkv",
            Self::AttentionOutput => "o",
            Self::Router => "router",
            Self::Gate => "gate",
            Self::Up => "up",
            Self::GateUp => "gate_up",
            Self::Down => "down",
            Self::Head => "head",
            Self::Norm => "norm",
            Self::Bias => "bias",
            Self::Other => "other",
        }
    }
}

/// One tensor of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// Canonical name: llama.cpp's (`blk.0.attn_q.weight`) where the architecture is known, else the stored name.
    pub name: String,
    /// Name in the file.
    pub stored_name: String,
    /// What it does.
    pub role: Role,
    /// Which block it belongs to.
    pub block: Option<usize>,
    /// Key of the tensors that some runtimes fuse with it (`blk.0.qkv`, `blk.0.gate_up`), which must then share a format.
    pub fused: Option<String>,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
    /// Stored bytes.
    pub size_bytes: u64,
}

impl TensorEntry {
    /// Number of values.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Length of a row.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.elements().checked_div(self.columns()).unwrap_or(0)
    }

    /// Whether it may be quantized: a weight matrix, and not a norm, bias, router or table of positions (llama.cpp's rule).
    pub fn quantizable(&self) -> bool {
        self.shape.len() >= 2
            && self.rows() > 1
            && self.dtype.is_float()
            && !matches!(self.role, Role::Norm | Role::Bias | Role::Router)
            && !["position_embd", "token_types", "rel_pos", "conv1d", "position_embeddings", "token_type_embeddings"].iter().any(|p| self.name.contains(p))
    }
}
