//! stories15M as a GGUF: llama2.c's checkpoint and tokenizer, rewritten as llama.cpp's converter would.
//!
//! It writes GGUF bytes by itself, so that the readers under test are not tested against our own writer.

use crate::models::model;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;

/// The GGUF (F32) of stories15M, written at the first call.
///
/// # Errors
/// When the checkpoint is not what llama2.c writes, or the file cannot be written.
pub fn gguf() -> Result<PathBuf> {
    let folder = model("stories15m");
    let path = folder.join("stories15M.gguf");
    if !path.exists() {
        let checkpoint = std::fs::read(model("stories15m/stories15M.bin"))?;
        let tokenizer = std::fs::read(model("stories15m/tokenizer.bin"))?;
        let bytes = convert(&checkpoint, &tokenizer)?;
        // Tests run side by side: write beside, then rename.
        let temporary = tempfile::NamedTempFile::new_in(&folder)?;
        std::fs::write(temporary.path(), bytes)?;
        temporary.persist(&path)?;
    }
    Ok(path)
}

/// llama2.c's header: sizes as i32; a negative vocabulary says that the head is not the embedding.
struct Sizes {
    dim: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocab: usize,
    context: usize,
    tied: bool,
}

fn convert(checkpoint: &[u8], tokenizer: &[u8]) -> Result<Vec<u8>> {
    let mut file = Take(checkpoint);
    let mut header = [0i32; 7];
    for value in &mut header {
        *value = file.i32()?;
    }
    let [dim, hidden, layers, heads, kv_heads, _, context] = header.map(|v| v.unsigned_abs() as usize);
    let sizes = Sizes { dim, hidden, layers, heads, kv_heads, vocab: header[5].unsigned_abs() as usize, context, tied: header[5] > 0 };
    let kv_dim = dim / heads * kv_heads;

    // Tensors lie kind by kind, each kind layer by layer.
    let mut tensors = vec![("token_embd.weight".to_owned(), vec![sizes.vocab, dim], file.floats(sizes.vocab * dim)?)];
    let kinds: [(&str, Vec<usize>); 9] = [
        ("attn_norm", vec![dim]),
        ("attn_q", vec![dim, dim]),
        ("attn_k", vec![kv_dim, dim]),
        ("attn_v", vec![kv_dim, dim]),
        ("attn_output", vec![dim, dim]),
        ("ffn_norm", vec![dim]),
        ("ffn_gate", vec![hidden, dim]),
        ("ffn_down", vec![dim, hidden]),
        ("ffn_up", vec![hidden, dim]),
    ];
    for (kind, shape) in &kinds {
        for layer in 0..layers {
            tensors.push((format!("blk.{layer}.{kind}.weight"), shape.clone(), file.floats(shape.iter().product())?));
        }
    }
    tensors.push(("output_norm.weight".to_owned(), vec![dim], file.floats(dim)?));
    if !sizes.tied {
        file.floats(context * (dim / heads))?; // cosines and sines
        tensors.push(("output.weight".to_owned(), vec![sizes.vocab, dim], file.floats(sizes.vocab * dim)?));
    }
    let keys = keys(&sizes, tokenizer)?;
    Ok(write(&keys, &tensors))
}

/// A key and the bytes after it: value type and value.
type Key = (&'static str, Vec<u8>);

fn keys(sizes: &Sizes, tokenizer: &[u8]) -> Result<Vec<Key>> {
    let number = |v: usize| [4u32.to_le_bytes(), (v as u32).to_le_bytes()].concat();
    let real = |v: f32| [6u32.to_le_bytes(), v.to_le_bytes()].concat();
    let text = |v: &str| [&8u32.to_le_bytes()[..], &string(v.as_bytes())].concat();
    let array = |kind: u32, count: usize, items: Vec<u8>| [&9u32.to_le_bytes()[..], &kind.to_le_bytes(), &(count as u64).to_le_bytes(), &items].concat();

    let mut file = Take(tokenizer);
    file.i32()?;
    let (mut tokens, mut scores, mut types) = (Vec::new(), Vec::new(), Vec::new());
    for id in 0..sizes.vocab {
        scores.extend(file.floats(1)?);
        let length = file.i32()?;
        let bytes = file.bytes(usize::try_from(length)?)?;
        // llama2.c writes sentencepiece's ▁ as a space, bytes as themselves, and frames the control tokens with line ends.
        let (token, kind): (Vec<u8>, u8) = match id {
            0 => (b"<unk>".to_vec(), 2),
            1 => (b"<s>".to_vec(), 3),
            2 => (b"</s>".to_vec(), 3),
            3..=258 => (format!("<0x{:02X}>", id - 3).into_bytes(), 6),
            _ => (std::str::from_utf8(bytes)?.replace(' ', "▁").into_bytes(), 1),
        };
        tokens.extend(string(&token));
        types.extend([kind, 0, 0, 0]);
    }
    let scores = scores.iter().flat_map(|s: &f32| s.to_le_bytes()).collect();
    Ok(vec![
        ("general.architecture", text("llama")),
        ("general.name", text("stories15M")),
        ("general.license", text("mit")),
        ("llama.block_count", number(sizes.layers)),
        ("llama.context_length", number(sizes.context)),
        ("llama.embedding_length", number(sizes.dim)),
        ("llama.feed_forward_length", number(sizes.hidden)),
        ("llama.attention.head_count", number(sizes.heads)),
        ("llama.attention.head_count_kv", number(sizes.kv_heads)),
        ("llama.attention.layer_norm_rms_epsilon", real(1e-5)),
        ("llama.rope.dimension_count", number(sizes.dim / sizes.heads)),
        ("llama.rope.freq_base", real(10_000.0)),
        ("general.file_type", number(0)),
        ("tokenizer.ggml.model", text("llama")),
        ("tokenizer.ggml.tokens", array(8, sizes.vocab, tokens)),
        ("tokenizer.ggml.scores", array(6, sizes.vocab, scores)),
        ("tokenizer.ggml.token_type", array(5, sizes.vocab, types)),
        ("tokenizer.ggml.bos_token_id", number(1)),
        ("tokenizer.ggml.eos_token_id", number(2)),
        ("tokenizer.ggml.unknown_token_id", number(0)),
    ])
}

fn write(keys: &[Key], tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    const ALIGNMENT: usize = 32;
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((keys.len() as u64).to_le_bytes());
    for (key, value) in keys {
        out.extend(string(key.as_bytes()));
        out.extend(value);
    }
    let mut offset = 0;
    for (name, shape, values) in tensors {
        out.extend(string(name.as_bytes()));
        out.extend((shape.len() as u32).to_le_bytes());
        out.extend(shape.iter().rev().flat_map(|d| (*d as u64).to_le_bytes()));
        out.extend(0u32.to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset = (offset + values.len() * 4).next_multiple_of(ALIGNMENT);
    }
    for (_, _, values) in tensors {
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
    out
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat()
}

/// What is left of a file.
struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        ensure!(self.0.len() >= length, "{length} bytes are needed, {} are left", self.0.len());
        let (head, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(head)
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_le_bytes(self.bytes(4)?.try_into().context("four bytes")?))
    }

    fn floats(&mut self, count: usize) -> Result<Vec<f32>> {
        Ok(self.bytes(count * 4)?.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }
}
