//! The journal of a search: a file named by what decides the search, one line a trial, each durable before the next trial begins. A line
//! that was cut short by a kill is dropped, and its trial made again.

use super::moves::Change;
use super::{Kl, Start};
use crate::allocate::{Choice, Problem};
use crate::error::{Error, Result};
use crate::residual::Candidate;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Trial {
    /// First tensor of each changed group, and its new candidate.
    changed: Vec<(String, Candidate)>,
    /// Measured change of the KL.
    difference: Kl,
    /// Whether it was better.
    pub accepted: bool,
}

impl Trial {
    pub fn new(problem: &Problem, changes: &[Change], difference: Kl, accepted: bool) -> Self {
        let named = |c: &Change| (problem.groups[c.group].tensors[0].clone(), problem.groups[c.group].choices[c.to].candidate());
        Self { changed: changes.iter().map(named).collect(), difference, accepted }
    }

    /// The changes, as groups of the problem.
    pub fn changes(&self, problem: &Problem) -> Result<Vec<Change>> {
        let find = |(tensor, candidate): &(String, Candidate)| {
            let group = problem.groups.iter().position(|g| g.tensors[0] == *tensor)?;
            Some(Change { group, to: problem.groups[group].choices.iter().position(|c| c.candidate() == *candidate)? })
        };
        let unknown = || Error::Input("the journal of the search names a tensor or format that the table has not".to_owned());
        self.changed.iter().map(|entry| find(entry).ok_or_else(unknown)).collect()
    }
}

/// A journal that trials are added to.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens the journal of a search in a folder, or begins it; gives the trials that are in it.
    ///
    /// # Errors
    /// `Io`; `Malformed` for a line that is no trial.
    pub fn open(folder: &Path, key: &str) -> Result<(Self, Vec<Trial>)> {
        std::fs::create_dir_all(folder).map_err(Error::io("create the folder of the search", folder))?;
        let path = folder.join(format!("trials-{key}.jsonl"));
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(Error::io("open the journal", &path))?;
        let text = std::fs::read_to_string(&path).map_err(Error::io("read the journal", &path))?;
        let (whole, _) = text.rsplit_once('\n').map_or(("", ""), |(whole, rest)| (whole, rest));
        let bad = |e: serde_json::Error| Error::malformed("journal of a search", &path, e.to_string());
        let trials = whole.lines().map(serde_json::from_str).collect::<serde_json::Result<Vec<Trial>>>().map_err(bad)?;
        let kept = if whole.is_empty() { 0 } else { whole.len() as u64 + 1 };
        file.set_len(kept).map_err(Error::io("drop the end of the journal", &path))?;
        file.seek(std::io::SeekFrom::End(0)).map_err(Error::io("open the journal", &path))?;
        Ok((Self { file, path }, trials))
    }

    /// Adds a trial; when this returns it survives a loss of power.
    pub fn append(&mut self, trial: &Trial) -> Result<()> {
        let mut line = serde_json::to_vec(trial).map_err(|e| Error::Input(e.to_string()))?;
        line.push(b'\n');
        let io = Error::io("write the journal", &self.path);
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(io)
    }
}

/// Everything that decides what a search may try and what its trials measure, as one hash. Pins and limits are in the candidates; the target says
/// whose arithmetic runs, and is not in the recipe's own hash.
pub(super) fn key(from: Start<'_>, calibration: Option<&str>) -> String {
    let Start { problem, recipe, text, options } = from;
    let groups: Vec<(&[String], Vec<Candidate>)> = problem.groups.iter().map(|g| (&*g.tensors, g.choices.iter().map(Choice::candidate).collect())).collect();
    let parts =
        format!("{} {} {:?} {groups:?} {calibration:?} {text:?} {} {}", crate::round::TOOL, recipe.hash(), recipe.target, options.searcher, options.seed);
    blake3::hash(parts.as_bytes()).to_hex()[..24].to_owned()
}
