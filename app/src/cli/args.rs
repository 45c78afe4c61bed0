//! The grammar of the command line.

use super::bench_device::BenchDeviceArgs;
use super::choice_args::{RecipeCommand, RefineArgs, RuleArgs};
use super::transform_args::{TransformArgs, parse_reach};
use clap::{Args, Parser, Subcommand};
use halftone_core::allocate::{Budget, Overhead, parse_size};
use halftone_core::codec::Format;
use halftone_core::compute::DeviceChoice;
use halftone_core::eval::Runtime;
use halftone_core::export::ExportFormat;
use halftone_core::gradient::GRADIENT_TOKENS;
use halftone_core::residual::Candidate;
use halftone_core::round::DEFAULT_ROUNDING;
use halftone_core::transform::Reach;
use std::path::PathBuf;

/// Sees, decides, runs and proves the compression of a trained model.
#[derive(Debug, Parser)]
#[command(name = "halftone", version, about, subcommand_negates_reqs = true)]
pub struct Cli {
    /// What every command understands.
    #[command(flatten)]
    pub global: Global,
    /// A step of the road; without one the studio opens.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Model to open in the studio: a GGUF or safetensors file, or a folder with config.json
    pub model: Option<PathBuf>,
    /// Open the built-in demo model
    #[arg(long)]
    pub demo: bool,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Print results as JSON on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress on stderr
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Threads of the CPU to use (default: all)
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// Seed of everything random
    #[arg(long, global = true, default_value_t = 0)]
    pub seed: u64,
    /// Memory for calibration matrices and for activations, for example 4GiB; activations that do not fit go into a temporary file
    #[arg(long, global = true, value_parser = parse_size, value_name = "SIZE", default_value = "4GiB")]
    pub memory: u64,
}

/// The steps.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the devices that can compute
    Devices,
    /// Time every kernel of a GPU against what its memory and arithmetic allow
    BenchDevice(BenchDeviceArgs),
    /// Show what a model is made of
    Inspect(InspectArgs),
    /// Write the same function in other weights that round better: rotated, or with scales folded
    Transform(TransformArgs),
    /// Run text through a model and keep the statistics of its activations
    Calibrate(CalibrateArgs),
    /// Make the table tensor × candidate
    Measure(MeasureArgs),
    /// Choose a format for each tensor under a budget
    Allocate(AllocateArgs),
    /// Work with recipes
    #[command(subcommand)]
    Recipe(RecipeCommand),
    /// Quantize by a recipe; run again to resume
    Quantize(QuantizeArgs),
    /// Compare outputs before and after
    Compare(CompareArgs),
    /// Write a quantized model for a runtime
    Export(ExportArgs),
    /// Re-open a file and check it
    Verify(VerifyArgs),
    /// The whole road in one command
    Auto(AutoArgs),
}

/// The metrics that `measure` can be asked for.
const MEASURED: [&str; 8] = ["weight", "imatrix", "activation", "hessian-trace", "pqi", "fisher", "predicted-kl", "measured-kl"];
/// The metrics that `allocate` can go by.
const METRICS: [&str; 9] = ["weight", "imatrix", "activation", "hessian-trace", "pqi", "fisher", "predicted-kl", "measured-kl", "calibrated-kl"];

/// Which model.
#[derive(Clone, Debug, Args)]
pub struct ModelArg {
    /// A GGUF or safetensors file, a folder with config.json, or a hub id that is in the local hub cache
    #[arg(required_unless_present = "demo")]
    pub model: Option<String>,
    /// The built-in demo model instead
    #[arg(long)]
    pub demo: bool,
}

/// Options of `inspect`.
#[derive(Clone, Debug, Args)]
pub struct InspectArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// Read every weight: moments, outliers, NaN
    #[arg(long)]
    pub statistics: bool,
}

/// Options of `calibrate`.
#[derive(Clone, Debug, Args)]
pub struct CalibrateArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// Text files: UTF-8, JSON lines with the field "text", or parquet with the column "text"; `default` (and none) is the text that
    /// comes with the program
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub text: Vec<PathBuf>,
    /// Shares of the texts, one each, for example 3,1 (default: one text after the other until there are enough tokens)
    #[arg(long, value_delimiter = ',', value_name = "WEIGHT")]
    pub weights: Vec<f64>,
    /// Earlier calibrations of this model to add
    #[arg(long, num_args = 1.., value_name = "CALIB")]
    pub merge: Vec<PathBuf>,
    /// Tokens to run
    #[arg(long, default_value_t = 32_768)]
    pub tokens: usize,
    /// Of a mixture of experts: look at four times the text first and take the part that sends tokens to the experts which see few
    #[arg(long)]
    pub balance_experts: bool,
    /// Device: auto, cpu, gpu, or part of an adapter's name
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// Where to write the calibration; an imatrix (GGUF) is written beside it
    #[arg(long, short, value_name = "CALIB")]
    pub output: PathBuf,
}

/// Options of `measure`.
#[derive(Clone, Debug, Args)]
pub struct MeasureArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// Activation statistics from `calibrate`, or an imatrix file; without it the table is weight-only
    #[arg(long, value_name = "CALIB")]
    pub calibration: Option<PathBuf>,
    /// Candidates (default: the 2- to 8-bit ggml types); with what is kept of the rounding error: Q4_0+r16, INT3-g32+o0.5%+r8
    #[arg(long, value_delimiter = ',', value_name = "FORMAT")]
    pub formats: Vec<Candidate>,
    /// Metrics to fill beside weight, imatrix and activation; all need --probe-text (default with it: predicted-kl)
    #[arg(long = "metric", value_delimiter = ',', value_name = "NAME", value_parser = MEASURED)]
    pub metrics: Vec<String>,
    /// Search text, for all that runs the model; never the hold-out
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub probe_text: Vec<PathBuf>,
    /// Measure so many cells at the logits, hold every metric against them, and calibrate costs by the best (12 to 24 are enough)
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub trust: usize,
    /// Measure so many more cells at the logits: those that carry most of the cost near the frontier
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub refine: usize,
    /// Tokens that gradients are followed on (fisher), and that cells are measured on (hessian-trace, pqi, --trust, --refine use a quarter)
    #[arg(long, default_value_t = GRADIENT_TOKENS, value_name = "N")]
    pub gradient_tokens: usize,
    /// Keep the gradients in this file, or take them from it when it is there
    #[arg(long, value_name = "GRAD")]
    pub gradients: Option<PathBuf>,
    /// Add what this measures to an earlier table of the same model and calibration
    #[arg(long, value_name = "TABLE.json")]
    pub merge: Option<PathBuf>,
    /// How weights are rounded
    #[arg(long, default_value = DEFAULT_ROUNDING)]
    pub rounding: String,
    /// Device: auto, cpu, gpu, or part of an adapter's name
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// Where to write the table
    #[arg(long, short, value_name = "TABLE.json")]
    pub output: PathBuf,
}

/// Exactly one budget.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct BudgetArgs {
    /// At most this file size, for example 90MB (10^6) or 1.5GiB
    #[arg(long, value_parser = parse_size)]
    pub size: Option<u64>,
    /// At most this many stored bits per quantizable weight
    #[arg(long)]
    pub bpw: Option<f64>,
    /// The smallest file whose predicted KL (nats per token) is at most this
    #[arg(long)]
    pub max_kl: Option<f64>,
    /// At most this much memory for weights, the keys and values of --context tokens, and activations
    #[arg(long, value_parser = parse_size, value_name = "SIZE", requires = "context")]
    pub vram: Option<u64>,
    /// One format for every tensor
    #[arg(long, value_name = "FORMAT")]
    pub uniform: Option<Format>,
    /// The formats of a recipe
    #[arg(long, value_name = "RECIPE.toml")]
    pub recipe: Option<PathBuf>,
}

impl BudgetArgs {
    /// The budget, when it is one that is solved for; memory needs to know what stands in it beside the weights.
    pub fn budget(&self, overhead: Option<Overhead>) -> Option<Budget> {
        let memory = self.vram.zip(overhead).map(|(bytes, overhead)| Budget::Memory { bytes, overhead });
        self.size.map(Budget::FileBytes).or(self.bpw.map(Budget::BitsPerWeight)).or(self.max_kl.map(Budget::MaxCost)).or(memory)
    }
}

/// Options of `allocate`.
#[derive(Clone, Debug, Args)]
pub struct AllocateArgs {
    /// The table from `measure`
    pub table: PathBuf,
    /// The budget.
    #[command(flatten)]
    pub budget: BudgetArgs,
    /// What is decided before the solver chooses.
    #[command(flatten)]
    pub rules: RuleArgs,
    /// How long to search by measured KL.
    #[command(flatten)]
    pub refine: RefineArgs,
    /// With --refine: the calibration behind the table
    #[arg(long, value_name = "CALIB")]
    pub calibration: Option<PathBuf>,
    /// With --refine: text to search on; never the hold-out
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub search_text: Vec<PathBuf>,
    /// Error to minimise (default: the best the table has)
    #[arg(long, value_parser = METRICS)]
    pub metric: Option<String>,
    /// With --refine: device: auto, cpu, gpu, or part of an adapter's name
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// Where to write the recipe
    #[arg(long, short, value_name = "RECIPE.toml")]
    pub output: PathBuf,
}

/// Options of `quantize`.
#[derive(Clone, Debug, Args)]
pub struct QuantizeArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// The recipe from `allocate`
    #[arg(long, value_name = "RECIPE.toml")]
    pub recipe: PathBuf,
    /// Activation statistics from `calibrate`
    #[arg(long, value_name = "CALIB")]
    pub calibration: Option<PathBuf>,
    /// Round each block for what the quantized blocks before it give on --text, instead of with a calibration of the original
    #[arg(long, conflicts_with = "calibration")]
    pub sequential: bool,
    /// Text files of --sequential, as of `calibrate`
    #[arg(long, num_args = 1.., value_name = "FILE", requires = "sequential")]
    pub text: Vec<PathBuf>,
    /// Tokens of --sequential
    #[arg(long, default_value_t = 32_768)]
    pub tokens: usize,
    /// How weights are rounded (default: what the recipe says)
    #[arg(long, value_name = "NAME")]
    pub rounding: Option<String>,
    /// Device: auto, cpu, gpu, or part of an adapter's name
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// Job folder; running again resumes it
    #[arg(long, short, value_name = "JOB")]
    pub output: PathBuf,
}

/// Options of `compare`.
#[derive(Clone, Debug, Args)]
pub struct CompareArgs {
    /// The original, and what was made of it: a job folder or a model file; with --base only the latter
    #[arg(required_unless_present = "demo", num_args = 1..=2, value_names = ["MODEL", "JOB|FILE"])]
    pub models: Vec<String>,
    /// The built-in demo model is the original
    #[arg(long)]
    pub demo: bool,
    /// Held-out text; a base brings its own
    #[arg(long, required_unless_present = "base", num_args = 1.., value_name = "FILE")]
    pub text: Vec<PathBuf>,
    /// Compare with what the original said, kept by --save-base, instead of running it again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["demo", "text", "save_base", "noise_floor"])]
    pub base: Option<PathBuf>,
    /// Keep what the original says (at most 1 KB a token); alone with MODEL it does only that
    #[arg(long, value_name = "FILE")]
    pub save_base: Option<PathBuf>,
    /// Whose arithmetic: llama.cpp (8-bit activations at quantized weights, half-precision cache) or exact (single precision); the default
    /// is that of the file's runtime
    #[arg(long, value_parser = parse_runtime)]
    pub runtime: Option<Runtime>,
    /// Also measure what the original differs from itself by, in another order of sums and with bf16 activations
    #[arg(long)]
    pub noise_floor: bool,
    /// Chunks to score
    #[arg(long, default_value_t = 16)]
    pub chunks: usize,
    /// Tokens a chunk; the second half of each is scored, as llama.cpp does
    #[arg(long, default_value_t = 512)]
    pub context: usize,
    /// Device: auto, cpu, gpu, or part of an adapter's name
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
}

/// Options of `export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Job folder from `quantize`
    pub job: PathBuf,
    /// What to write
    #[arg(long, value_parser = parse_export)]
    pub to: ExportFormat,
    /// The original, when it is not where the recipe says
    #[arg(long)]
    pub model: Option<String>,
    /// Where
    #[arg(long, short, value_name = "OUT")]
    pub output: PathBuf,
}

/// Options of `verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// The file
    pub file: PathBuf,
    /// The job it was exported from: every tensor must be the same bytes
    #[arg(long, value_name = "JOB")]
    pub against: Option<PathBuf>,
    /// Also load it in this program, when it is installed
    #[arg(long, value_name = "CLIENT", value_parser = ["llama.cpp", "gguf-py"])]
    pub with: Option<String>,
}

/// Options of `auto`.
#[derive(Clone, Debug, Args)]
pub struct AutoArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// The budget.
    #[command(flatten)]
    pub budget: BudgetArgs,
    /// Text, as of `calibrate`; split in calibration, search and hold-out. Without it: weight-only (the demo model brings its own)
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub text: Vec<PathBuf>,
    /// Held-out text for the comparison (default: the last tenth of --text)
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub eval_text: Vec<PathBuf>,
    /// Calibration tokens
    #[arg(long, default_value_t = 32_768)]
    pub tokens: usize,
    /// Skip the measured probe of each tensor's effect on the output; quicker, and usually a worse allocation
    #[arg(long)]
    pub no_probe: bool,
    /// Measure so many cells at the logits, hold every metric against them, and go by the best, calibrated (12 to 24 are enough)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub trust: usize,
    /// Skip the comparison at the end
    #[arg(long)]
    pub no_compare: bool,
    /// How long to search by measured KL.
    #[command(flatten)]
    pub refine: RefineArgs,
    /// Also make and compare this many random allocations of the same bytes
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub measure_random: usize,
    /// Chunks of the comparison
    #[arg(long, default_value_t = 16)]
    pub chunks: usize,
    /// Also walk the road of the rotated model, compare both with the original, and write the better one
    #[arg(long, value_name = "full|heads", num_args = 0..=1, default_missing_value = "full", value_parser = parse_reach, requires = "text", conflicts_with = "no_compare")]
    pub try_rotation: Option<Reach>,
    /// How weights are rounded
    #[arg(long, default_value = DEFAULT_ROUNDING)]
    pub rounding: String,
    /// Device: auto, cpu, gpu, or part of an adapter's name
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// What is decided before the solver chooses.
    #[command(flatten)]
    pub rules: RuleArgs,
    /// What to write
    #[arg(long, value_parser = parse_export)]
    pub to: ExportFormat,
    /// Where; intermediate results lie in OUT.job until the end
    #[arg(long, short, value_name = "OUT")]
    pub output: PathBuf,
    /// Also write a report: one HTML file with the recipe, hashes and figures
    #[arg(long, value_name = "REPORT.html")]
    pub report: Option<PathBuf>,
    /// Keep OUT.job (calibration, imatrix, table, recipe, quantized tensors)
    #[arg(long)]
    pub keep_job: bool,
}

impl Command {
    /// The device it was given, where it can be given one.
    pub fn device(&self) -> Option<&DeviceChoice> {
        match self {
            Self::Calibrate(args) => Some(&args.device),
            Self::Measure(args) => Some(&args.device),
            Self::Allocate(args) => Some(&args.device),
            Self::Quantize(args) => Some(&args.device),
            Self::Compare(args) => Some(&args.device),
            Self::Auto(args) => Some(&args.device),
            Self::Transform(args) => Some(&args.device),
            _ => None,
        }
    }
}

fn parse_runtime(text: &str) -> Result<Runtime, String> {
    match text {
        "llama.cpp" | "llama-cpp" => Ok(Runtime::LlamaCpp),
        "exact" => Ok(Runtime::Exact),
        _ => Err("known runtimes are llama.cpp and exact".to_owned()),
    }
}

fn parse_export(text: &str) -> Result<ExportFormat, String> {
    ExportFormat::ALL
        .into_iter()
        .find(|f| f.name() == text)
        .ok_or_else(|| format!("known formats are {}", ExportFormat::ALL.map(ExportFormat::name).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use halftone_core::allocate::{CacheType, PROFILES};

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_budget_is_exactly_one() {
        assert!(Cli::try_parse_from(["halftone", "auto", "m.gguf", "--to", "gguf", "-o", "x"]).is_err(), "none");
        assert!(Cli::try_parse_from(["halftone", "auto", "m.gguf", "--size", "90MB", "--bpw", "4", "--to", "gguf", "-o", "x"]).is_err(), "two");
        let cli = Cli::try_parse_from(["halftone", "auto", "m.gguf", "--size", "90MB", "--to", "gguf", "-o", "x"]).expect("one");
        let Some(Command::Auto(auto)) = cli.command else { panic!("auto was parsed as something else") };
        assert_eq!(auto.budget.budget(None), Some(Budget::FileBytes(90_000_000)), "MB are 10^6");
    }

    #[test]
    fn memory_needs_a_context_and_a_random_plan_no_solver() {
        let parse = |more: &[&str]| Cli::try_parse_from(["halftone", "allocate", "t.json", "-o", "r.toml"].iter().chain(more));
        assert!(parse(&["--vram", "6GB"]).is_err(), "without a context");
        let cli = parse(&["--vram", "6GB", "--context", "8192", "--cache", "q8_0", "--target", "llama-cpp"]).expect("a memory budget");
        let Some(Command::Allocate(args)) = cli.command else { panic!("allocate was parsed as something else") };
        assert_eq!((args.budget.vram, args.rules.context, args.rules.cache()), (Some(6_000_000_000), Some(8192), CacheType::Q8_0), "as given");
        for profile in PROFILES {
            let cli = parse(&["--vram", "6GB", "--context", "8192", "--target", profile.name]).expect("a memory budget");
            let Some(Command::Allocate(args)) = cli.command else { panic!("allocate was parsed as something else") };
            assert!(profile.caches.contains(&args.rules.cache()), "{} has no {} cache", profile.name, args.rules.cache());
        }
        assert!(parse(&["--size", "1MB", "--random", "3", "--solver", "greedy"]).is_err(), "two solvers");
        let cli = parse(&["--size", "1MB", "--random", "3"]).expect("a random plan");
        let Some(Command::Allocate(args)) = cli.command else { panic!("allocate was parsed as something else") };
        assert_eq!(args.rules.chooser(9), ("random", 3), "its seed");
    }

    #[test]
    fn what_every_command_understands_may_stand_before_it() {
        for line in [["halftone", "-q", "devices"], ["halftone", "devices", "-q"]] {
            let cli = Cli::try_parse_from(line).expect("either place");
            assert!(cli.global.quiet && matches!(cli.command, Some(Command::Devices)) && cli.model.is_none(), "{line:?}");
        }
    }

    #[test]
    fn a_bare_path_opens_the_studio() {
        let cli = Cli::try_parse_from(["halftone", "model.gguf"]).expect("a path");
        assert!(cli.command.is_none(), "no subcommand");
        assert_eq!(cli.model, Some(PathBuf::from("model.gguf")), "the path");
    }
}
