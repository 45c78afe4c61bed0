#!/usr/bin/env python3
"""Makes tests/golden/architectures: a tiny random model of each architecture, and what the original implementation computes from it.

A folder each: config.json and model.safetensors (BF16) as transformers saves them, and expected.safetensors with two token lists and the logits of each
(single precision, computed from the BF16 weights). Encoders have final hidden states instead. The weights are scaled so that every piece matters: soft
caps bend, windows are shorter than the sequence, biases are not zero, routers are undecided.

usage: architectures.py [NAME...]        needs: pip install torch transformers safetensors
"""
import json
import math
import pathlib
import shutil
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent / "architectures"
VOCABULARY, HIDDEN, HEADS, KEY_VALUE_HEADS, HEAD_DIM = 96, 32, 4, 2, 8
# Longer and shorter than the windows (8) and than the context before longrope (16).
LONG, SHORT = 24, 6

common = dict(vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=40, num_hidden_layers=2, num_attention_heads=HEADS, num_key_value_heads=KEY_VALUE_HEADS,
              max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0, attention_dropout=0.0)
gemma = dict(common, num_hidden_layers=3, head_dim=HEAD_DIM, sliding_window=8, hidden_activation="gelu_pytorch_tanh")
experts = dict(common, num_hidden_layers=2, num_experts_per_tok=2)
encoder = dict(vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=40, num_hidden_layers=2, num_attention_heads=HEADS, max_position_embeddings=64, hidden_act="gelu",
               hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
MODELS = {
    "llama": ("Llama", dict(common, rope_parameters={"rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                                     "original_max_position_embeddings": 16})),
    "mistral": ("Mistral", dict(common, head_dim=HEAD_DIM, sliding_window=8)),
    "qwen2": ("Qwen2", dict(common, tie_word_embeddings=True)),
    "qwen2-window": ("Qwen2", dict(common, use_sliding_window=True, sliding_window=8, max_window_layers=1)),
    "qwen3": ("Qwen3", dict(common, head_dim=16)),
    "gemma": ("Gemma", dict(common, head_dim=HEAD_DIM)),
    "gemma2": ("Gemma2", dict(gemma, attn_logit_softcapping=5.0, final_logit_softcapping=4.0, query_pre_attn_scalar=20)),
    "gemma3": ("Gemma3", dict(gemma, query_pre_attn_scalar=HEAD_DIM, layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                              rope_parameters={"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0},
                                               "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}})),
    "phi3": ("Phi3", dict(common, sliding_window=8)),
    "phi3-long": ("Phi3", dict(common, original_max_position_embeddings=16,
                               rope_parameters={"rope_type": "longrope", "rope_theta": 100.0, "partial_rotary_factor": 0.5, "original_max_position_embeddings": 16,
                                                "short_factor": [1.0, 1.5], "long_factor": [2.0, 5.0]})),
    "gpt2": ("GPT2", dict(vocab_size=VOCABULARY, n_embd=HIDDEN, n_layer=2, n_head=HEADS, n_positions=64, bos_token_id=1, eos_token_id=2,
                          resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)),
    "mixtral": ("Mixtral", dict(experts, intermediate_size=24, num_local_experts=4, sliding_window=None)),
    "qwen2-moe": ("Qwen2Moe", dict(experts, moe_intermediate_size=24, shared_expert_intermediate_size=40, num_experts=5, num_experts_per_tok=3, norm_topk_prob=False,
                                   decoder_sparse_step=1)),
    "qwen3-moe": ("Qwen3Moe", dict(experts, head_dim=16, moe_intermediate_size=24, num_experts=6, norm_topk_prob=True, decoder_sparse_step=1)),
    "bert": ("Bert", dict(encoder, type_vocab_size=2)),
    "mpnet": ("MPNet", dict(encoder, bos_token_id=0, eos_token_id=2, pad_token_id=1)),
}


def scale(name: str, shape: torch.Size, family: str) -> tuple[float, float]:
    """Mean and deviation of a tensor's values."""
    norm_mean = 0.0 if family.startswith("Gemma") else 1.0
    if "norm" in name.lower() or ".ln_" in name:
        return (0.0 if name.endswith("bias") else norm_mean), 0.3
    if name.endswith("bias"):
        return 0.0, 0.3
    if "embed" in name or "wte" in name or "wpe" in name:
        return 0.0, 0.3 if "position" in name or "wpe" in name or "type" in name else 1.0
    if "relative_attention_bias" in name:
        return 0.0, 1.5
    inputs = shape[-2] if family == "GPT2" and len(shape) == 2 and "lm_head" not in name else shape[-1]
    # Attention that looks somewhere, routers that decide, but not always the same.
    sharper = 2.0 if any(part in name for part in ["q_proj", "k_proj", "qkv_proj", "c_attn", ".query.", ".key.", "attn.q.", "attn.k.", "mlp.gate.", "router"]) else 1.0
    return 0.0, sharper / math.sqrt(inputs)


def make(name: str) -> None:
    family, options = MODELS[name]
    config_class = getattr(transformers, {"Gemma3": "Gemma3TextConfig"}.get(family, family + "Config"))
    config = config_class(**options)
    config._attn_implementation = "eager"
    ending = {"GPT2": "LMHeadModel", "Bert": "Model", "MPNet": "Model"}.get(family, "ForCausalLM")
    torch.manual_seed(7)
    model = getattr(transformers, family + ending)(config).eval().float()
    with torch.no_grad():
        for key, values in model.named_parameters():
            mean, deviation = scale(key, values.shape, family)
            values.copy_((mean + deviation * torch.randn(values.shape)).bfloat16().float())
    model.tie_weights()

    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    for extra in ["generation_config.json"]:
        (folder / extra).unlink(missing_ok=True)
    weights = {key: values.bfloat16() for key, values in load_file(folder / "model.safetensors").items() if "pooler" not in key}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    written = json.loads((folder / "config.json").read_text())
    written["dtype"] = "bfloat16"
    (folder / "config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")

    expected = {}
    for label, length in [("long", LONG), ("short", SHORT)]:
        tokens = torch.randint(3, VOCABULARY, (length,), generator=torch.Generator().manual_seed(length))
        with torch.no_grad():
            output = model(tokens[None], attention_mask=torch.ones(1, length, dtype=torch.long))
        values = output.logits if hasattr(output, "logits") else output.last_hidden_state
        expected[f"{label}.tokens"], expected[f"{label}.output"] = tokens.int(), values[0].float().contiguous()
    save_file(expected, folder / "expected.safetensors")
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(name, size, "bytes, range", [round(float(v), 3) for v in (expected["long.output"].min(), expected["long.output"].max())], sorted(weights)[:200] if "-v" in sys.argv else "")


for name in [n for n in sys.argv[1:] if n != "-v"] or MODELS:
    make(name)
