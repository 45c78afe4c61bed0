//! How byte-level BPE cuts a text into words before merging: the patterns behind the names in `tokenizer.ggml.pre`, and how a
//! tokenizer.json shows which of them it uses.

use serde_json::Value;

/// One way of cutting.
#[derive(Debug, PartialEq)]
pub struct PreTokenizer {
    /// The names that mean it.
    pub names: &'static [&'static str],
    /// Applied one after another, each to the pieces of the one before; what a pattern does not match is a piece too.
    pub patterns: &'static [&'static str],
    /// A word that is a token stays whole, whatever the merges would make of it.
    pub ignore_merges: bool,
    /// BOS is put before a text unless the model says otherwise.
    pub add_bos: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str =
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const fn pre(names: &'static [&'static str], patterns: &'static [&'static str]) -> PreTokenizer {
    PreTokenizer { names, patterns, ignore_merges: false, add_bos: false }
}

/// The first is what a missing or unknown name means.
pub const PRE_TOKENIZERS: &[PreTokenizer] = &[
    pre(&["default"], &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"]),
    pre(&["gpt-2", "phi-2", "mpt", "olmo", "jais", "exaone4", "gigachat", "mellum", "trillion", "granite-docling"], &[GPT2]),
    pre(&["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"], &[r"\p{N}", GPT2]),
    PreTokenizer { ignore_merges: true, add_bos: true, ..pre(&["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2"], &[LLAMA3]) },
    PreTokenizer { ignore_merges: true, ..pre(&["glm4"], &[LLAMA3]) },
    pre(&["dbrx", "smaug-bpe", "chatglm-bpe"], &[LLAMA3]),
    pre(&["qwen2", "stablelm2", "deepseek-r1-qwen", "hunyuan", "megrez"], &[QWEN2]),
    pre(&["qwen35"], &[QWEN35]),
    pre(&["falcon"], &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"]),
    pre(&["deepseek-coder"], &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+", r"\p{N}"]),
    pre(&["deepseek-v3", "hunyuan-dense"], &[r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3]),
    PreTokenizer { ignore_merges: true, add_bos: true, ..pre(&["tekken"], &[TEKKEN]) },
    pre(&["gpt-4o", "llama4"], &[GPT4O]),
];

/// The way of cutting that a GGUF names; `None` when the name is not known.
pub fn named(name: &str) -> Option<&'static PreTokenizer> {
    PRE_TOKENIZERS.iter().find(|pre| pre.names.contains(&name))
}

/// The name for the `pre_tokenizer` of a tokenizer.json, and for whether its model ignores merges; `None` when it is none of those above.
pub fn recognise(json: &Value, ignore_merges: bool) -> Option<&'static str> {
    let steps: Vec<&Value> = match json.get("pretokenizers").and_then(Value::as_array) {
        Some(steps) => steps.iter().collect(),
        None => vec![json],
    };
    let flag = |step: &Value, key: &str, default: bool| step.get(key).and_then(Value::as_bool).unwrap_or(default);
    let mut patterns = Vec::new();
    for step in steps {
        match step.get("type").and_then(Value::as_str)? {
            "ByteLevel" if flag(step, "add_prefix_space", true) => return None,
            "ByteLevel" if flag(step, "use_regex", true) => patterns.push(GPT2),
            "ByteLevel" => {}
            "Digits" if flag(step, "individual_digits", false) => patterns.push(r"\p{N}"),
            "Punctuation" if step.get("behavior").and_then(Value::as_str) == Some("Contiguous") => patterns.push(r"[\p{P}\$\+<=>\^~\|`]+"),
            "Split" => patterns.push(step.pointer("/pattern/Regex").and_then(Value::as_str)?),
            _ => return None,
        }
    }
    let mut same = PRE_TOKENIZERS.iter().filter(|pre| pre.patterns == patterns);
    same.clone().find(|pre| pre.ignore_merges == ignore_merges).or_else(|| same.next()).map(|pre| pre.names[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn common_pre_tokenizers_are_recognised() {
        let byte_level = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
        let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        let sequence = |steps: &[Value]| json!({"type": "Sequence", "pretokenizers": steps});
        assert_eq!(recognise(&byte_level(true), false), Some("gpt-2"));
        assert_eq!(recognise(&sequence(&[json!({"type": "Digits", "individual_digits": true}), byte_level(true)]), false), Some("smollm"));
        assert_eq!(recognise(&sequence(&[split(LLAMA3), byte_level(false)]), true), Some("llama-bpe"));
        assert_eq!(recognise(&sequence(&[split(LLAMA3), byte_level(false)]), false), Some("dbrx"));
        assert_eq!(recognise(&sequence(&[split(QWEN2), byte_level(false)]), false), Some("qwen2"));
        assert_eq!(recognise(&sequence(&[split("x+"), byte_level(false)]), false), None);
        assert_eq!(recognise(&Value::Null, false), None);
    }

    #[test]
    fn a_name_means_one_way_of_cutting() {
        let mut names: Vec<&str> = PRE_TOKENIZERS.iter().flat_map(|pre| pre.names).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
