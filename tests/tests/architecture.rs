//! The arrows of ARCHITECTURE.md, proven: who may depend on whom, and rules of the house that a compiler does not check.

use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every package's name and the names it reaches through normal and build dependencies.
fn reachable() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .context("run cargo metadata")?;
    anyhow::ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let names: BTreeMap<String, String> = list(&metadata["packages"]).iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
    let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let is_normal = |d: &serde_json::Value| list(&d["dep_kinds"]).iter().any(|k| k["kind"].as_str() != Some("dev"));
        edges.insert(text(&node["id"]), list(&node["deps"]).iter().filter(|d| is_normal(d)).map(|d| text(&d["pkg"])).collect());
    }
    let mut all = BTreeMap::new();
    for (id, name) in &names {
        let (mut seen, mut queue) = (BTreeSet::new(), VecDeque::from([id.clone()]));
        while let Some(next) = queue.pop_front() {
            for dependency in edges.get(&next).into_iter().flatten() {
                if seen.insert(dependency.clone()) {
                    queue.push_back(dependency.clone());
                }
            }
        }
        all.insert(name.clone(), seen.iter().filter_map(|id| names.get(id).cloned()).collect());
    }
    Ok(all)
}

fn reaches(all: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    all[from].contains(to)
}

#[test]
fn arrows_point_from_app_to_core_to_shaders_and_never_back() {
    let all = reachable().expect("cargo metadata of this workspace");
    assert!(reaches(&all, "halftone", "halftone-core"), "app uses core");
    assert!(reaches(&all, "halftone-core", "halftone-shaders"), "core uses shaders");
    for (from, to) in [
        ("halftone-core", "halftone"),
        ("halftone-shaders", "halftone-core"),
        ("halftone-shaders", "halftone"),
        ("halftone", "halftone-tests"),
        ("halftone", "xtask"),
    ] {
        assert!(!reaches(&all, from, to), "{from} must not reach {to}");
    }
}

#[test]
fn core_never_reaches_a_window_or_a_terminal() {
    let all = reachable().expect("cargo metadata of this workspace");
    for forbidden in ["egui", "eframe", "winit", "rfd", "clap", "indicatif"] {
        assert!(reaches(&all, "halftone", forbidden), "the check would not notice {forbidden}: the program itself does not use it any more");
        assert!(!reaches(&all, "halftone-core", forbidden), "core must not reach {forbidden}");
    }
}

/// Files of a folder with one of these endings, `target` left out.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
            files(&path, endings, found);
        } else if path.extension().is_some_and(|e| endings.iter().any(|w| *w == e)) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["app", "core", "shaders", "tests", "xtask"] {
        files(&root().join(folder), &["rs", "wgsl"], &mut found);
    }
    assert!(found.len() > 50, "the walk found only {} files", found.len());
    found
}

#[test]
fn a_file_is_one_idea_of_at_most_500_lines() {
    let long: Vec<String> = sources()
        .iter()
        .filter_map(|path| {
            let lines = std::fs::read_to_string(path).expect("readable source").lines().count();
            (lines > 500).then(|| format!("{} has {lines} lines", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_module_says_what_it_does() {
    let silent: Vec<String> = sources()
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "rs"))
        .filter(|path| !std::fs::read_to_string(path).expect("readable source").lines().take(4).any(|l| l.starts_with("//!")))
        .map(|p| p.display().to_string())
        .collect();
    assert!(silent.is_empty(), "no module documentation: {}", silent.join(", "));
}

#[test]
fn nothing_unfinished_is_left_in_the_program() {
    // Put together here so that this file does not find itself.
    let marks = ["todo", "unimplemented"].map(|word| format!("{word}!("));
    let mut found = Vec::new();
    for path in sources().iter().filter(|p| !p.ends_with("architecture.rs")) {
        let text = std::fs::read_to_string(path).expect("readable source");
        found.extend(marks.iter().filter(|m| text.contains(m.as_str())).map(|m| format!("{} has {m}", path.display())));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_project_stands_alone() {
    let mut found = Vec::new();
    let mut all = sources();
    files(&root(), &["md", "toml", "py", "sh"], &mut all);
    for path in all.iter().filter(|p| !p.ends_with("architecture.rs")) {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        for outside in ["../shared", "/work/", "/opt/"] {
            if text.contains(outside) {
                found.push(format!("{} names {outside}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn colours_are_only_in_the_theme() {
    let mut panes = Vec::new();
    files(&root().join("app/src"), &["rs"], &mut panes);
    let found: Vec<String> = panes
        .iter()
        .filter(|p| !p.components().any(|c| c.as_os_str().to_string_lossy().starts_with("theme")))
        .filter(|p| {
            let text = std::fs::read_to_string(p).unwrap_or_default();
            ["Color32::from_rgb", "Color32::from_gray", "Color32::RED", "Color32::WHITE", "Color32::BLACK"].iter().any(|c| text.contains(c))
        })
        .map(|p| p.display().to_string())
        .collect();
    assert!(found.is_empty(), "colours outside the theme: {}", found.join(", "));
}
