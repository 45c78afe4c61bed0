//! Error feedback: GPTQ (Frantar et al. 2022, in the form of LDLQ, QuIP section 4.1), and the same followed by coordinate descent on
//! tr(ΔHΔᵀ) (QuantEase, Behdin et al. 2023, algorithm 1).
//!
//! Works inside every format with one code a weight, ggml's super-blocks included: the scales of a block are chosen by the format's own
//! importance-weighted search when the loop reaches the block, so the file is an ordinary one.

use super::sweep::Sweeper;
use super::{Evidence, Rounded, Rounder};
use crate::codec::Format;
use crate::error::Result;

/// Error feedback, then this many sweeps of descent.
#[derive(Debug, Clone, Copy)]
pub struct Gptq {
    /// Name in recipes.
    pub name: &'static str,
    /// Sweeps of coordinate descent.
    pub descents: usize,
}

impl Rounder for Gptq {
    fn name(&self) -> &'static str {
        self.name
    }

    fn uses_hessian(&self) -> bool {
        true
    }

    fn round(&self, weights: &[f32], columns: usize, format: Format, evidence: Evidence<'_>) -> Result<Rounded> {
        let (Some(hessian), Some(codebook)) = (evidence.hessian, format.codebook()) else {
            let why = match evidence.hessian {
                None if format.codebook().is_some() => {
                    Some(format!("rounded to nearest, because {} needs the matrix of its inputs and there is none", self.name))
                }
                _ => None,
            };
            return Ok(Rounded { bytes: format.encode(weights, columns, evidence.importance)?, remark: why });
        };
        format.check_shape(weights.len(), columns, evidence.importance)?;
        let factor = hessian.factor()?;
        let sweeper = Sweeper { format, codebook, columns, factor, hessian: hessian.values(), descents: self.descents };
        let remark = (factor.damping > 0.01).then(|| format!("the matrix of its inputs needed {} of its mean diagonal added (0.01 is usual)", factor.damping));
        Ok(Rounded { bytes: sweeper.run(weights), remark })
    }
}
