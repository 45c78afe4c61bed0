//! What a command reads, so that it is not written over.

use super::args::{Command, ModelArg};
use std::path::{Path, PathBuf};

/// Refuses to write over what is read.
pub fn keep(command: &Command) -> anyhow::Result<()> {
    if let Some((output, inputs)) = command.files() {
        inputs.into_iter().try_for_each(|input| halftone_core::job::not_the_same(input, output))?;
    }
    Ok(())
}

impl Command {
    /// What it writes over, and what it reads that cannot be had again; a table or calibration that is merged into itself is meant.
    fn files(&self) -> Option<(&Path, Vec<&Path>)> {
        fn model(model: &ModelArg) -> impl Iterator<Item = &Path> {
            model.model.iter().map(Path::new)
        }
        fn paths<'a>(some: impl IntoIterator<Item = &'a PathBuf>) -> impl Iterator<Item = &'a Path> {
            some.into_iter().map(PathBuf::as_path)
        }
        Some(match self {
            Self::Transform(args) => (&args.output, model(&args.model).collect()),
            Self::Calibrate(args) => (&args.output, model(&args.model).chain(paths(&args.text)).collect()),
            Self::Measure(args) => (&args.output, model(&args.model).chain(paths(&args.calibration)).chain(paths(&args.probe_text)).collect()),
            Self::Allocate(args) => (&args.output, paths([&args.table]).chain(paths(&args.calibration)).chain(paths(&args.search_text)).collect()),
            Self::Export(args) => (&args.output, args.model.iter().map(Path::new).collect()),
            Self::Auto(args) => (&args.output, model(&args.model).chain(paths(&args.text)).chain(paths(&args.eval_text)).collect()),
            _ => return None,
        })
    }
}
