//! tokenizer.json in GGUF's keys: byte-level BPE becomes "gpt2" with merges, BPE with byte fallback becomes "llama" with scores.
//!
//! Other kinds (WordPiece, Unigram) are not translated: no architecture that can be written uses them, and a notice says so.

use super::companions::Companions;
use super::tokenizer::{TokenType, pre};
use super::{MetaValue, Metadata, ModelConfig};
use crate::report::{NoticeKind, Reporter};
use serde_json::Value;
use std::collections::HashMap;

/// GGUF's numbers of the element types used here.
const I32: u32 = 5;
const F32: u32 = 6;
const STRING: u32 = 8;

/// Adds the tokenizer's keys, if there is a tokenizer that can be translated.
pub(super) fn insert(metadata: &mut Metadata, config: &ModelConfig, companions: &Companions, reporter: &Reporter) {
    let Some(json) = &companions.tokenizer else { return };
    let Some(vocabulary) = Vocabulary::read(json, config.vocab_size) else {
        let kind = json.pointer("/model/type").and_then(Value::as_str).unwrap_or("unknown");
        let text = format!("the tokenizer is of kind {kind}, which is not carried over into GGUF");
        reporter.notice(None, NoticeKind::Other { text });
        return;
    };
    let mut put = |key: &str, value: MetaValue| metadata.insert(format!("tokenizer.ggml.{key}"), value);
    let merges = merges(json);
    if vocabulary.byte_fallback {
        put("model", MetaValue::String("llama".into()));
        put("pre", MetaValue::String("default".into()));
        put("scores", MetaValue::Array(F32, scores(&vocabulary, &merges).into_iter().map(MetaValue::F32).collect()));
        put("add_space_prefix", MetaValue::Bool(adds_space(json)));
    } else {
        let ignore_merges = json.pointer("/model/ignore_merges").and_then(Value::as_bool).unwrap_or(false);
        let name = pre::recognise(json.get("pre_tokenizer").unwrap_or(&Value::Null), ignore_merges).unwrap_or_else(|| {
            let text = "the tokenizer splits words in an unknown way; the GGUF says \"default\", which may tokenize differently".to_owned();
            reporter.notice(None, NoticeKind::Other { text });
            "default"
        });
        put("model", MetaValue::String("gpt2".into()));
        put("pre", MetaValue::String(name.into()));
        let joined = merges.iter().map(|(a, b)| MetaValue::String(format!("{} {}", a.replace(' ', "Ġ"), b.replace(' ', "Ġ"))));
        put("merges", MetaValue::Array(STRING, joined.collect()));
    }
    for (key, id) in special_ids(&vocabulary, companions) {
        put(key, MetaValue::U32(id));
    }
    put("add_bos_token", MetaValue::Bool(adds_bos(json, &companions.tokenizer_config)));
    put("token_type", MetaValue::Array(I32, vocabulary.types.iter().map(|t| MetaValue::I32(*t as i32)).collect()));
    put("tokens", MetaValue::Array(STRING, vocabulary.tokens.into_iter().map(MetaValue::String).collect()));
    if let Some(template) = &companions.chat_template {
        metadata.insert("tokenizer.chat_template".into(), MetaValue::String(template.clone()));
    }
}

/// All tokens by id.
struct Vocabulary {
    tokens: Vec<String>,
    types: Vec<TokenType>,
    byte_fallback: bool,
    ids: HashMap<String, u32>,
}

impl Vocabulary {
    /// `None` when the model is not BPE, or ids leave the vocabulary that the embedding has.
    fn read(json: &Value, vocab_size: usize) -> Option<Self> {
        let model = json.get("model")?;
        // tokenizer.json files of before 2021 do not name the type.
        if model.get("type").and_then(Value::as_str).unwrap_or("BPE") != "BPE" {
            return None;
        }
        let listed = model.get("vocab")?.as_object()?;
        let byte_fallback = model.get("byte_fallback").and_then(Value::as_bool).unwrap_or(false);
        let added = json.get("added_tokens").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let size = vocab_size.max(listed.len());
        if size > listed.len().saturating_add(added.len()).saturating_add(1 << 20) {
            return None;
        }
        let mut tokens: Vec<String> = (0..size).map(|id| format!("[PAD{id}]")).collect();
        let mut types = vec![TokenType::Unused; size];
        let mut ids = HashMap::with_capacity(size);
        let mut set = |text: &str, id: usize, kind: TokenType| {
            // An id beyond the embedding is a token that the model cannot read.
            if id < size {
                tokens[id] = text.to_owned();
                types[id] = kind;
                ids.insert(text.to_owned(), id as u32);
            }
        };
        for (text, id) in listed {
            let is_byte = byte_fallback && text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
            set(text, usize::try_from(id.as_u64()?).ok()?, if is_byte { TokenType::Byte } else { TokenType::Normal });
        }
        let unknown = model.get("unk_token").and_then(Value::as_str);
        for token in added {
            let (Some(text), Some(id)) = (token.get("content").and_then(Value::as_str), token.get("id").and_then(Value::as_u64)) else { continue };
            let special = token.get("special").and_then(Value::as_bool).unwrap_or(false);
            let kind = match special {
                true if byte_fallback && Some(text) == unknown => TokenType::Unknown,
                true => TokenType::Control,
                false => TokenType::UserDefined,
            };
            set(text, usize::try_from(id).ok()?, kind);
        }
        Some(Self { tokens, types, byte_fallback, ids })
    }
}

/// Merges as pairs; both ways of writing them.
fn merges(json: &Value) -> Vec<(String, String)> {
    let listed = json.pointer("/model/merges").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let pair = |merge: &Value| match merge {
        Value::String(text) => text.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())),
        Value::Array(two) => Some((two.first()?.as_str()?.to_owned(), two.get(1)?.as_str()?.to_owned())),
        _ => None,
    };
    listed.iter().filter_map(pair).collect()
}

/// Scores that make highest-score-first merging equal to merging by rank: minus the rank of the first merge that makes the token.
/// (llama.cpp's own converter, without a sentencepiece model, gives all tokens one score, which merges from the left.)
fn scores(vocabulary: &Vocabulary, merges: &[(String, String)]) -> Vec<f32> {
    // Tokens that no merge makes come after all that one does.
    let mut scores = vec![-(merges.len() as f32); vocabulary.tokens.len()];
    for (rank, (a, b)) in merges.iter().enumerate().rev() {
        if let Some(id) = vocabulary.ids.get(&format!("{a}{b}")) {
            scores[*id as usize] = -(rank as f32);
        }
    }
    scores
}

/// Whether a space is put before the text, as sentencepiece does.
fn adds_space(json: &Value) -> bool {
    let parts = |key: &str, list: &str| -> Vec<Value> {
        let part = json.get(key).cloned().unwrap_or_default();
        part.get(list).and_then(Value::as_array).cloned().unwrap_or_else(|| vec![part])
    };
    let kind = |part: &Value, name: &str| part.get("type").and_then(Value::as_str) == Some(name);
    let metaspace = parts("pre_tokenizer", "pretokenizers").into_iter().find(|p| kind(p, "Metaspace"));
    let by_metaspace = metaspace.is_some_and(|p| {
        let scheme = p.get("prepend_scheme").and_then(Value::as_str);
        scheme.map_or_else(|| p.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(true), |s| s != "never")
    });
    by_metaspace || parts("normalizer", "normalizers").iter().any(|p| kind(p, "Prepend"))
}

/// Whether the model wants BOS before a text: what tokenizer_config.json says, else whether the template begins with a special token.
pub(super) fn adds_bos(json: &Value, tokenizer_config: &Value) -> bool {
    if let Some(said) = tokenizer_config.get("add_bos_token").and_then(Value::as_bool) {
        return said;
    }
    let processor = json.get("post_processor").cloned().unwrap_or_default();
    let all = processor.get("processors").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![processor]);
    all.iter().any(|p| p.pointer("/single/0/SpecialToken").is_some())
}

/// Ids of the tokens with a purpose, under GGUF's keys.
fn special_ids(vocabulary: &Vocabulary, companions: &Companions) -> Vec<(&'static str, u32)> {
    let configs = [&companions.config, &companions.generation_config];
    [
        ("bos", "bos_token_id"),
        ("eos", "eos_token_id"),
        ("unk", "unknown_token_id"),
        ("sep", "seperator_token_id"), // llama.cpp's own spelling
        ("pad", "padding_token_id"),
        ("mask", "mask_token_id"),
    ]
    .into_iter()
    .filter_map(|(name, key)| {
        // "eos_token": "</s>" or {"content": "</s>"}; "eos_token_id": 2 or [2, 3].
        let said = companions.tokenizer_config.get(format!("{name}_token"));
        let by_text = said.and_then(|t| t.as_str().or_else(|| t.get("content")?.as_str())).and_then(|text| vocabulary.ids.get(text).copied());
        let by_id = || {
            let id = configs.iter().find_map(|c| c.get(format!("{name}_token_id")).filter(|v| !v.is_null()))?;
            let id = id.as_u64().or_else(|| id.get(0)?.as_u64())?;
            u32::try_from(id).ok().filter(|id| (*id as usize) < vocabulary.tokens.len())
        };
        Some((key, by_text.or_else(by_id)?))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Tokenizer;
    use serde_json::json;
    use std::path::Path;

    fn translated(tokenizer: Value, tokenizer_config: Value, vocab_size: usize) -> (Tokenizer, Tokenizer, Metadata) {
        let bytes = serde_json::to_vec(&tokenizer).unwrap();
        let companions = Companions { tokenizer: Some(tokenizer), tokenizer_config, ..Companions::default() };
        let mut metadata = Metadata::new();
        let config = ModelConfig { vocab_size, ..ModelConfig::unknown() };
        insert(&mut metadata, &config, &companions, &Reporter::default());
        let path = Path::new("test");
        let keys = Tokenizer::from_metadata(&metadata, path, &Reporter::default()).unwrap();
        (Tokenizer::from_json(&bytes, &metadata, path).unwrap(), keys, metadata)
    }

    #[test]
    fn byte_level_bpe_tokenizes_the_same_from_json_and_from_the_translated_keys() {
        let alphabet = ["h", "e", "l", "o", "w", "r", "d", "Ġ", "Ċ", "!", "he", "ll", "hell", "hello", "Ġw", "or"];
        let vocab: serde_json::Map<String, Value> = alphabet.iter().enumerate().map(|(id, t)| ((*t).to_owned(), json!(id))).collect();
        let tokenizer = json!({
            "added_tokens": [{"id": 16, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "vocab": vocab, "merges": ["h e", "l l", "he ll", "hell o", "Ġ w", "o r"]},
        });
        let (json, keys, metadata) = translated(tokenizer, json!({"bos_token": "<|end|>", "eos_token": {"content": "<|end|>"}}), 20);
        let text = "hello world!\n<|end|>hello";
        for special in [false, true] {
            assert_eq!(json.encode(text, special).unwrap(), keys.encode(text, special).unwrap(), "special {special}");
        }
        assert_eq!(keys.encode("hello world", true).unwrap(), [13, 14, 15, 2, 6]);
        assert_eq!((keys.decode(&[13, 14, 15, 2, 6]).as_str(), keys.piece(14).as_str()), ("hello world", " w"));
        assert_eq!((keys.bos(), keys.eos()), (None, Some(16)));
        assert_eq!(metadata["tokenizer.ggml.pre"], MetaValue::String("gpt-2".into()));
        let types = metadata["tokenizer.ggml.token_type"].as_array().unwrap();
        assert_eq!(types.len(), 20, "padded up to the embedding");
        assert_eq!((&types[15], &types[16], &types[19]), (&MetaValue::I32(1), &MetaValue::I32(3), &MetaValue::I32(5)), "text, control, padding");
    }

    #[test]
    fn bpe_with_byte_fallback_tokenizes_the_same_by_scores_as_by_merge_ranks() {
        let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].iter().map(|t| (*t).to_owned()).collect();
        tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
        // "bc" merges before "ab": from the left, it would come out otherwise.
        tokens.extend(["▁", "a", "b", "c", "bc", "ab", "▁a", "abc"].iter().map(|t| (*t).to_owned()));
        let vocab: serde_json::Map<String, Value> = tokens.iter().enumerate().map(|(id, t)| (t.clone(), json!(id))).collect();
        let special =
            |id: usize| json!({"id": id, "content": tokens[id], "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
        let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
        let tokenizer = json!({
            "added_tokens": [special(0), special(1), special(2)],
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")]},
            "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
            "decoder": {"type": "Sequence", "decoders": [replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "byte_fallback": true, "fuse_unk": true, "unk_token": "<unk>", "vocab": vocab,
                "merges": [["b", "c"], ["a", "b"], ["▁", "a"], ["a", "bc"]]},
        });
        let (json, keys, metadata) = translated(tokenizer, json!({"bos_token": "<s>", "eos_token": "</s>"}), 0);
        for text in ["abc", "a abc bcab\nünï </s> cab", "", "  a"] {
            assert_eq!(json.encode(text, true).unwrap(), keys.encode(text, true).unwrap(), "{text:?}");
            assert_eq!(keys.decode(&keys.encode(text, false).unwrap()), text);
        }
        assert_eq!((keys.bos(), keys.eos()), (Some(1), Some(2)));
        assert_eq!(metadata["tokenizer.ggml.model"], MetaValue::String("llama".into()));
        assert_eq!(metadata["tokenizer.ggml.token_type"].as_array().unwrap()[..4], [2, 3, 3, 6].map(MetaValue::I32));
    }
}
