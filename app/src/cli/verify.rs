//! `verify`.

use super::args::VerifyArgs;
use super::print;
use super::session::Session;
use anyhow::Context as _;
use halftone_core::export::verify;
use halftone_core::job::Artifact;
use std::path::Path;
use std::process::{Command, Stdio};

/// Loads the file's tensors with gguf-py and decodes each.
const GGUF_PY: &str = "
import sys, gguf, gguf.quants, numpy
reader = gguf.GGUFReader(sys.argv[1])
for t in reader.tensors:
    assert numpy.isfinite(gguf.quants.dequantize(t.data, t.tensor_type)).all(), t.name
print(len(reader.tensors), 'tensors decoded')
";

/// Re-opens the file, and optionally loads it in a real client.
pub fn run(session: &Session, args: &VerifyArgs) -> anyhow::Result<()> {
    let artifact = args.against.as_deref().map(Artifact::open).transpose()?;
    let source = artifact.as_ref().map(|a| session.open_path(&a.recipe.model_path)).transpose()?;
    let report = verify(&args.file, source.as_ref().zip(artifact.as_ref()), &session.cx)?;
    let client = args.with.as_deref().map(|client| load_in(client, &args.file)).transpose()?;
    session.pause_progress();
    print::result(session.global.json, &serde_json::json!({ "file": args.file, "report": report, "client": client }), || {
        let client = client.as_deref().map(|answer| format!("\n{}: {answer}", args.with.as_deref().unwrap_or_default())).unwrap_or_default();
        format!("{}: {} tensors checked{client}", args.file.display(), report.tensors)
    })
}

fn load_in(client: &str, file: &Path) -> anyhow::Result<String> {
    let mut command = if client == "gguf-py" {
        let mut python = Command::new(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into()));
        python.args(["-c", GGUF_PY]).arg(file);
        python
    } else {
        let mut llama = Command::new("llama-completion");
        llama.arg("-m").arg(file).args(["-p", "Once upon a time", "-n", "8", "--temp", "0", "-no-cnv"]);
        llama
    };
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("{client} is not installed: {:?} could not be started", command.get_program()))?;
    anyhow::ensure!(output.status.success(), "{client} could not load {}: {}", file.display(), String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
