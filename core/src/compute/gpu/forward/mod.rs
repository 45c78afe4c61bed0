//! The pieces of a forward pass on a device: rows of values that stay there, weights that stay there, and what makes the ones of the others.
//!
//! Everything is recorded and not waited for until something is read. Matrices larger than a binding are cut by rows. Invariant: what comes
//! out is what the twin of the kernel defines, within its tolerance.

mod attention;
mod elementwise;
mod gram;
mod linear;
mod logits;
mod matrix;
mod norm;
mod rope;
mod rotation;
mod rows;
pub(super) mod self_test;

pub use attention::{Attention, Sequence};
pub use gram::GramSum;
pub use linear::Product;
pub use logits::{LogitRows, RowComparison};
pub use matrix::Matrix;
pub use norm::NormWeights;
pub use rope::Turns;
pub(super) use rotation::rotate;
pub use rows::Rows;

use super::Gpu;
use super::engine::Dispatch;
use super::pool::Memory;
use super::tiles::MAX_WORKGROUPS;
use crate::error::Result;
use bytemuck::{Pod, bytes_of};
use halftone_shaders::Kernel;

/// Multiplications that count as one unit of a kernel's work.
const WORK_UNIT: usize = 1024;

/// What a dispatch costs, for its pace and for what is shown.
struct Cost {
    work: usize,
    bytes: usize,
    operations: usize,
}

impl Cost {
    /// Of a kernel that reads and writes values, so many each.
    fn of_values(values: usize, streams: usize) -> Self {
        Self { work: values, bytes: values * streams * 4, operations: values }
    }

    /// Of so many multiplications and additions, and bytes.
    fn of_products(products: usize, bytes: usize) -> Self {
        Self { work: products.div_ceil(WORK_UNIT), bytes, operations: 2 * products }
    }
}

impl Gpu {
    fn record<P: Pod>(&self, kernel: Kernel, params: &P, memories: &[&Memory], workgroups: [u32; 3], cost: &Cost) -> Result<()> {
        self.trust(kernel)?;
        self.engine.dispatch(Dispatch {
            kernel,
            params: bytes_of(params),
            memories,
            workgroups,
            work: cost.work as u64,
            bytes: cost.bytes as u64,
            operations: cost.operations as u64,
        })
    }

    /// f32 values that one binding holds.
    fn values_per_binding(&self) -> usize {
        (self.engine.max_binding_bytes() / 4) as usize
    }

    /// Rows of so many values that one binding holds, at least one.
    pub fn rows_of(&self, columns: usize) -> usize {
        (self.values_per_binding() / columns.max(1)).max(1)
    }

    /// How many of some pieces, `each` products large, go into a dispatch: whole steps, at least one.
    fn pieces(&self, kernel: Kernel, each: usize, step: usize) -> usize {
        let units = self.engine.share(kernel).saturating_mul(WORK_UNIT as u64);
        let pieces = units / each.max(1) as u64;
        (pieces as usize / step).clamp(1, MAX_WORKGROUPS) * step
    }
}
