//! `transform`.

use super::measure::load_calibration;
use super::print;
use super::session::Session;
use super::transform_args::TransformArgs;
use halftone_core::export::{WrittenModel, write_model};
use halftone_core::transform::{Choice, Transform};

/// Writes the transformed model.
pub fn run(session: &Session, args: &TransformArgs) -> anyhow::Result<()> {
    let source = session.open(&args.model)?;
    let calibration = args.kind.awq.as_ref().or(args.kind.smooth.as_ref()).map(|path| load_calibration(path, &source)).transpose()?;
    let transform = match (args.kind.rotate, &calibration, &args.kind.awq) {
        (Some(reach), ..) => Transform::Rotation { reach, seed: session.global.seed },
        (None, Some(calibration), Some(_)) => Transform::Awq { calibration, format: args.format },
        (None, Some(calibration), None) => Transform::Smooth { calibration, alpha: args.alpha },
        (None, None, _) => anyhow::bail!("name a transform"),
    };
    let (plan, choices) = transform.plan(&source, &session.cx)?;
    let written = write_model(&source, &plan, args.float, &args.output, &session.cx)?;
    session.pause_progress();
    let result = serde_json::json!({ "written": written, "changed_tensors": plan.steps.len(), "choices": choices });
    print::result(session.global.json, &result, || text(&written, plan.steps.len(), &choices))
}

fn text(written: &WrittenModel, changed: usize, choices: &[Choice]) -> String {
    let mut out = format!("{}\n{changed} tensors changed; {} bytes in {}\n", written.note, print::grouped(written.bytes), written.path.display());
    if let Some(device) = &written.device {
        out += &format!("rotated on {device}, in single precision; --device cpu writes the same bytes on every machine\n");
    }
    if written.untied_head_bytes > 0 {
        out += "the head is no longer the embedding: every file made of this model holds both\n";
    }
    if !choices.is_empty() {
        let folded = choices.iter().filter(|choice| choice.alpha > 0.0).count();
        let mean = choices.iter().map(|choice| choice.error_ratio).sum::<f64>() / choices.len() as f64;
        out += &format!("{folded} of {} scales folded; output errors are {:.1} % of those without, in the mean\n", choices.len(), 100.0 * mean);
    }
    out + "calibrate, measure and quantize it as any other model"
}
