//! `export`.

use super::args::ExportArgs;
use super::print;
use super::session::Session;
use crate::locate::locate;
use halftone_core::export::{Exported, writer};
use halftone_core::job::Artifact;

/// Writes a finished job for a runtime.
pub fn run(session: &Session, args: &ExportArgs) -> anyhow::Result<()> {
    let artifact = Artifact::open(&args.job)?;
    let path = match &args.model {
        Some(model) => locate(model)?,
        None => artifact.recipe.model_path.clone(),
    };
    let source = session.open_path(&path)?;
    let exported = writer(args.to).write(&source, &artifact, &args.output, &session.cx)?;
    session.pause_progress();
    print::result(session.global.json, &exported, || describe(&exported))
}

/// What was written and how to use it.
pub fn describe(exported: &Exported) -> String {
    format!(
        "{} ({} bytes, {} tensors checked after re-opening, blake3 {})\n{}",
        exported.path.display(),
        print::grouped(exported.bytes),
        exported.tensors_checked,
        &exported.hash[..exported.hash.len().min(16)],
        exported.serve_command
    )
}
