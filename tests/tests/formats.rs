//! The readers: real models open with the right catalog, and no file, however malformed, does more than give an error.

#![expect(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use halftone_core::Error;
use halftone_core::report::Reporter;
use halftone_core::source::{self, Role, RopeLayout, Source, SourceFormat};
use halftone_core::tensor::DType;
use halftone_tests::{models::model, stories15m};
use proptest::prelude::*;
use std::path::Path;
use std::sync::LazyLock;

fn open(path: &Path) -> Result<Source, Error> {
    source::open(path, &Reporter::default())
}

// Real models.

#[test]
fn smollm2_opens_with_its_catalog_configuration_and_tokenizer() {
    let source = open(&model("smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")).unwrap();
    let config = &source.config;
    assert_eq!(source.format, SourceFormat::Gguf(3));
    assert_eq!((config.architecture.as_str(), config.license.as_deref()), ("llama", Some("apache-2.0")));
    assert_eq!((config.block_count, config.hidden_size, config.intermediate_size, config.vocab_size), (30, 576, 1536, 49152));
    assert_eq!((config.head_count, config.kv_head_count, config.head_dim, config.tied_head), (9, 3, 64, true));
    let rope = config.rope.unwrap();
    assert_eq!((rope.theta, rope.dimensions, rope.layout), (100_000.0, 64, RopeLayout::Interleaved));
    config.forward_supported().unwrap();

    assert_eq!((source.tensors.len(), source.parameters()), (272, 134_515_008));
    let index = source.find("blk.17.ffn_down.weight").unwrap();
    let entry = &source.tensors[index];
    assert_eq!((entry.role, entry.block, entry.shape.as_slice()), (Role::Down, Some(17), &[576, 1536][..]));
    assert_eq!(entry.dtype.to_string(), "Q4_1");
    assert_eq!(source.view(index).bytes.len() as u64, entry.size_bytes);
    assert!(entry.quantizable());
    let fused = |name: &str| source.tensors[source.find(name).unwrap()].fused.clone().unwrap();
    assert_eq!(fused("blk.0.attn_q.weight"), fused("blk.0.attn_v.weight"));
    assert_eq!(source.metadata.get_index(0).unwrap().0, "general.architecture");

    let tokenizer = source.tokenizer().unwrap();
    assert_eq!((tokenizer.vocab_size(), tokenizer.bos(), tokenizer.eos()), (49152, None, Some(2)));
}

#[test]
fn a_sentence_encoder_opens_and_runs_but_predicts_no_tokens() {
    let source = open(&model("minilm")).unwrap();
    assert_eq!(source.format, SourceFormat::Safetensors);
    assert_eq!((source.config.architecture.as_str(), source.config.block_count, source.config.hidden_size), ("bert", 6, 384));
    assert_eq!((source.config.intermediate_size, source.config.vocab_size), (1536, 30522));
    source.config.forward_supported().unwrap();
    assert!(source.config.predicts_tokens().is_err());
    for (name, role) in [
        ("token_embd.weight", Role::Embedding),
        ("blk.5.attn_k.weight", Role::Key),
        ("blk.5.attn_output.weight", Role::AttentionOutput),
        ("blk.5.ffn_up.weight", Role::Up),
        ("blk.5.ffn_down.weight", Role::Down),
        ("blk.5.layer_output_norm.weight", Role::Norm),
        ("blk.5.attn_q.bias", Role::Bias),
    ] {
        assert_eq!(source.tensors[source.find(name).unwrap_or_else(|| panic!("{name} is missing"))].role, role, "{name}");
    }
    let quantizable = source.tensors.iter().filter(|t| t.quantizable()).count();
    assert_eq!(quantizable, 6 * 6 + 2, "six linears of each block, the token embedding and the pooler; not the tables of positions and types");
    let tokens = source.tokenizer().unwrap().encode("hello world", true).unwrap();
    assert_eq!(tokens, [101, 7592, 2088]);
}

#[test]
fn stories15m_opens_from_its_converted_checkpoint() {
    let source = open(&stories15m::gguf().unwrap()).unwrap();
    assert_eq!((source.config.block_count, source.config.hidden_size, source.config.head_count, source.config.vocab_size), (6, 288, 6, 32000));
    assert_eq!((source.config.tied_head, source.tensors.len()), (true, 2 + 6 * 9));
    source.config.forward_supported().unwrap();
    let index = source.find("blk.0.ffn_up.weight").unwrap();
    assert_eq!((source.tensors[index].dtype, source.tensors[index].shape.as_slice()), (DType::F32, &[768, 288][..]));
    let values = source.view(index).to_f32().unwrap();
    assert!(values.iter().all(|v| v.is_finite() && v.abs() < 4.0), "weights of a trained model");
}

#[test]
fn one_changed_weight_changes_the_fingerprint_and_another_path_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let fingerprint = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        open(&path).unwrap().fingerprint
    };
    let mut bytes = VALID_GGUF.clone();
    let first = fingerprint("a.gguf", &bytes);
    assert_eq!(first, fingerprint("b.gguf", &bytes));
    *bytes.last_mut().unwrap() ^= 1;
    assert_ne!(first, fingerprint("c.gguf", &bytes));
}

// Malformed GGUF.

/// A small GGUF, made value by value so that each can be made wrong.
#[derive(Clone)]
struct Gguf {
    version: u32,
    tensor_count: u64,
    alignment: u32,
    type_id: u32,
    dimensions: Vec<u64>,
    offset: u64,
    token_length: u64,
    token_count: u64,
    data: usize,
}

impl Gguf {
    fn valid() -> Self {
        Self { version: 3, tensor_count: 1, alignment: 32, type_id: 0, dimensions: vec![8, 4], offset: 0, token_length: 5, token_count: 1, data: 128 }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.to_le_bytes());
        out.extend(3u64.to_le_bytes());
        let string = |out: &mut Vec<u8>, text: &str| {
            out.extend((text.len() as u64).to_le_bytes());
            out.extend(text.as_bytes());
        };
        string(&mut out, "general.architecture");
        out.extend(8u32.to_le_bytes());
        string(&mut out, "llama");
        string(&mut out, "general.alignment");
        out.extend(4u32.to_le_bytes());
        out.extend(self.alignment.to_le_bytes());
        string(&mut out, "tokenizer.ggml.tokens");
        out.extend(9u32.to_le_bytes());
        out.extend(8u32.to_le_bytes());
        out.extend(self.token_count.to_le_bytes());
        out.extend(self.token_length.to_le_bytes());
        out.extend(b"hello");
        string(&mut out, "blk.0.attn_q.weight");
        out.extend((self.dimensions.len() as u32).to_le_bytes());
        out.extend(self.dimensions.iter().flat_map(|d| d.to_le_bytes()));
        out.extend(self.type_id.to_le_bytes());
        out.extend(self.offset.to_le_bytes());
        out.resize(out.len().next_multiple_of(32) + self.data, 1);
        out
    }
}

static VALID_GGUF: LazyLock<Vec<u8>> = LazyLock::new(|| Gguf::valid().bytes());

fn open_bytes(name: &str, bytes: &[u8]) -> Result<Source, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    open(&path)
}

#[test]
fn gguf_reader_rejects_what_the_file_cannot_hold() {
    let source = open_bytes("m.gguf", &VALID_GGUF).unwrap();
    assert_eq!(source.tensors[0].shape, [4, 8], "the control: unchanged, it opens");
    let valid = Gguf::valid;
    for (what, gguf, says) in [
        ("tensor count of 2^60", Gguf { tensor_count: 1 << 60, ..valid() }, "tensors are declared"),
        ("more tensors than there are", Gguf { tensor_count: 2, ..valid() }, ""),
        ("string of 2^63 bytes", Gguf { token_length: 1 << 63, ..valid() }, "bytes of a string"),
        ("array of 2^61 strings", Gguf { token_count: 1 << 61, ..valid() }, "array elements"),
        ("type that does not exist", Gguf { type_id: 99, ..valid() }, "type 99"),
        ("removed type", Gguf { type_id: 4, ..valid() }, "type 4"),
        ("product of dimensions over 2^64", Gguf { dimensions: vec![1 << 40, 1 << 40], ..valid() }, "too large"),
        ("bytes over 2^64", Gguf { dimensions: vec![1 << 62, 2], ..valid() }, "too large"),
        ("dimension of 2^64 - 1", Gguf { dimensions: vec![u64::MAX, 1], ..valid() }, ""),
        ("row of one block and a half", Gguf { type_id: 2, dimensions: vec![48, 2], ..valid() }, "whole number of Q4_0 blocks"),
        ("five dimensions", Gguf { dimensions: vec![1, 1, 1, 1, 1], ..valid() }, "5 dimensions"),
        ("offset beyond the file", Gguf { offset: 1 << 40, ..valid() }, "data section"),
        ("offset of 2^64 - 32", Gguf { offset: u64::MAX - 31, ..valid() }, ""),
        ("offset off the alignment", Gguf { offset: 1, ..valid() }, "multiple of 32"),
        ("alignment of zero", Gguf { alignment: 0, ..valid() }, "power of two"),
        ("alignment of 24", Gguf { alignment: 24, ..valid() }, "power of two"),
        ("data cut short", Gguf { data: 127, ..valid() }, "data section"),
        ("version 1", Gguf { version: 1, ..valid() }, "version 1"),
        ("version 99", Gguf { version: 99, ..valid() }, "version 99"),
        ("big-endian", Gguf { version: 3u32.swap_bytes(), ..valid() }, "big-endian"),
    ] {
        let error = open_bytes("m.gguf", &gguf.bytes()).err().unwrap_or_else(|| panic!("{what} was accepted")).to_string();
        assert!(error.contains(says), "{what}: {error}");
    }
}

#[test]
fn gguf_reader_rejects_a_file_cut_anywhere() {
    for length in 0..VALID_GGUF.len() {
        assert!(open_bytes("m.gguf", &VALID_GGUF[..length]).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn gguf_reader_rejects_arrays_nested_without_end() {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(b"k");
    bytes.extend(9u32.to_le_bytes());
    for _ in 0..100_000 {
        bytes.extend(9u32.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
    }
    assert!(open_bytes("m.gguf", &bytes).unwrap_err().to_string().contains("nested"));
}

// Malformed safetensors.

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.resize(out.len() + data, 0);
    out
}

const VALID_HEADER: &str = r#"{"model.norm.weight":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"model.layers.0.mlp.up_proj.weight":{"dtype":"BF16","shape":[2,4],"data_offsets":[16,32]}}"#;

#[test]
fn safetensors_reader_rejects_what_the_file_cannot_hold() {
    let source = open_bytes("m.safetensors", &safetensors(VALID_HEADER, 32)).unwrap();
    assert_eq!(source.tensors[1].name, "blk.0.ffn_up.weight", "the control: unchanged, it opens");
    let one = |rest: &str| format!(r#"{{"a":{{"dtype":"F32",{rest}}}}}"#);
    for (what, bytes) in [
        ("header of 2^60 bytes", [&(1u64 << 60).to_le_bytes()[..], b"{}"].concat()),
        ("header of 2^64 - 1 bytes", [&u64::MAX.to_le_bytes()[..], b"{}"].concat()),
        ("header longer than the file", [&90_000_000u64.to_le_bytes()[..], b"{}"].concat()),
        ("seven bytes", vec![0; 7]),
        ("no tensors", safetensors("{}", 0)),
        ("not JSON", safetensors("{\"a\":", 0)),
        ("not UTF-8", [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat()),
        ("deep JSON", safetensors(&"[".repeat(100_000), 0)),
        ("offsets beyond the file", safetensors(&one(r#""shape":[8],"data_offsets":[0,32]"#), 16)),
        ("offsets backwards", safetensors(&one(r#""shape":[4],"data_offsets":[16,0]"#), 16)),
        ("bytes that are not shape × type", safetensors(&one(r#""shape":[5],"data_offsets":[0,16]"#), 16)),
        ("shape whose product overflows", safetensors(&one(r#""shape":[4294967296,4294967296,4294967296],"data_offsets":[0,16]"#), 16)),
        ("negative shape", safetensors(&one(r#""shape":[-4],"data_offsets":[0,16]"#), 16)),
        ("bytes behind the last tensor", safetensors(VALID_HEADER, 40)),
        ("overlap", safetensors(&VALID_HEADER.replace("[16,32]", "[8,24]"), 24)),
        ("hole", safetensors(&VALID_HEADER.replace("[16,32]", "[24,40]"), 40)),
        ("unknown type", safetensors(&VALID_HEADER.replace("BF16", "Z9"), 32)),
        ("two tensors of one name", safetensors(&VALID_HEADER.replace("model.layers.0.mlp.up_proj.weight", "model.norm.weight"), 32)),
    ] {
        assert!(open_bytes("m.safetensors", &bytes).is_err(), "{what} was accepted");
    }
}

#[test]
fn safetensors_reader_rejects_a_file_cut_anywhere() {
    let bytes = safetensors(VALID_HEADER, 32);
    for length in 0..bytes.len() {
        assert!(open_bytes("m.safetensors", &bytes[..length]).is_err(), "cut to {length} bytes");
    }
}

// Folders.

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn error_of(files: &[(&str, &[u8])]) -> String {
    open(folder(files).path()).expect_err("it was accepted").to_string()
}

#[test]
fn an_index_cannot_lead_out_of_its_folder() {
    for target in ["../../etc/passwd", "/etc/passwd", "..", "sub/model.safetensors", "C:\\\\model.safetensors"] {
        let index = format!(r#"{{"weight_map":{{"a":"{target}"}}}}"#);
        let error = error_of(&[("model.safetensors.index.json", index.as_bytes())]);
        assert!(error.contains("not the name of a file"), "{error}");
    }
}

#[test]
fn folders_that_are_no_model_say_what_is_missing() {
    assert!(error_of(&[("config.json", b"{}")]).contains("no .safetensors or .gguf"));
    assert!(error_of(&[("config.json", b"{}"), ("pytorch_model.bin", b"x")]).contains("pickle"));
    assert!(error_of(&[("a.gguf", b"x"), ("b.gguf", b"x")]).contains("a.gguf, b.gguf"));
    let index = br#"{"weight_map":{"a":"model-00001-of-00002.safetensors"}}"#;
    assert!(error_of(&[("model.safetensors.index.json", index)]).contains("does not exist"));
    assert!(error_of(&[("model.safetensors.index.json", b"{}")]).contains("weight_map"));
    let valid = safetensors(VALID_HEADER, 32);
    assert!(error_of(&[("model.safetensors", &valid), ("config.json", b"{")]).contains("JSON"));
    let elsewhere = br#"{"weight_map":{"missing.weight":"m.safetensors"}}"#;
    assert!(error_of(&[("m.safetensors", &valid), ("model.safetensors.index.json", elsewhere)]).contains("missing.weight is not in"));
}

#[test]
fn shards_open_as_one_model_from_the_folder_the_index_or_a_shard() {
    let (norm, up) = ("model.norm.weight", "model.layers.0.mlp.up_proj.weight");
    let shard = |name: &str| safetensors(&format!(r#"{{"{name}":{{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}}}"#), 16);
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let index = format!(r#"{{"weight_map":{{"{norm}":"{}","{up}":"{}"}}}}"#, names[0], names[1]);
    let config = br#"{"model_type":"llama","hidden_size":4,"num_attention_heads":2,"num_hidden_layers":1}"#;
    let folder = folder(&[(names[0], &shard(norm)), (names[1], &shard(up)), ("model.safetensors.index.json", index.as_bytes()), ("config.json", config)]);
    for path in [folder.path().to_owned(), folder.path().join("model.safetensors.index.json"), folder.path().join(names[1])] {
        let source = open(&path).unwrap();
        let found: Vec<&str> = source.tensors.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(found, ["output_norm.weight", "blk.0.ffn_up.weight"], "{}", path.display());
        assert_eq!(source.config.rope.unwrap().layout, RopeLayout::Half);
    }
}

#[test]
fn a_tied_head_that_is_stored_all_the_same_is_left_out_and_said() {
    let header = r#"{"lm_head.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"model.embed_tokens.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[16,32]}}"#;
    let config = br#"{"model_type":"llama","tie_word_embeddings":true}"#;
    let folder = folder(&[("model.safetensors", &safetensors(header, 32)), ("config.json", config)]);
    let reporter = Reporter::default();
    let source = source::open(folder.path(), &reporter).unwrap();
    assert_eq!((source.tensors.len(), source.config.tied_head, source.find("output.weight")), (1, true, None));
    assert!(reporter.notices().iter().any(|n| n.tensor.as_deref() == Some("lm_head.weight")));
}

// Anything.

/// Opens, and if that succeeds does what a user would do next; the result does not matter, only that nothing panics.
fn open_and_use(name: &str, bytes: &[u8]) {
    if let Ok(source) = open_bytes(name, bytes) {
        for index in 0..source.tensors.len() {
            assert_eq!(source.view(index).bytes.len() as u64, source.tensors[index].size_bytes);
        }
        let _ = source.tokenizer();
        let _ = source.config.forward_supported();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_mutation_of_a_gguf_panics(changes in prop::collection::vec((0..VALID_GGUF.len(), any::<u8>()), 1..6)) {
        let mut bytes = VALID_GGUF.clone();
        for (at, value) in changes {
            bytes[at] = value;
        }
        open_and_use("m.gguf", &bytes);
    }

    #[test]
    fn no_mutation_of_a_safetensors_header_panics(changes in prop::collection::vec((0..8 + VALID_HEADER.len(), any::<u8>()), 1..6)) {
        let mut bytes = safetensors(VALID_HEADER, 32);
        for (at, value) in changes {
            bytes[at] = value;
        }
        open_and_use("m.safetensors", &bytes);
    }
}
