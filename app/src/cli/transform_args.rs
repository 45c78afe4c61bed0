//! The grammar of transforms.

use super::args::ModelArg;
use clap::Args;
use halftone_core::codec::Format;
use halftone_core::compute::DeviceChoice;
use halftone_core::tensor::DType;
use halftone_core::transform::Reach;
use std::path::PathBuf;

/// Options of `transform`.
#[derive(Clone, Debug, Args)]
pub struct TransformArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// The transform.
    #[command(flatten)]
    pub kind: TransformKind,
    /// Format that AWQ's scales are chosen for
    #[arg(long, default_value = "Q4_0", conflicts_with_all = ["rotate", "smooth"])]
    pub format: Format,
    /// Share of the difficulty that SmoothQuant moves to the weights
    #[arg(long, default_value_t = 0.5, conflicts_with_all = ["rotate", "awq"])]
    pub alpha: f32,
    /// Type of the changed weights: F32 keeps the logits to 1e-4, F16 and BF16 round them
    #[arg(long = "type", default_value = "F32", value_parser = parse_float, value_name = "TYPE")]
    pub float: DType,
    /// Device of rotations: auto, cpu, gpu, or part of an adapter's name. The CPU computes them in double precision and writes the same bytes on
    /// every machine, a GPU in single precision
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// A .gguf file when the model is one, else a folder
    #[arg(long, short, value_name = "OUT")]
    pub output: PathBuf,
}

/// Exactly one transform.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct TransformKind {
    /// Turn the residual stream and the values by random Hadamard matrices (--seed); "heads" turns the values alone, and unties no head
    #[arg(long, value_name = "full|heads", num_args = 0..=1, default_missing_value = "full", value_parser = parse_reach)]
    pub rotate: Option<Reach>,
    /// Multiply the channels that see large inputs (AWQ), by this calibration
    #[arg(long, value_name = "CALIB")]
    pub awq: Option<PathBuf>,
    /// Share the range of activations and weights (SmoothQuant), by this calibration
    #[arg(long, value_name = "CALIB")]
    pub smooth: Option<PathBuf>,
}

pub fn parse_reach(text: &str) -> Result<Reach, String> {
    match text {
        "full" => Ok(Reach::Full),
        "heads" => Ok(Reach::Heads),
        _ => Err("known are full and heads".to_owned()),
    }
}

fn parse_float(text: &str) -> Result<DType, String> {
    [DType::F32, DType::F16, DType::Bf16].into_iter().find(|t| t.to_string().eq_ignore_ascii_case(text)).ok_or_else(|| "known are F32, F16 and BF16".to_owned())
}
