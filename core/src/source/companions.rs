//! The small files beside safetensors weights: config.json, tokenizer.json, tokenizer_config.json, the chat template, the model card.

use super::mapped::{parse_json, read_small};
use crate::error::Result;
use serde_json::Value;
use std::path::Path;

/// What the folder says about its model. A missing file is `Null` or `None`.
#[derive(Default)]
pub(super) struct Companions {
    /// config.json.
    pub config: Value,
    /// tokenizer_config.json.
    pub tokenizer_config: Value,
    /// generation_config.json.
    pub generation_config: Value,
    /// tokenizer.json, parsed.
    pub tokenizer: Option<Value>,
    /// tokenizer.json, as it is.
    pub tokenizer_bytes: Option<Vec<u8>>,
    /// Jinja source: chat_template.jinja, or the template inside tokenizer_config.json.
    pub chat_template: Option<String>,
    /// `license:` of the model card.
    pub license: Option<String>,
    /// The folder's own name.
    pub folder_name: Option<String>,
    /// config.json and tokenizer.json as they are, for the fingerprint.
    pub identity: Vec<Vec<u8>>,
}

impl Companions {
    /// Reads what is there.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut companions = Self::default();
        let bytes = |name: &str| Some(folder.join(name)).filter(|f| f.is_file()).map(|f| read_small(&f)).transpose();
        let json = |name: &str, bytes: &Option<Vec<u8>>| bytes.as_deref().map(|b| parse_json(&folder.join(name), b)).transpose();
        let (config, tokenizer) = (bytes("config.json")?, bytes("tokenizer.json")?);
        companions.config = json("config.json", &config)?.unwrap_or_default();
        companions.tokenizer = json("tokenizer.json", &tokenizer)?;
        companions.identity = [&config, &tokenizer].into_iter().flatten().cloned().collect();
        companions.tokenizer_bytes = tokenizer;
        companions.tokenizer_config = json("tokenizer_config.json", &bytes("tokenizer_config.json")?)?.unwrap_or_default();
        companions.generation_config = json("generation_config.json", &bytes("generation_config.json")?)?.unwrap_or_default();
        companions.chat_template = match bytes("chat_template.jinja")? {
            Some(text) => Some(String::from_utf8_lossy(&text).into_owned()),
            None => companions.tokenizer_config.get("chat_template").and_then(template_text).map(str::to_owned),
        };
        companions.license = bytes("README.md")?.and_then(|card| license(&String::from_utf8_lossy(&card)));
        let canonical = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        companions.folder_name = canonical.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(companions)
    }
}

/// One template, or the one called "default" of several.
fn template_text(value: &Value) -> Option<&str> {
    let of_list = || value.as_array()?.iter().find(|t| t.get("name").and_then(Value::as_str) == Some("default"))?.get("template")?.as_str();
    value.as_str().or_else(of_list)
}

/// The licence in the front matter of a model card.
fn license(card: &str) -> Option<String> {
    let matter = card.strip_prefix("---")?;
    let matter = &matter[..matter.find("\n---")?];
    let value = matter.lines().find_map(|line| line.strip_prefix("license:"))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned()).filter(|v| !v.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_licence_is_read_from_the_front_matter_only() {
        assert_eq!(license("---\nlanguage: en\nlicense: apache-2.0\n---\n# Title").as_deref(), Some("apache-2.0"));
        assert_eq!(license("# Title\nlicense: apache-2.0\n"), None);
    }
}
