//! Error feedback in the order of falling H_jj ("act-order" of the GPTQ authors' code, with static groups): the columns that count most are rounded
//! first, while there are many left to make up for them.
//!
//! A block's columns are then not rounded in one run, so its scales are chosen for all blocks before the first column, on the weights as they are.

use super::hessian::Hessian;
use super::sweep::Sweeper;
use super::{Evidence, Rounded, Rounder, feedback};
use crate::codec::{Codebook, Format};
use crate::error::Result;

/// Act-order, then two sweeps of descent.
#[derive(Debug, Clone, Copy)]
pub struct ActOrder;

impl Rounder for ActOrder {
    fn name(&self) -> &'static str {
        "gptq+order"
    }

    fn uses_hessian(&self) -> bool {
        true
    }

    fn round(&self, weights: &[f32], columns: usize, format: Format, evidence: Evidence<'_>) -> Result<Rounded> {
        feedback(self.name(), weights, columns, format, evidence, |codebook, hessian| {
            if matches!(codebook, Codebook::Octets | Codebook::Block(_)) {
                let remark = format!("rounded to nearest, because {} knows no way for {format}, whose blocks cannot be torn apart", self.name());
                return Ok(Rounded { bytes: format.encode(weights, columns, evidence.importance)?, remark: Some(remark), device: None });
            }
            let mut order: Vec<usize> = (0..columns).collect();
            order.sort_by(|&a, &b| hessian.diagonal(b).total_cmp(&hessian.diagonal(a)));
            let h = hessian.values();
            let permuted: Vec<f32> = order.iter().flat_map(|&i| order.iter().map(move |&j| h[i * columns + j])).collect();
            let permuted = Hessian::new(&permuted, columns, 1)?;
            let diagonal: Vec<f32> = (0..columns).map(|j| hessian.diagonal(j)).collect();
            let mut bytes = format.encode(weights, columns, Some(&diagonal))?;
            let factor = permuted.factor()?;
            let sweeper = Sweeper { format, codebook, columns, factor, hessian: permuted.values(), descents: 2, persistence: 1.0, cancel: evidence.cancel };
            sweeper.run_frozen(weights, &order, &mut bytes)?;
            Ok(Rounded { bytes, remark: None, device: None })
        })
    }
}
