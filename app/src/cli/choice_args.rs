//! The grammar of choosing: rules, solvers, search, recipes.

use clap::{Args, Subcommand};
use halftone_core::allocate::{CacheType, DEFAULT_SOLVER, PROFILES, SOLVERS, Target};
use halftone_core::codec::Format;
use halftone_core::recipe::dialect::DIALECTS;
use halftone_core::refine;
use std::path::PathBuf;
use std::time::Duration;

/// What is decided before the solver chooses, and which solver.
#[derive(Clone, Debug, Args)]
pub struct RuleArgs {
    /// Runtime whose rules must hold: llama.cpp, vllm, sglang, transformers, mlx, or halftone (jobs of this program: every format, residuals too)
    #[arg(long, default_value = "llama.cpp", value_parser = parse_target)]
    pub target: Target,
    /// Tensors whose name matches REGEX get FORMAT, with or without a residual: Q4_0, Q4_0+r16
    #[arg(long, value_name = "REGEX=FORMAT")]
    pub pin: Vec<String>,
    /// Tensors whose name matches REGEX stay as they are in the model
    #[arg(long, value_name = "REGEX")]
    pub exclude: Vec<String>,
    /// Tensors whose name matches REGEX get at least B stored bits a weight
    #[arg(long, value_name = "REGEX=B")]
    pub min_bits: Vec<String>,
    /// Tensors whose name matches REGEX get at most B stored bits a weight
    #[arg(long, value_name = "REGEX=B")]
    pub max_bits: Vec<String>,
    /// With --vram: tokens of the context
    #[arg(long, value_name = "TOKENS")]
    pub context: Option<usize>,
    /// With --vram: how keys and values are kept: f16, q8_0, q4_0, fp8 …, whatever the runtime has (default: its own choice)
    #[arg(long, value_name = "TYPE")]
    pub cache: Option<CacheType>,
    /// How to choose: exact, lagrangian, greedy, baq (closed form), ilp, or random (by --seed)
    #[arg(long, value_name = "NAME", default_value = DEFAULT_SOLVER, value_parser = parse_solver)]
    pub solver: String,
    /// A random allocation of the same bytes by this seed: the control that a choice must beat
    #[arg(long, value_name = "SEED", conflicts_with = "solver")]
    pub random: Option<u64>,
}

impl RuleArgs {
    /// How keys and values are kept: as given, else as the runtime does where nobody says otherwise.
    pub fn cache(&self) -> CacheType {
        self.cache.unwrap_or(self.target.profile().caches[0])
    }

    /// Solver and seed.
    pub fn chooser(&self, seed: u64) -> (&str, u64) {
        self.random.map_or((self.solver.as_str(), seed), |random| ("random", random))
    }
}

/// What can be done with recipes.
#[derive(Clone, Debug, Subcommand)]
pub enum RecipeCommand {
    /// Write a recipe in the words of another program, or read it from them
    Convert(ConvertArgs),
}

/// Options of `recipe convert`.
#[derive(Clone, Debug, Args)]
pub struct ConvertArgs {
    /// The recipe
    pub input: PathBuf,
    /// What it is written in: halftone, llama.cpp, gptq, compressed-tensors, autoround or mlx (default: halftone for .toml)
    #[arg(long, value_name = "DIALECT", value_parser = parse_dialect)]
    pub from: Option<String>,
    /// What to write
    #[arg(long, value_name = "DIALECT", value_parser = parse_dialect)]
    pub to: String,
    /// The model it is for (default: the one a Halftone recipe names)
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Format of tensors that the input does not name (default: they stay as they are)
    #[arg(long, value_name = "FORMAT")]
    pub base: Option<Format>,
    /// Where to write it
    #[arg(long, short, value_name = "OUT")]
    pub output: PathBuf,
}

/// How long to search by measured KL after the solver.
#[derive(Clone, Debug, Args)]
pub struct RefineArgs {
    /// Search by measured KL for so long after the solver, for example 90s, 5m, 1h; run again to go on
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub refine: Option<Duration>,
    /// Search for so many trials, with or without a time
    #[arg(long, value_name = "N")]
    pub refine_trials: Option<usize>,
    /// How to search: swaps or evolution
    #[arg(long, value_name = "NAME", default_value = "swaps", value_parser = parse_searcher)]
    pub searcher: String,
}

impl RefineArgs {
    /// Whether a search was asked for.
    pub fn wanted(&self) -> bool {
        self.refine.is_some() || self.refine_trials.is_some()
    }
}

fn parse_target(text: &str) -> Result<Target, String> {
    let known = || PROFILES.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
    Target::by_name(text).ok_or_else(|| format!("known targets are {}", known()))
}

fn parse_solver(text: &str) -> Result<String, String> {
    let known = || SOLVERS.iter().map(|s| format!("{} ({})", s.name(), s.about())).collect::<Vec<_>>().join("; ");
    SOLVERS.iter().find(|s| s.name() == text).map(|s| s.name().to_owned()).ok_or_else(|| format!("known solvers are {}", known()))
}

fn parse_dialect(text: &str) -> Result<String, String> {
    let known = || std::iter::once("halftone").chain(DIALECTS.iter().map(|d| d.name()));
    if known().any(|name| name == text) { Ok(text.to_owned()) } else { Err(format!("known dialects are {}", known().collect::<Vec<_>>().join(", "))) }
}

fn parse_searcher(text: &str) -> Result<String, String> {
    let known = || refine::searchers().map(|(name, about)| format!("{name} ({about})")).collect::<Vec<_>>().join("; ");
    if refine::searchers().any(|(name, _)| name == text) { Ok(text.to_owned()) } else { Err(format!("known searches are {}", known())) }
}

/// `90s`, `5m`, `1.5h`; a bare number is seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("write for example 90s, 5m or 1h".to_owned()),
    };
    let seconds = number.trim().parse::<f64>().map_err(|e| e.to_string())? * factor;
    if seconds > 0.0 { Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string()) } else { Err("a time is above zero".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let parsed = ["90s", "5m", "1.5h", "7"].map(|text| parse_duration(text).map(|d| d.as_secs()));
        assert_eq!(parsed, [Ok(90), Ok(300), Ok(5400), Ok(7)], "seconds");
        assert!(["5 days", "-3s", "0", "m"].iter().all(|text| parse_duration(text).is_err()), "no times");
    }
}
