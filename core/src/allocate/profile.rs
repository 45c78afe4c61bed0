//! What runtimes demand of a mixed-precision file, as hard rules of the allocation. One entry a runtime; adding one is a variant of
//! [`Target`] and an entry in [`PROFILES`].
//!
//! A runtime that multiplies by several matrices at once needs them in one format; one that knows group-wise integers knows certain
//! widths and groups of them. A rule that is left out here does not fail here: it fails in the loader, or worse, in the output.

use super::{CacheType, Integers};
use crate::codec::{Format, GgmlType};
use crate::residual::Candidate;
use crate::sensitivity::Row;
use crate::source::{Role, expert_stack};
use serde::{Deserialize, Serialize};

/// The runtime the file is for; its rules are hard constraints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// llama.cpp: any tensor any ggml type.
    #[default]
    LlamaCpp,
    /// vLLM: fused layers share a format.
    Vllm,
    /// SGLang: as vLLM.
    Sglang,
    /// Hugging Face transformers, through compressed-tensors.
    Transformers,
    /// MLX: any module its own width and group.
    Mlx,
    /// This program: what a job folder holds and a comparison runs.
    Halftone,
}

/// A kind of file that a runtime reads, and what may stand in it.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// What files of it are called.
    pub name: &'static str,
    /// Which formats a weight may have, in words.
    pub formats: &'static str,
    allows: fn(Format) -> bool,
    /// It holds what is kept of rounding errors and needs an operator; a shift needs none, it is a bias.
    pub residuals: bool,
    /// The embedding and the head stay as they are.
    pub linears_only: bool,
}

impl Family {
    /// Whether a weight may be stored so. What is not quantized may stand in any file.
    pub fn allows(&self, stored: Candidate) -> bool {
        let format = matches!(stored.format, Format::F32 | Format::F16 | Format::Bf16) || (self.allows)(stored.format);
        format && (self.residuals || !stored.needs_operator())
    }
}

/// The work of one step, which decides the memory for activations.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Tokens that a step of reading the prompt takes at most.
    pub tokens: usize,
    /// Rows of logits that are made room for.
    pub logit_rows: usize,
}

/// The rules of one runtime.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Which.
    pub target: Target,
    /// Its name on the command line.
    pub name: &'static str,
    /// Its own name.
    pub label: &'static str,
    /// Its rules in a line without a full stop.
    pub about: &'static str,
    /// q, k and v share a format, and so do gate and up.
    pub fuses: bool,
    /// All experts of a block share a format, gates, ups and downs too.
    pub equal_experts: bool,
    /// What it reads, the first before the second.
    pub families: &'static [Family],
    /// How it can keep keys and values; the first is its own choice.
    pub caches: &'static [CacheType],
    /// Its steps.
    pub step: Step,
    /// Whether local blocks keep only the keys of their window, by architecture.
    pub keeps_windows: fn(&str) -> bool,
    /// Cells of the cache come in multiples of this.
    pub cache_cells: usize,
}

const GGUF: Family = Family { name: "GGUF", formats: "every ggml type", allows: |f| matches!(f, Format::Ggml(_)), residuals: false, linears_only: false };

/// Jobs hold every format; weights are multiplied as they decode.
const JOB: Family =
    Family { name: "jobs and dequantized safetensors", formats: "every format, residuals too", allows: |_| true, residuals: true, linears_only: false };

/// The kernels for packed integers take 4 and 8 bits around zero.
const PACKED: Family = Family {
    name: "compressed-tensors or GPTQ",
    formats: "symmetric integers of 4 or 8 bits in groups of 32, 64 or 128",
    allows: |f| matches!(Integers::of(f), Some(Integers { bits: 4 | 8, group: Some(32 | 64 | 128), symmetric: true })),
    residuals: false,
    linears_only: true,
};

/// Decompressed by the library that wrote them: 4 and 8 bits are what every version of it packs alike.
const COMPRESSED: Family = Family {
    name: "compressed-tensors",
    formats: "integers of 4 or 8 bits in groups of 32, 64 or 128",
    allows: |f| matches!(Integers::of(f), Some(Integers { bits: 4 | 8, group: Some(32 | 64 | 128), .. })),
    residuals: false,
    linears_only: true,
};

const MLX: Family = Family {
    name: "MLX safetensors",
    formats: "integers of 2, 3, 4, 5, 6 or 8 bits in groups of 32, 64 or 128, and MXFP4",
    allows: |f| f == Format::Ggml(GgmlType::MXFP4) || matches!(Integers::of(f), Some(Integers { bits: 2..=6 | 8, group: Some(32 | 64 | 128), .. })),
    residuals: false,
    linears_only: false,
};

/// The runtimes.
pub const PROFILES: &[Profile] = &[
    Profile {
        target: Target::LlamaCpp,
        name: "llama.cpp",
        label: "llama.cpp",
        about: "Any tensor any ggml type; experts of a stack share one; K and most I types need rows of whole 256s",
        fuses: false,
        equal_experts: false,
        families: &[GGUF],
        caches: &[
            CacheType::F16,
            CacheType::Bf16,
            CacheType::F32,
            CacheType::Q8_0,
            CacheType::Q5_1,
            CacheType::Q5_0,
            CacheType::Q4_1,
            CacheType::Q4_0,
            CacheType::Iq4Nl,
        ],
        step: Step { tokens: 512, logit_rows: 512 },
        // Its other architectures see the whole context, whatever their configuration says.
        keeps_windows: |architecture| matches!(architecture, "gemma2" | "gemma3"),
        cache_cells: 256,
    },
    Profile {
        target: Target::Vllm,
        name: "vllm",
        label: "vLLM",
        about: "q, k and v share a format, gate and up share one, experts of a block share one; 4- or 8-bit integers, or a GGUF",
        fuses: true,
        equal_experts: true,
        families: &[PACKED, GGUF],
        caches: &[CacheType::F16, CacheType::Bf16, CacheType::Fp8],
        step: Step { tokens: 2048, logit_rows: 256 },
        keeps_windows: |_| true,
        cache_cells: 16,
    },
    Profile {
        target: Target::Sglang,
        name: "sglang",
        label: "SGLang",
        about: "q, k and v share a format, gate and up share one, experts of a block share one; 4- or 8-bit integers, or a GGUF",
        fuses: true,
        equal_experts: true,
        families: &[PACKED, GGUF],
        caches: &[CacheType::F16, CacheType::Bf16, CacheType::Fp8],
        step: Step { tokens: 2048, logit_rows: 256 },
        keeps_windows: |_| false,
        cache_cells: 1,
    },
    Profile {
        target: Target::Transformers,
        name: "transformers",
        label: "Transformers",
        about: "Each linear its own format; 4- or 8-bit integers through compressed-tensors; the embedding and the head stay",
        fuses: false,
        equal_experts: true,
        families: &[COMPRESSED],
        caches: &[CacheType::F16, CacheType::Bf16, CacheType::F32],
        step: Step { tokens: 8192, logit_rows: 1 },
        keeps_windows: |_| true,
        cache_cells: 1,
    },
    Profile {
        target: Target::Mlx,
        name: "mlx",
        label: "MLX",
        about: "Each module its own width and group: 2 to 6 or 8 bits in groups of 32, 64 or 128; experts of a stack share them",
        fuses: false,
        equal_experts: false,
        families: &[MLX],
        caches: &[CacheType::F16, CacheType::Bf16, CacheType::Q8_0, CacheType::Q4_0],
        step: Step { tokens: 2048, logit_rows: 1 },
        keeps_windows: |_| true,
        cache_cells: 256,
    },
    Profile {
        target: Target::Halftone,
        name: "halftone",
        label: "Halftone",
        about: "Jobs of this program, compared and exported as dequantized safetensors: every format, residuals too",
        fuses: false,
        equal_experts: false,
        families: &[JOB],
        caches: &[CacheType::F32],
        step: Step { tokens: 512, logit_rows: 64 },
        keeps_windows: |_| false,
        cache_cells: 1,
    },
];

impl Target {
    /// Its rules.
    pub fn profile(self) -> &'static Profile {
        // Every variant has its entry; a test holds the table to that.
        PROFILES.iter().find(|p| p.target == self).unwrap_or(&PROFILES[0])
    }

    /// The runtime of this name on the command line.
    pub fn by_name(name: &str) -> Option<Self> {
        let plain = |text: &str| text.to_ascii_lowercase().replace(['.', '-', '_'], "");
        PROFILES.iter().find(|p| plain(p.name) == plain(name)).map(|p| p.target)
    }
}

impl Profile {
    /// The key that tensors of one format share.
    pub(super) fn tie(&self, row: &Row) -> String {
        let fused = row.fused.as_deref();
        let stack = expert_stack(&row.tensor).map(|(stack, _)| stack);
        let is_expert = stack.is_some() || row.tensor.contains("_exps.") || fused.is_some_and(|f| f.ends_with(".experts"));
        match (row.block, fused) {
            (Some(block), _) if is_expert && self.equal_experts => format!("blk.{block}.experts"),
            (_, Some(fused)) if !is_expert && self.fuses => fused.to_owned(),
            // Experts that are kept apart become one tensor.
            _ => stack.unwrap_or_else(|| row.tensor.clone()),
        }
    }

    /// Whether a tensor may be quantized at all in files of this family.
    pub(super) fn quantizes(family: &Family, row: &Row) -> bool {
        !(family.linears_only && matches!(row.role, Role::Embedding | Role::Head))
    }

    /// The kind of file to write of these rows: the first whose formats were measured for every tensor that it quantizes. Without such a
    /// kind, the first tensor that stands in the way.
    pub(super) fn family(&self, rows: &[Row]) -> Result<&'static Family, String> {
        let missing = |family: &Family| {
            rows.iter()
                .find(|r| Self::quantizes(family, r) && !r.cells.is_empty() && !r.cells.iter().any(|c| family.allows(c.stored())))
                .map(|r| r.tensor.clone())
        };
        let mut first = None;
        for family in self.families {
            match missing(family) {
                None => return Ok(family),
                Some(tensor) => first = first.or(Some((tensor, family))),
            }
        }
        let (tensor, family) = first.map_or((String::new(), &GGUF), |(tensor, family)| (tensor, family));
        Err(format!("{} reads {} ({}), and {tensor} was measured as none of them", self.label, family.name, family.formats))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::row;
    use super::*;

    #[test]
    fn every_target_has_its_profile_and_is_found_by_its_names() {
        for target in [Target::LlamaCpp, Target::Vllm, Target::Sglang, Target::Transformers, Target::Mlx, Target::Halftone] {
            assert_eq!(target.profile().target, target);
            assert_eq!(Target::by_name(target.profile().name), Some(target));
            assert!(!target.profile().caches.is_empty() && !target.profile().families.is_empty());
        }
        assert_eq!(Target::by_name("llama-cpp"), Some(Target::LlamaCpp));
        assert_eq!(Target::by_name("llamacpp"), Some(Target::LlamaCpp));
        assert_eq!(Target::by_name("nobody"), None);
    }

    #[test]
    fn ties_are_those_of_the_runtime() {
        let named = |tensor: &str, fused: Option<&str>| Row { fused: fused.map(str::to_owned), ..row(tensor, &[4, 32], &[]) };
        let tie = |target: Target, row: &Row| target.profile().tie(row);
        let (q, k) = (named("blk.0.attn_q.weight", Some("blk.0.qkv")), named("blk.0.attn_k.weight", Some("blk.0.qkv")));
        for (target, tied) in [(Target::LlamaCpp, false), (Target::Vllm, true), (Target::Sglang, true), (Target::Transformers, false), (Target::Mlx, false)] {
            assert_eq!(tie(target, &q) == tie(target, &k), tied, "{target:?}");
        }
        // An expert kept apart: with its stack everywhere, with all experts of its block where the runtime says so.
        let experts = ["blk.1.ffn_up.0.weight", "blk.1.ffn_up.7.weight", "blk.1.ffn_down.0.weight"].map(|name| named(name, Some("blk.1.experts")));
        for (target, all) in [(Target::LlamaCpp, false), (Target::Vllm, true), (Target::Transformers, true), (Target::Mlx, false)] {
            assert_eq!(tie(target, &experts[0]), tie(target, &experts[1]), "{target:?}: one stack");
            assert_eq!(tie(target, &experts[0]) == tie(target, &experts[2]), all, "{target:?}: all experts");
        }
        let (up, down) = (named("blk.1.ffn_up_exps.weight", Some("blk.1.gate_up_exps")), named("blk.1.ffn_down_exps.weight", None));
        assert_eq!(tie(Target::Sglang, &up), tie(Target::Sglang, &down), "stacks of one block");
        assert_ne!(tie(Target::LlamaCpp, &up), tie(Target::LlamaCpp, &down));
    }

    #[test]
    fn residuals_are_for_this_program_alone() {
        for profile in PROFILES {
            let allowed = |text: &str| profile.families.iter().any(|f| f.allows(text.parse().unwrap()));
            assert_eq!(allowed("Q4_K+r16"), profile.target == Target::Halftone, "{}", profile.name);
            assert_eq!(allowed("INT4-g128+o0.5%"), profile.target == Target::Halftone, "{}", profile.name);
            assert_eq!(allowed("Q4_K+shift+r16"), profile.target == Target::Halftone, "{}", profile.name);
            assert_eq!(allowed("Q4_K+shift"), allowed("Q4_K"), "{}: a bias", profile.name);
        }
    }

    #[test]
    fn formats_are_those_that_the_runtimes_load() {
        let allowed = |target: Target, format: &str| target.profile().families.iter().any(|f| f.allows(format.parse().unwrap()));
        for (format, want) in [
            ("Q4_K", [true, true, true, false, false]),
            ("INT4-g128", [false, true, true, true, true]),
            ("INT4-g128-asym", [false, false, false, true, true]),
            ("INT3-g64-asym", [false, false, false, false, true]),
            ("INT7-g64", [false; 5]),
            ("INT4-g256", [false; 5]),
            ("MXFP4", [true, true, true, false, true]),
            ("BF16", [true; 5]),
        ] {
            let found = [Target::LlamaCpp, Target::Vllm, Target::Sglang, Target::Transformers, Target::Mlx].map(|t| allowed(t, format));
            assert_eq!(found, want, "{format}");
        }
    }
}
