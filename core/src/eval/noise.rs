//! The noise floor: how far a model is from itself when only the arithmetic changes. A difference below it says nothing of the weights.

use super::compare::{CompareOptions, compare_chunks};
use super::runtime::Runtime;
use crate::error::Result;
use crate::job::JobContext;
use crate::model::Weights;
use serde::{Deserialize, Serialize};

/// Mean KL of the original in single precision against itself, nats per token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseFloor {
    /// With every matrix product summed in another order.
    pub other_order: f64,
    /// With activations rounded to bfloat16 where they enter a linear.
    pub bf16: f64,
}

/// Measures it over some chunks.
pub(super) fn noise_floor(model: &dyn Weights, chunks: &[Vec<u32>], options: CompareOptions, cx: &JobContext) -> Result<NoiseFloor> {
    let against = |other: Runtime| compare_chunks([model, model], [Runtime::Exact, other], chunks, options, None, cx).map(|c| c.kl_mean);
    Ok(NoiseFloor { other_order: against(Runtime::HalvedSums)?, bf16: against(Runtime::Bf16)? })
}
