//! What a tensor does, guessed from its name: GGUF's names of every architecture, and the words Hugging Face's families use.

use super::Role;

/// What [`classify`] reads from a name.
#[derive(Debug, PartialEq)]
pub(super) struct Place {
    pub role: Role,
    pub block: Option<usize>,
    /// Key of the tensors some runtimes fuse with this one.
    pub fused: Option<String>,
}

/// Names of containers of numbered blocks.
const BLOCK_CONTAINERS: &[&str] = &["blk", "layers", "layer", "h", "blocks", "block", "resblocks"];

/// Role, block and fused group of a tensor.
pub(super) fn classify(name: &str, dimensions: usize) -> Place {
    let lower = name.to_lowercase();
    let parts: Vec<&str> = lower.split(['.', '/']).collect();
    let role = role(&parts);
    Place { role, block: block(&parts), fused: if dimensions >= 2 { fused(name, role) } else { None } }
}

fn block(parts: &[&str]) -> Option<usize> {
    parts.windows(2).find(|pair| BLOCK_CONTAINERS.contains(&pair[0])).and_then(|pair| pair[1].parse().ok())
}

fn role(parts: &[&str]) -> Role {
    let leaf = parts.last().copied().unwrap_or_default();
    let is_leaf = |word: &str| matches!(word, "weight" | "gamma" | "qweight" | "qzeros" | "scales" | "g_idx" | "weight_packed" | "weight_scale");
    // `in_proj_weight` has no dot; `wte.weight` does; a parameter without either is its own module.
    let upper = if is_leaf(leaf) { parts.len().saturating_sub(1) } else { parts.len() };
    // An expert that is kept apart: `ffn_up.3.weight`.
    let upper = if upper >= 2 && parts[upper - 2].starts_with("ffn_") && digits(parts[upper - 1]) { upper - 1 } else { upper };
    let module = parts[..upper].last().map_or("", |m| m.trim_end_matches("_weight"));
    let parent = if upper >= 2 { parts[upper - 2] } else { "" };
    let inside = |word: &str| parts[..upper].iter().any(|part| part.contains(word));

    if matches!(leaf, "bias" | "beta") || leaf.ends_with("_bias") {
        return Role::Bias;
    }
    if leaf == "gamma"
        || module.contains("norm")
        || matches!(module, "ln" | "bn")
        || module.starts_with("ln_")
        || numbered(module, "ln")
        || numbered(module, "bn")
    {
        return Role::Norm;
    }
    if parts.contains(&"router") || matches!(module, "router" | "ffn_gate_inp" | "ffn_gate_inp_shexp" | "shared_expert_gate") {
        return Role::Router;
    }
    match module {
        "gate" if matches!(parent, "mlp" | "moe" | "block_sparse_moe" | "feed_forward") => Role::Router,
        "attn_qkv" | "c_attn" | "qkv" | "qkv_proj" | "query_key_value" | "wqkv" | "to_qkv" | "in_proj" if module != "in_proj" || inside("attn") => {
            Role::QueryKeyValue
        }
        "attn_q" | "attn_q_a" | "attn_q_b" | "q_proj" | "q_a_proj" | "q_b_proj" | "query" | "wq" | "q_lin" | "to_q" | "q" => Role::Query,
        "attn_k" | "attn_k_b" | "attn_kv_a_mqa" | "attn_kv_b" | "k_proj" | "kv_a_proj_with_mqa" | "kv_b_proj" | "key" | "wk" | "k_lin" | "to_k" | "k" => {
            Role::Key
        }
        "attn_v" | "attn_v_b" | "v_proj" | "value" | "wv" | "v_lin" | "to_v" | "v" => Role::Value,
        "wo" if inside("dense") || inside("ffn") => Role::Down,
        "attn_output" | "o_proj" | "out_lin" | "attn_out" | "wo" | "o" => Role::AttentionOutput,
        "out_proj" if inside("attn") || inside("attention") => Role::AttentionOutput,
        "c_proj" | "dense" | "proj" if inside("attn") || inside("attention") => Role::AttentionOutput,
        "0" if parent == "to_out" => Role::AttentionOutput,
        "ffn_gate" | "ffn_gate_exps" | "ffn_gate_shexp" | "gate_proj" | "w1" | "wi_0" => Role::Gate,
        "ffn_gate_up" | "ffn_gate_up_exps" | "gate_up_proj" => Role::GateUp,
        "ffn_up" | "ffn_up_exps" | "ffn_up_shexp" | "up_proj" | "w3" | "wi_1" | "wi" | "c_fc" | "fc1" | "fc_in" | "lin1" | "linear1" | "dense_h_to_4h" => {
            Role::Up
        }
        "dense" if parent == "intermediate" => Role::Up,
        "ffn_down" | "ffn_down_exps" | "ffn_down_shexp" | "down_proj" | "w2" | "c_proj" | "fc2" | "fc_out" | "lin2" | "linear2" | "dense_4h_to_h" => Role::Down,
        "dense" if parent == "output" => Role::Down,
        "token_embd" | "embed_tokens" | "wte" | "word_embeddings" | "tok_embeddings" | "token_embedding" | "embed_in" | "shared" => Role::Embedding,
        "lm_head" | "embed_out" | "score" | "classifier" => Role::Head,
        "output" if upper <= 1 || parent == "model" => Role::Head,
        _ => Role::Other,
    }
}

/// `ln1`, `bn12`.
fn numbered(module: &str, stem: &str) -> bool {
    module.strip_prefix(stem).is_some_and(digits)
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// vLLM and others multiply by q, k and v at once, and by gate and up at once; such tensors must share a format.
fn fused(name: &str, role: Role) -> Option<String> {
    let module = name.strip_suffix(".weight")?;
    let group = match role {
        Role::Query | Role::Key | Role::Value => "qkv",
        Role::Gate | Role::Up => "gate_up",
        _ => "",
    };
    // One format for all experts of a layer: `model.layers.0.mlp.experts.7.up_proj` → `model.layers.0.mlp.experts`.
    if let Some(at) = module.find(".experts.") {
        return Some(module[..at + ".experts".len()].to_owned());
    }
    let (parent, last) = module.rsplit_once('.')?;
    if digits(last)
        && let Some((block, part)) = parent.rsplit_once('.')
        && part.starts_with("ffn_")
    {
        return Some(format!("{block}.experts"));
    }
    if group.is_empty() {
        return None;
    }
    // Latent attention splits q and k in ways of its own; `ffn_gate_exps` and `ffn_gate` are two groups.
    let suffix = last.rsplit_once('_').map(|(_, s)| s).filter(|s| matches!(*s, "exps" | "shexp"));
    if matches!(last, "attn_q_a" | "attn_q_b" | "attn_kv_a_mqa" | "attn_kv_b" | "attn_k_b" | "attn_v_b" | "q_a_proj" | "q_b_proj") || last.starts_with("kv_") {
        return None;
    }
    Some(match suffix {
        Some(suffix) => format!("{parent}.{group}_{suffix}"),
        None => format!("{parent}.{group}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_from_the_names_of_many_families() {
        for (name, role, block) in [
            ("blk.7.attn_q.weight", Role::Query, Some(7)),
            ("blk.7.attn_q_norm.weight", Role::Norm, Some(7)),
            ("blk.7.attn_output.weight", Role::AttentionOutput, Some(7)),
            ("blk.7.ffn_gate_inp.weight", Role::Router, Some(7)),
            ("blk.7.ffn_gate_exps.weight", Role::Gate, Some(7)),
            ("blk.7.ffn_down_exps.weight", Role::Down, Some(7)),
            ("output.weight", Role::Head, None),
            ("output_norm.weight", Role::Norm, None),
            ("token_embd.weight", Role::Embedding, None),
            ("transformer.h.2.attn.c_attn.weight", Role::QueryKeyValue, Some(2)),
            ("transformer.h.2.attn.c_proj.weight", Role::AttentionOutput, Some(2)),
            ("transformer.h.2.mlp.c_proj.weight", Role::Down, Some(2)),
            ("transformer.h.2.mlp.c_fc.weight", Role::Up, Some(2)),
            ("h.2.ln_1.weight", Role::Norm, Some(2)),
            ("wte.weight", Role::Embedding, None),
            ("encoder.layer.4.attention.attn.q.weight", Role::Query, Some(4)),
            ("encoder.layer.4.attention.output.dense.weight", Role::AttentionOutput, Some(4)),
            ("encoder.layer.4.output.dense.weight", Role::Down, Some(4)),
            ("encoder.layer.4.output.LayerNorm.weight", Role::Norm, Some(4)),
            ("encoder.layer.4.intermediate.dense.bias", Role::Bias, Some(4)),
            ("encoder.block.0.layer.0.SelfAttention.o.weight", Role::AttentionOutput, Some(0)),
            ("encoder.block.3.layer.1.DenseReluDense.wo.weight", Role::Down, Some(3)),
            ("visual.transformer.resblocks.1.attn.in_proj_weight", Role::QueryKeyValue, Some(1)),
            ("gpt_neox.layers.5.mlp.dense_4h_to_h.weight", Role::Down, Some(5)),
            ("model.layers.1.mlp.gate.weight", Role::Router, Some(1)),
            ("model.layers.1.mlp.experts.3.up_proj.weight", Role::Up, Some(1)),
            ("blk.1.ffn_down.3.weight", Role::Down, Some(1)),
            ("blk.1.ffn_gate.12.weight", Role::Gate, Some(1)),
            ("some.thing.else", Role::Other, None),
        ] {
            let place = classify(name, 2);
            assert_eq!((place.role, place.block), (role, block), "{name}");
        }
    }

    #[test]
    fn what_runtimes_fuse_shares_a_key() {
        let key = |name: &str| classify(name, 2).fused;
        assert_eq!(key("blk.0.attn_q.weight").as_deref(), Some("blk.0.qkv"));
        assert_eq!(key("blk.0.attn_q.weight"), key("blk.0.attn_v.weight"));
        assert_eq!(key("blk.0.ffn_gate.weight").as_deref(), Some("blk.0.gate_up"));
        assert_eq!(key("blk.0.ffn_up_exps.weight").as_deref(), Some("blk.0.gate_up_exps"));
        assert_eq!(key("blk.0.ffn_up.3.weight"), key("blk.0.ffn_down.0.weight"));
        assert_eq!(key("blk.0.ffn_up.3.weight").as_deref(), Some("blk.0.experts"));
        assert_eq!(key("blk.0.attn_output.weight"), None);
        assert_eq!(key("model.layers.0.mlp.experts.3.down_proj.weight").as_deref(), Some("model.layers.0.mlp.experts"));
        assert_eq!(key("decoder.layers.0.encoder_attn.q_proj.weight").as_deref(), Some("decoder.layers.0.encoder_attn.qkv"));
        assert_eq!(classify("blk.0.attn_q.bias", 1).fused, None);
    }
}
