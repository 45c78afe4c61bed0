//! From what a person typed to a path: `~`, quotes that a file manager put around it, and hub ids in the local cache.

use halftone_core::Error;
use std::path::PathBuf;

/// A typed path, with `~` for the home folder and without the quotes around it.
pub fn expand(typed: &str) -> PathBuf {
    let typed = typed.trim();
    let bare = ['"', '\''].into_iter().find_map(|quote| typed.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(typed);
    match (bare.strip_prefix('~'), directories::BaseDirs::new()) {
        (Some(rest), Some(folders)) if rest.is_empty() || rest.starts_with(['/', '\\']) => folders.home_dir().join(rest.trim_start_matches(['/', '\\'])),
        _ => PathBuf::from(bare),
    }
}

/// A path that exists, or a hub id (`owner/name`) in the local cache of the hub's own clients.
pub fn locate(model: &str) -> anyhow::Result<PathBuf> {
    let path = expand(model);
    if path.exists() {
        return Ok(path);
    }
    let parts: Vec<&str> = model.split('/').collect();
    let is_hub_id = matches!(parts.as_slice(), [owner, name] if [owner, name].iter().all(|p| !p.is_empty() && !p.starts_with('.')));
    if is_hub_id && let Some(snapshot) = hub_snapshot(model) {
        return Ok(snapshot);
    }
    let hint = if is_hub_id { format!("; as a hub id it is not in the local cache either, fetch it with: hf download {model}") } else { String::new() };
    Err(Error::Input(format!("there is no file or folder {model}{hint}")).into())
}

fn hub_snapshot(id: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HF_HOME").map(PathBuf::from).or_else(|| directories::BaseDirs::new().map(|d| d.home_dir().join(".cache/huggingface")))?;
    let repository = home.join("hub").join(format!("models--{}", id.replace('/', "--")));
    let commit = std::fs::read_to_string(repository.join("refs/main")).ok()?;
    let snapshot = repository.join("snapshots").join(commit.trim());
    snapshot.is_dir().then_some(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_go_and_the_tilde_is_the_home_folder() {
        assert_eq!(expand(" \"/a b/c.gguf\" "), PathBuf::from("/a b/c.gguf"), "quotes and spaces around it");
        assert_eq!(expand("~x/y"), PathBuf::from("~x/y"), "somebody else's home is not ours to know");
        if let Some(folders) = directories::BaseDirs::new() {
            assert_eq!(expand("~/m.gguf"), folders.home_dir().join("m.gguf"), "home");
        }
    }

    #[test]
    fn a_path_that_is_not_there_says_so() {
        let error = locate("no/such/model.gguf").expect_err("it is not there").to_string();
        assert!(error.contains("no/such/model.gguf"), "{error}");
    }
}
