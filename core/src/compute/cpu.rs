//! The CPU backend: the twins, blocks of rows in parallel. Blocks do not depend on the number of threads and are added in order, so
//! results are the same bits on any machine size. The layer error alone has a faster path beside its twin (a blocked matrix product).

use super::{Backend, Capabilities, KernelCall, operands};
use crate::error::{Error, Result};
use crate::job::CancelToken;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use halftone_shaders::twin::lloyd_step;
use halftone_shaders::twin::statistics::{Tally, tally};
use rayon::prelude::*;

/// Values a block should have: small enough for the cache and for a quick cancel, large enough to be worth a task.
const BLOCK_VALUES: usize = 1 << 16;
/// Values between two looks at whether to go on, of what all threads do together.
const CANCEL_VALUES: usize = 1 << 22;
/// Rows of a matrix product.
const PRODUCT_ROWS: usize = 64;

/// The CPU.
#[derive(Debug)]
pub struct Cpu {
    capabilities: Capabilities,
}

impl Default for Cpu {
    fn default() -> Self {
        let driver = format!("{} threads, {}", rayon::current_num_threads(), std::env::consts::ARCH);
        Self { capabilities: Capabilities { name: "CPU".to_owned(), driver, is_software: false, extensions: Vec::new(), max_binding_bytes: u64::MAX } }
    }
}

impl Backend for Cpu {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn run(&self, call: KernelCall<'_>, cancel: &CancelToken) -> Result<()> {
        operands::check(&call)?;
        let proceed = || if cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) };
        match call {
            KernelCall::Encode { format, weights, columns, importance, bytes } => {
                let importance = (!importance.is_empty()).then_some(importance);
                let layout = format.layout();
                // What a tensor's rows share is chosen by all of them.
                let rows = if layout.tensor_head > 0 { weights.len() / columns } else { (CANCEL_VALUES / columns).max(1) }.max(1);
                let tiles = bytes.chunks_mut(layout.tensor_head + rows * layout.row_bytes(columns));
                weights.chunks(rows * columns).zip(tiles).try_for_each(|(weights, bytes)| {
                    proceed()?;
                    bytes.copy_from_slice(&format.encode(weights, columns, importance)?);
                    Ok(())
                })
            }
            KernelCall::Statistics { values, absmax, histogram, sums } => {
                let tallies: Vec<Tally> = values.par_chunks(BLOCK_VALUES).map(|block| proceed().map(|()| tally(block, absmax))).collect::<Result<_>>()?;
                let mut total = Tally::default();
                for tally in &tallies {
                    total += tally;
                }
                histogram.copy_from_slice(&total.histogram);
                let [first, second, third, fourth] = total.powers;
                *sums = [first, second, third, fourth, total.finite as f64, total.non_finite as f64];
                Ok(())
            }
            KernelCall::LayerError { difference, columns, hessian, row_errors } => {
                let blocks = difference.par_chunks(PRODUCT_ROWS * columns).zip(row_errors.par_chunks_mut(PRODUCT_ROWS));
                blocks.try_for_each(|(difference, errors)| {
                    proceed()?;
                    layer_error_block(difference, columns, hessian, errors);
                    Ok(())
                })
            }
            KernelCall::Rotate { rotation, rows, turned } => {
                let some = (CANCEL_VALUES / rotation.size()).max(1) * rotation.size();
                rows.chunks(some).zip(turned.chunks_mut(some)).try_for_each(|(rows, turned)| {
                    proceed()?;
                    turned.copy_from_slice(rows);
                    rotation.apply(turned);
                    Ok(())
                })
            }
            KernelCall::LloydStep { values, group, scales, importance, levels, tally } => {
                let boundaries = lloyd_step::boundaries(levels);
                let of = |(i, block): (usize, &[f32])| proceed().map(|()| lloyd_step::tally(block, i * BLOCK_VALUES, scales, group, importance, &boundaries));
                let tallies: Vec<_> = values.par_chunks(BLOCK_VALUES).enumerate().map(of).collect::<Result<_>>()?;
                *tally = lloyd_step::Tally::default();
                tallies.iter().for_each(|some| *tally += some);
                Ok(())
            }
        }
    }
}

/// ΔH for a block of rows as one product, then its rows times Δ in f64.
fn layer_error_block(difference: &[f32], columns: usize, hessian: &[f32], errors: &mut [f32]) {
    let rows = errors.len();
    let mut product = vec![0.0f32; rows * columns];
    matmul(
        MatMut::from_row_major_slice_mut(&mut product, rows, columns),
        Accum::Replace,
        MatRef::from_row_major_slice(difference, rows, columns),
        MatRef::from_row_major_slice(hessian, columns, columns).transpose(),
        1.0,
        Par::Seq,
    );
    for ((error, row), product) in errors.iter_mut().zip(difference.chunks_exact(columns)).zip(product.chunks_exact(columns)) {
        *error = row.iter().zip(product).map(|(&d, &p)| f64::from(d) * f64::from(p)).sum::<f64>() as f32;
    }
}
