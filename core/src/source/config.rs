//! The numbers a forward pass needs, from GGUF keys or from config.json.

use super::{Anatomy, Positions, Role, TensorEntry};
use serde::{Deserialize, Serialize};

/// How rotary embeddings pair the channels of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RopeLayout {
    /// Neighbours: (0,1), (2,3) … as llama.cpp stores llama models (q and k rows permuted).
    Interleaved,
    /// Halves: (0, d/2), (1, d/2+1) … as Hugging Face stores them.
    Half,
}

/// How rotary frequencies are stretched beyond the training context.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All positions divided by a factor.
    Linear {
        /// The factor.
        factor: f32,
    },
    /// Llama 3's smooth interpolation between scaled and unscaled frequencies.
    Llama3 {
        /// Factor of the low frequencies.
        factor: f32,
        /// Wavelengths above `original_context / low` are scaled fully.
        low_freq_factor: f32,
        /// Wavelengths below `original_context / high` not at all.
        high_freq_factor: f32,
        /// Context of the training.
        original_context: f32,
    },
}

/// Rotary position embedding.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f32,
    /// Rotated channels of each head.
    pub dimensions: usize,
    /// Pairing.
    pub layout: RopeLayout,
    /// Stretching.
    pub scaling: RopeScaling,
}

/// A model's architecture and sizes. Zero or `None` where an unknown architecture does not say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// llama.cpp's name of the architecture, for example "llama"; the file's own word when unknown.
    pub architecture: String,
    /// The model's name.
    pub name: Option<String>,
    /// Licence identifier.
    pub license: Option<String>,
    /// Number of transformer blocks.
    pub block_count: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward.
    pub intermediate_size: usize,
    /// Query heads.
    pub head_count: usize,
    /// Key and value heads.
    pub kv_head_count: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Tokens.
    pub vocab_size: usize,
    /// Longest context trained for.
    pub context_length: usize,
    /// ε of the norms.
    pub norm_eps: f32,
    /// Rotary embedding; `None` when the architecture has none, or one of a kind that has no forward pass here (a notice then says which).
    pub rope: Option<Rope>,
    /// The output head is the embedding.
    pub tied_head: bool,
    /// What the blocks are made of; `None` when the architecture has no forward pass here.
    #[serde(default)]
    pub anatomy: Option<Anatomy>,
    /// In which way the model departs from its architecture, so that it cannot be run.
    #[serde(default)]
    pub departure: Option<String>,
}

impl ModelConfig {
    /// A configuration that says nothing yet.
    pub(crate) fn unknown() -> Self {
        Self {
            architecture: String::new(),
            name: None,
            license: None,
            block_count: 0,
            hidden_size: 0,
            intermediate_size: 0,
            head_count: 0,
            kv_head_count: 0,
            head_dim: 0,
            vocab_size: 0,
            context_length: 0,
            norm_eps: 0.0,
            rope: None,
            tied_head: false,
            anatomy: None,
            departure: None,
        }
    }

    /// Reads off the tensors what the file did not say.
    pub(super) fn complete_from(&mut self, tensors: &[TensorEntry]) {
        let shape_of = |role: Role| tensors.iter().find(|t| t.role == role && t.shape.len() >= 2);
        let or = |known: usize, read: Option<usize>| if known == 0 { read.unwrap_or(0) } else { known };
        if self.architecture.is_empty() {
            let bert = tensors.iter().any(|t| t.name == "token_types.weight") && tensors.iter().any(|t| t.name.ends_with(".attn_output_norm.weight"));
            self.architecture = if bert { "bert" } else { "unknown" }.to_owned();
        }
        self.block_count = or(self.block_count, tensors.iter().filter_map(|t| t.block).max().map(|last| last.saturating_add(1)));
        let embedding = tensors.iter().find(|t| t.name == "token_embd.weight").or(shape_of(Role::Embedding));
        self.hidden_size = or(self.hidden_size, embedding.map(TensorEntry::columns));
        self.vocab_size = or(self.vocab_size, embedding.map(TensorEntry::rows));
        self.intermediate_size = or(self.intermediate_size, shape_of(Role::Up).map(|t| t.shape[t.shape.len() - 2]));
        self.tied_head = !tensors.iter().any(|t| t.name == "output.weight" || t.role == Role::Head);
    }

    /// Whether there is a forward pass for this model, and so activations can be measured.
    ///
    /// # Errors
    /// `Unsupported`, with the reason; the model still opens weight-only.
    pub fn forward_supported(&self) -> crate::Result<()> {
        self.runnable().map(|_| ())
    }

    /// Whether the model predicts tokens, so that outputs can be compared and texts continued.
    ///
    /// # Errors
    /// `Unsupported`: no forward pass, or an encoder.
    pub fn predicts_tokens(&self) -> crate::Result<()> {
        if self.runnable()?.causal {
            return Ok(());
        }
        let why = "it is an encoder, which predicts no next token; its activations can be measured, its weights inspected and quantized";
        Err(crate::Error::unsupported(format!("predicting with this model (architecture {})", self.architecture), why))
    }

    /// The pieces of a model that can be run.
    ///
    /// # Errors
    /// As [`Self::forward_supported`].
    pub fn runnable(&self) -> crate::Result<&Anatomy> {
        let why = match &self.anatomy {
            None => "this architecture has no forward pass here".to_owned(),
            Some(_) if self.departure.is_some() => self.departure.clone().unwrap_or_default(),
            Some(_) if self.head_count == 0 => "its sizes are not known".to_owned(),
            Some(anatomy) if anatomy.positions == Positions::Rotary && self.rope.is_none() => "its rotary embedding is not known".to_owned(),
            Some(anatomy) => return Ok(anatomy),
        };
        let what = format!("running this model (architecture {})", self.architecture);
        Err(crate::Error::unsupported(what, format!("{why}; weights can be inspected, measured and quantized")))
    }
}
