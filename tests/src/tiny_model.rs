//! A random llama of two blocks, 256 wide, as a GGUF and as a safetensors folder: small enough for every test, whole enough for llama.cpp.

use anyhow::Result;
use halftone_core::export::gguf::{Container, TensorInfo};
use halftone_core::source::{MetaValue, Metadata};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::io::Write as _;
use std::path::Path;

/// Width of the residual stream; k-quants apply.
pub const HIDDEN: usize = 256;
/// Width of the feed-forward; not a multiple of 256, so that k-quants fall back for `ffn_down`.
pub const FEED_FORWARD: usize = 288;
/// Query heads.
pub const HEADS: usize = 4;
/// Key and value heads.
pub const KV_HEADS: usize = 2;
/// Channels of a head.
pub const HEAD_DIM: usize = 64;
/// Blocks.
pub const BLOCKS: usize = 2;
/// Tokens: three special ones and the 256 bytes, so that every text can be encoded.
pub const VOCABULARY: usize = 259;

/// Canonical name, Hugging Face's name and shape of every tensor, in file order.
pub fn tensors() -> Vec<(String, String, Vec<usize>)> {
    let mut all = vec![("token_embd.weight".to_owned(), "model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN])];
    let kv = KV_HEADS * HEAD_DIM;
    for block in 0..BLOCKS {
        let parts: [(&str, &str, Vec<usize>); 9] = [
            ("attn_norm", "input_layernorm", vec![HIDDEN]),
            ("attn_q", "self_attn.q_proj", vec![HEADS * HEAD_DIM, HIDDEN]),
            ("attn_k", "self_attn.k_proj", vec![kv, HIDDEN]),
            ("attn_v", "self_attn.v_proj", vec![kv, HIDDEN]),
            ("attn_output", "self_attn.o_proj", vec![HIDDEN, HEADS * HEAD_DIM]),
            ("ffn_norm", "post_attention_layernorm", vec![HIDDEN]),
            ("ffn_gate", "mlp.gate_proj", vec![FEED_FORWARD, HIDDEN]),
            ("ffn_up", "mlp.up_proj", vec![FEED_FORWARD, HIDDEN]),
            ("ffn_down", "mlp.down_proj", vec![HIDDEN, FEED_FORWARD]),
        ];
        all.extend(parts.map(|(name, stored, shape)| (format!("blk.{block}.{name}.weight"), format!("model.layers.{block}.{stored}.weight"), shape)));
    }
    all.push(("output_norm.weight".to_owned(), "model.norm.weight".to_owned(), vec![HIDDEN]));
    all.push(("output.weight".to_owned(), "lm_head.weight".to_owned(), vec![VOCABULARY, HIDDEN]));
    all
}

/// The values of a tensor: norms near one, weights of deviation about 1/√columns with a few outliers.
pub fn values(name: &str, shape: &[usize], seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ name.bytes().fold(0, |hash: u64, b| hash.wrapping_mul(31).wrapping_add(b.into())));
    let scale = (3.0 / shape[shape.len() - 1] as f32).sqrt();
    (0..shape.iter().product())
        .map(|_| match shape.len() {
            1 => 1.0 + 0.1 * random.random_range(-1.0..1.0f32),
            _ => scale * random.random_range(-1.0..1.0f32) * if random.random_range(0..500) == 0 { 8.0 } else { 1.0 },
        })
        .collect()
}

/// Writes the model as a single-precision GGUF.
///
/// # Errors
/// What writing says.
pub fn write_gguf(path: &Path, seed: u64) -> Result<()> {
    write_gguf_with(path, |name, shape| values(name, shape, seed))
}

/// As [`write_gguf`], with other values.
///
/// # Errors
/// What writing says.
pub fn write_gguf_with(path: &Path, values: impl Fn(&str, &[usize]) -> Vec<f32>) -> Result<()> {
    let tensors = tensors();
    let infos = tensors.iter().map(|(name, _, shape)| TensorInfo::f32(name.clone(), shape.clone())).collect();
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    Container { metadata: metadata(), tensors: infos }.write(&mut file, |index, out| {
        let (name, _, shape) = &tensors[index];
        values(name, shape).iter().try_for_each(|v| out.write_all(&v.to_le_bytes()))
    })?;
    Ok(file.flush()?)
}

/// Writes the model as a Hugging Face folder in bfloat16: model.safetensors and config.json.
///
/// # Errors
/// What writing says.
pub fn write_folder(folder: &Path, seed: u64) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, stored, shape) in tensors() {
        let start = data.len();
        data.extend(values(&name, &shape, seed).iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()));
        header.insert(stored, serde_json::json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, data.len()] }));
    }
    let json = serde_json::to_vec(&header)?;
    let bytes = [(json.len() as u64).to_le_bytes().as_slice(), &json, &data].concat();
    std::fs::write(folder.join("model.safetensors"), bytes)?;
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": BLOCKS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
        "vocab_size": VOCABULARY, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false,
    });
    Ok(std::fs::write(folder.join("config.json"), serde_json::to_vec_pretty(&config)?)?)
}

/// The keys of the GGUF, with a sentencepiece vocabulary of bytes.
pub fn metadata() -> Metadata {
    let text = |s: &str| MetaValue::String(s.to_owned());
    let number = |n: usize| MetaValue::U32(n as u32);
    let bytes = (0..256).map(|b| format!("<0x{b:02X}>"));
    let tokens: Vec<_> = ["<unk>", "<s>", "</s>"].into_iter().map(str::to_owned).chain(bytes).map(MetaValue::String).collect();
    let types = [2, 3, 3].into_iter().chain([6; 256]).map(MetaValue::I32).collect();
    let scores = vec![MetaValue::F32(0.0); VOCABULARY];
    [
        ("general.architecture", text("llama")),
        ("general.name", text("tiny random llama")),
        ("llama.block_count", number(BLOCKS)),
        ("llama.context_length", number(512)),
        ("llama.embedding_length", number(HIDDEN)),
        ("llama.feed_forward_length", number(FEED_FORWARD)),
        ("llama.attention.head_count", number(HEADS)),
        ("llama.attention.head_count_kv", number(KV_HEADS)),
        ("llama.attention.layer_norm_rms_epsilon", MetaValue::F32(1e-5)),
        ("llama.rope.dimension_count", number(HEAD_DIM)),
        ("llama.rope.freq_base", MetaValue::F32(10_000.0)),
        ("llama.vocab_size", number(VOCABULARY)),
        ("tokenizer.ggml.model", text("llama")),
        ("tokenizer.ggml.tokens", MetaValue::Array(8, tokens)),
        ("tokenizer.ggml.scores", MetaValue::Array(6, scores)),
        ("tokenizer.ggml.token_type", MetaValue::Array(5, types)),
        ("tokenizer.ggml.unknown_token_id", number(0)),
        ("tokenizer.ggml.bos_token_id", number(1)),
        ("tokenizer.ggml.eos_token_id", number(2)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into_iter()
    .collect()
}
