//! Which files a path stands for: one GGUF or its parts, one safetensors file or its shards, and the folder with config.json.
//!
//! Invariant: what an index names is a plain file name; nothing outside the folder is opened.

use super::mapped::read_json;
use crate::error::{Error, Result};
use crate::report::{NoticeKind, Reporter};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

const INDEX_SUFFIX: &str = ".safetensors.index.json";

/// The files of a model.
#[derive(Debug, PartialEq)]
pub(super) enum Layout {
    /// A GGUF file (the first, when it is split).
    Gguf(PathBuf),
    /// Safetensors files.
    Safetensors {
        /// In order.
        files: Vec<PathBuf>,
        /// Which tensor the index says is in which file.
        index: BTreeMap<String, PathBuf>,
        /// Where config.json and tokenizer.json may be.
        folder: PathBuf,
    },
}

/// Whether opening this path makes sense, judged by its name alone (and, for a folder, by the names in it).
pub fn is_model_path(path: &Path) -> bool {
    if path.is_dir() {
        return list(path).is_ok_and(|names| names.iter().any(|n| is_gguf(n) || is_safetensors(n) || n.ends_with(INDEX_SUFFIX)));
    }
    path.file_name().and_then(|n| n.to_str()).is_some_and(|n| is_gguf(n) || is_safetensors(n) || n.ends_with(INDEX_SUFFIX) || n == "config.json")
}

/// Finds the files of a model.
pub(super) fn find(path: &Path, reporter: &Reporter) -> Result<Layout> {
    if path.is_dir() {
        return folder(path);
    }
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if name.ends_with(INDEX_SUFFIX) {
        return indexed(path, parent);
    }
    if name == "config.json" {
        return folder(parent);
    }
    if is_safetensors(name) {
        // A shard alone is rarely what was meant.
        if let Some((stem, _, _)) = split_name(name, ".safetensors") {
            let index = parent.join(format!("{stem}{INDEX_SUFFIX}"));
            if index.is_file() {
                let text = format!("{name} is one of several files; all of them were opened");
                reporter.notice(None, NoticeKind::Other { text });
                return indexed(&index, parent);
            }
        }
        return Ok(Layout::Safetensors { files: vec![path.to_owned()], index: BTreeMap::new(), folder: parent.to_owned() });
    }
    if is_gguf(name) || begins_with_gguf(path)? {
        return Ok(Layout::Gguf(path.to_owned()));
    }
    Err(Error::unsupported(format!("opening {name}"), "a model is a .gguf or .safetensors file, a .safetensors.index.json, or a folder with them"))
}

/// The files of a split GGUF, in order, from any of their names: `NAME-00001-of-00003.gguf`.
pub(super) fn split_parts(path: &Path, count: u64) -> Result<Vec<PathBuf>> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let Some((stem, _, total)) = split_name(name, ".gguf").filter(|(_, _, total)| *total == count) else {
        return Err(Error::malformed("GGUF", path, format!("it is one of {count} files, but is not called NAME-00001-of-{count:05}.gguf")));
    };
    let parts: Vec<PathBuf> = (1..=total).map(|number| path.with_file_name(format!("{stem}-{number:05}-of-{total:05}.gguf"))).collect();
    match parts.iter().find(|part| !part.is_file()) {
        Some(part) => Err(Error::malformed("GGUF", path, format!("the part {} is missing", part.display()))),
        None => Ok(parts),
    }
}

fn folder(path: &Path) -> Result<Layout> {
    let names = list(path)?;
    let of = |test: &dyn Fn(&str) -> bool| names.iter().filter(|n| test(n)).cloned().collect::<Vec<_>>();
    let indexes = of(&|n| n.ends_with(INDEX_SUFFIX));
    let weights = of(&|n| is_safetensors(n));
    let ggufs = of(&|n| is_gguf(n) && split_name(n, ".gguf").is_none_or(|(_, number, _)| number == 1));
    let one = |file: &str| Layout::Safetensors { files: vec![path.join(file)], index: BTreeMap::new(), folder: path.to_owned() };
    let choose = |files: &[String]| Error::Input(format!("{} has several models; open one of them: {}", path.display(), files.join(", ")));
    if let Some(name) = indexes.iter().find(|n| n.starts_with("model.")).or(indexes.first().filter(|_| indexes.len() == 1)) {
        return indexed(&path.join(name), path);
    }
    if let Some(name) = weights.iter().find(|n| *n == "model.safetensors") {
        return Ok(one(name));
    }
    match (indexes.as_slice(), weights.as_slice(), ggufs.as_slice()) {
        ([], [], [file]) => Ok(Layout::Gguf(path.join(file))),
        ([], [file], []) => Ok(one(file)),
        ([], [], []) => {
            let pickled = of(&|n| [".bin", ".pt", ".pth"].iter().any(|e| n.ends_with(e)));
            let why = match pickled.first() {
                Some(file) => format!("{file} is a Python pickle, which is not read; save the model as safetensors"),
                None => "there is no .safetensors or .gguf file in it".to_owned(),
            };
            Err(Error::unsupported(format!("opening the folder {}", path.display()), why))
        }
        _ => Err(choose(&[indexes.clone(), weights.clone(), ggufs.clone()].concat())),
    }
}

/// The shards of an index.json.
fn indexed(path: &Path, folder: &Path) -> Result<Layout> {
    let json = read_json(path)?;
    let malformed = |detail: String| Error::malformed("safetensors index", path, detail);
    let map = json.get("weight_map").and_then(|m| m.as_object()).ok_or_else(|| malformed("it has no weight_map".to_owned()))?;
    let mut index = BTreeMap::new();
    for (tensor, file) in map {
        let file = file.as_str().ok_or_else(|| malformed(format!("the file of {tensor} is not a string")))?;
        if !is_plain_file_name(file) {
            return Err(malformed(format!("{tensor} is said to be in {file:?}, which is not the name of a file in the index's folder")));
        }
        let file = folder.join(file);
        if !file.is_file() {
            return Err(malformed(format!("{tensor} is said to be in {}, which does not exist", file.display())));
        }
        index.insert(tensor.clone(), file);
    }
    if index.is_empty() {
        return Err(malformed("its weight_map is empty".to_owned()));
    }
    let files: BTreeSet<PathBuf> = index.values().cloned().collect();
    Ok(Layout::Safetensors { files: files.into_iter().collect(), index, folder: folder.to_owned() })
}

/// One component, on every operating system.
fn is_plain_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None)) && !name.contains(['/', '\\', ':', '\0'])
}

fn is_gguf(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".gguf")
}

fn is_safetensors(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".safetensors")
}

fn begins_with_gguf(path: &Path) -> Result<bool> {
    use std::io::Read;
    let mut magic = Vec::new();
    std::fs::File::open(path).map_err(Error::io("open model file", path))?.take(4).read_to_end(&mut magic).map_err(Error::io("read model file", path))?;
    Ok(magic == b"GGUF")
}

/// `STEM-00002-of-00005.gguf` → (STEM, 2, 5).
fn split_name<'a>(name: &'a str, extension: &str) -> Option<(&'a str, u64, u64)> {
    let (rest, total) = name.strip_suffix(extension)?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| (text.len() == 5).then(|| text.parse().ok()).flatten();
    Some((stem, digits(number)?, digits(total)?))
}

/// Names of the files of a folder, sorted.
fn list(path: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io("open folder", path))? {
        let entry = entry.map_err(Error::io("read folder", path))?;
        if let Ok(name) = entry.file_name().into_string()
            && entry.path().is_file()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_may_only_name_files_beside_it() {
        assert!(is_plain_file_name("model-00001-of-00002.safetensors"));
        for hostile in ["../../etc/passwd", "/etc/passwd", "a/b", "..", ".", "", "C:\\x", "a\\b", "a\0b"] {
            assert!(!is_plain_file_name(hostile), "{hostile:?}");
        }
    }

    #[test]
    fn parts_are_known_by_their_numbers() {
        assert_eq!(split_name("m-00002-of-00005.gguf", ".gguf"), Some(("m", 2, 5)));
        assert_eq!(split_name("m-2-of-5.gguf", ".gguf"), None);
        assert_eq!(split_name("m.gguf", ".gguf"), None);
    }
}
