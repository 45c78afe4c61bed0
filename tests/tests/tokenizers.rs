//! Tokens of real models against llama.cpp's, whose ids of the same text are pinned here as a count and a hash.

#![expect(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use halftone_core::report::Reporter;
use halftone_core::source::{self, Tokenizer};
use halftone_tests::{models::model, stories15m};
use std::path::Path;
use std::sync::Arc;

fn tokenizer(path: &Path) -> Arc<Tokenizer> {
    source::open(path, &Reporter::default()).unwrap().tokenizer().unwrap()
}

/// The first 200,000 bytes of WikiText-2 test.
fn wikitext() -> String {
    let text = std::fs::read_to_string(model("wikitext/test.raw")).unwrap();
    text[..200_000].to_owned()
}

/// FNV-1a over the ids as little-endian u32.
fn hash(ids: &[u32]) -> u64 {
    ids.iter().flat_map(|id| id.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn byte_level_bpe_from_gguf_gives_the_tokens_of_llama_cpp() {
    let tokenizer = tokenizer(&model("smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"));
    let text = wikitext();
    let ids = tokenizer.encode(&text, false).unwrap();
    assert_eq!(ids[..6], [3717, 446, 6356, 389, 9226, 352]);
    assert_eq!((ids.len(), hash(&ids)), (48_426, 0xc6a4_3449_27e4_257c));
    assert_eq!(tokenizer.decode(&ids), text);
}

#[test]
fn sentencepiece_scores_from_gguf_give_the_tokens_of_llama_cpp() {
    let tokenizer = tokenizer(&stories15m::gguf().unwrap());
    let text = wikitext();
    let ids = tokenizer.encode(&text, false).unwrap();
    assert_eq!(ids[..6], [259, 13, 353, 4755, 350, 5059]);
    assert_eq!((ids.len(), hash(&ids)), (52_951, 0xb578_8ca8_3f26_6800));
    assert_eq!(tokenizer.decode(&ids), text);
}

#[test]
fn special_tokens_are_recognised_only_when_asked_for() {
    let bpe = tokenizer(&model("smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"));
    let chat = "<|im_start|>user\nHi<|im_end|>";
    assert_eq!(bpe.encode(chat, true).unwrap(), [1, 4093, 198, 26843, 2]);
    assert!(bpe.encode(chat, false).unwrap().iter().all(|id| *id > 2));
    assert_eq!(bpe.decode(&bpe.encode(chat, false).unwrap()), chat);

    let scores = tokenizer(&stories15m::gguf().unwrap());
    assert_eq!(scores.encode("<s>Once upon", true).unwrap(), [1, 1, 9038, 2501], "BOS before the text, and the one in it");
    assert!(scores.encode("<s>Once upon", false).unwrap().iter().all(|id| *id > 2));
    assert_eq!(scores.encode("", true).unwrap(), [1]);
    assert_eq!(scores.encode("", false).unwrap(), Vec::<u32>::new());
}

#[test]
fn what_has_no_token_becomes_bytes_and_comes_back() {
    let scores = tokenizer(&stories15m::gguf().unwrap());
    for text in ["🦙", "Ünïcödé", "a\0b", "\n\n", "  two spaces", "ends with a space "] {
        assert_eq!(scores.decode(&scores.encode(text, false).unwrap()), text, "{text:?}");
    }
    assert_eq!(scores.piece(2501), " upon");
}
