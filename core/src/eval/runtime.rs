//! A model as a runtime computes it: what the weights enter is rounded as that runtime's kernels round it.
//!
//! llama.cpp's CPU kernels multiply quantized weights with activations rounded to 8 bits, keep keys and values in half precision, and
//! multiply half-precision weights with half-precision activations. At 4 to 5 bits a weight the rounding adds some percent to the KL; at
//! 8 bits it is most of it. Absent on purpose: the order of a runtime's sums, which is below the noise floor.

use crate::allocate::Target;
use crate::codec::{Format, GgmlType};
use crate::error::Result;
use crate::model::{Arithmetic, StoredWeight, Weights};
use crate::source::ModelConfig;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whose arithmetic a model is evaluated in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// llama.cpp on a CPU: 8-bit activations at quantized weights, half-precision cache.
    #[default]
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// Single precision throughout: what the weights alone change.
    Exact,
    /// As `Exact`, each product summed in two halves; for the noise floor.
    HalvedSums,
    /// As `Exact`, activations in bfloat16; for the noise floor.
    Bf16,
}

impl Runtime {
    /// What enters the product with a weight stored like this.
    fn arithmetic(self, stored_as: Option<Format>) -> Arithmetic {
        use GgmlType as T;
        match (self, stored_as) {
            (Self::Exact, _) => Arithmetic::F32,
            (Self::HalvedSums, _) => Arithmetic::HalvedSums,
            (Self::Bf16, _) | (Self::LlamaCpp, Some(Format::Bf16)) => Arithmetic::Bf16,
            (Self::LlamaCpp, Some(Format::F16)) => Arithmetic::F16,
            (Self::LlamaCpp, Some(Format::Ggml(t))) => match t {
                // Q4_1 and Q5_1 meet Q8_1, which differs from Q8_0 by a stored sum only.
                T::Q4_0 | T::Q4_1 | T::Q5_0 | T::Q5_1 | T::Q8_0 | T::Q8_1 | T::IQ4_NL | T::MXFP4 | T::NVFP4 | T::Q1_0 | T::Q2_0 => Arithmetic::Q8_0,
                _ => Arithmetic::Q8K,
            },
            // Single precision, and what llama.cpp cannot hold.
            (Self::LlamaCpp, _) => Arithmetic::F32,
        }
    }
}

impl From<Target> for Runtime {
    /// The arithmetic that users of the file will have, as far as it is simulated here.
    fn from(target: Target) -> Self {
        match target {
            Target::LlamaCpp => Self::LlamaCpp,
            Target::Vllm | Target::Sglang | Target::Transformers | Target::Mlx | Target::Halftone => Self::Exact,
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LlamaCpp => "llama.cpp",
            Self::Exact => "exact",
            Self::HalvedSums => "halved sums",
            Self::Bf16 => "bf16",
        })
    }
}

/// Weights in a runtime's hands.
pub(crate) struct Running<'a> {
    pub(crate) weights: &'a dyn Weights,
    pub(crate) runtime: Runtime,
}

impl Weights for Running<'_> {
    fn config(&self) -> &ModelConfig {
        self.weights.config()
    }

    fn load(&self, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
        self.weights.load(name)
    }

    fn has(&self, name: &str) -> Result<bool> {
        self.weights.has(name)
    }

    fn stored_as(&self, name: &str) -> Option<Format> {
        self.weights.stored_as(name)
    }

    fn stored(&self, name: &str) -> Result<Option<StoredWeight<'_>>> {
        self.weights.stored(name)
    }

    fn arithmetic(&self, name: &str) -> Arithmetic {
        self.runtime.arithmetic(self.weights.stored_as(name))
    }

    fn cache_arithmetic(&self) -> Arithmetic {
        if self.runtime == Runtime::LlamaCpp { Arithmetic::F16 } else { Arithmetic::F32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama_cpp_rounds_by_the_type_of_the_weight_and_exact_never() {
        let of = |runtime: Runtime, format: &str| runtime.arithmetic(Some(format.parse().unwrap()));
        for (format, want) in [
            ("F32", Arithmetic::F32),
            ("F16", Arithmetic::F16),
            ("BF16", Arithmetic::Bf16),
            ("Q5_1", Arithmetic::Q8_0),
            ("IQ4_NL", Arithmetic::Q8_0),
            ("Q4_K", Arithmetic::Q8K),
            ("IQ4_XS", Arithmetic::Q8K),
            ("INT4-g128", Arithmetic::F32),
        ] {
            assert_eq!(of(Runtime::LlamaCpp, format), want, "{format}");
            assert_eq!(of(Runtime::Exact, format), Arithmetic::F32, "{format}");
        }
    }
}
