//! What a transform does to each tensor: a list of steps, computed when the tensor is asked for.

use super::Rotation;
use crate::compute::{Backend, KernelCall};
use crate::error::{Error, Result};
use crate::job::JobContext;
use indexmap::IndexMap;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// A side of a matrix. A vector has one value an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Columns: the channels that enter.
    Inputs,
    /// Rows: the channels that leave.
    Outputs,
}

/// A map of channels.
#[derive(Clone, Debug)]
pub enum Map {
    /// Each channel times its factor.
    Scale(Arc<[f32]>),
    /// As `Scale`, of values that are stored less this number (gemma's norms).
    ScaleRaised(Arc<[f32]>, f32),
    /// Rows of this many channels, one after another, times R.
    Rotate(Arc<Rotation>),
    /// All channels become this.
    Fill(f32),
}

/// One change of a tensor.
#[derive(Clone, Debug)]
pub struct Step {
    /// Of which side.
    pub side: Side,
    /// Which of its channels; of a stack of matrices, in each of them.
    pub channels: Range<usize>,
    /// What becomes of them.
    pub map: Map,
}

/// What a transform does to a model. The function of the model stays the same.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The steps of each tensor that changes, in order, by canonical name.
    pub steps: IndexMap<String, Vec<Step>>,
    /// Tensors that are new, and those they begin as.
    pub copies: IndexMap<String, String>,
    /// What was done, for metadata and reports.
    pub note: String,
}

impl Plan {
    /// Adds a step to a tensor.
    pub fn push(&mut self, tensor: &str, side: Side, channels: Range<usize>, map: Map) {
        self.steps.entry(tensor.to_owned()).or_default().push(Step { side, channels, map });
    }

    /// Whether it turns anything.
    pub fn rotates(&self) -> bool {
        self.steps.values().flatten().any(|step| matches!(step.map, Map::Rotate(_)))
    }

    /// Whether this gives the model a head of its own.
    pub fn unties_head(&self) -> bool {
        self.copies.contains_key("output.weight")
    }
}

impl Step {
    /// Changes the values of a tensor of this shape; the GPU of `cx`, where it has one, does the rotations.
    ///
    /// # Errors
    /// `Mismatch` when the channels are not there, `Cancelled`.
    pub fn apply(&self, name: &str, values: &mut [f32], shape: &[usize], cx: Option<&JobContext>) -> Result<()> {
        let (rows, columns) = match (shape, self.side) {
            ([n], Side::Outputs) => (*n, 1),
            ([n], Side::Inputs) => (1, *n),
            ([.., rows, columns], _) => (*rows, *columns),
            ([], _) => (0, 0),
        };
        let side = if self.side == Side::Inputs { columns } else { rows };
        let whole = match &self.map {
            Map::Scale(by) | Map::ScaleRaised(by, _) => by.len() == self.channels.len(),
            Map::Rotate(rotation) => self.channels.len().is_multiple_of(rotation.size()),
            Map::Fill(_) => true,
        };
        if self.channels.end > side || !whole {
            return Err(Error::Mismatch {
                operation: "transform tensor",
                expected: format!("{name} with channels {:?}", self.channels),
                got: format!("{shape:?}"),
            });
        }
        for matrix in values.chunks_exact_mut((rows * columns).max(1)) {
            match self.side {
                Side::Inputs => self.apply_to_inputs(matrix, columns, cx)?,
                Side::Outputs => self.apply_to_outputs(matrix, columns, cx)?,
            }
        }
        Ok(())
    }

    fn apply_to_inputs(&self, matrix: &mut [f32], columns: usize, cx: Option<&JobContext>) -> Result<()> {
        let all = self.channels == (0..columns);
        match &self.map {
            Map::Rotate(rotation) if all => return turn(rotation, matrix, cx),
            _ => matrix.par_chunks_exact_mut(columns).for_each(|row| match &self.map {
                Map::Scale(by) => row[self.channels.clone()].iter_mut().zip(by.iter()).for_each(|(v, s)| *v *= s),
                Map::ScaleRaised(by, raised) => row[self.channels.clone()].iter_mut().zip(by.iter()).for_each(|(v, s)| *v = (*v + raised) * s - raised),
                Map::Rotate(rotation) => rotation.apply(&mut row[self.channels.clone()]),
                Map::Fill(value) => row[self.channels.clone()].fill(*value),
            }),
        }
        Ok(())
    }

    fn apply_to_outputs(&self, matrix: &mut [f32], columns: usize, cx: Option<&JobContext>) -> Result<()> {
        let rows = &mut matrix[self.channels.start * columns..self.channels.end * columns];
        match &self.map {
            Map::Scale(by) => rows.chunks_exact_mut(columns).zip(by.iter()).for_each(|(row, s)| row.iter_mut().for_each(|v| *v *= s)),
            Map::ScaleRaised(by, raised) => {
                rows.chunks_exact_mut(columns).zip(by.iter()).for_each(|(row, s)| row.iter_mut().for_each(|v| *v = (*v + raised) * s - raised));
            }
            Map::Fill(value) => rows.fill(*value),
            Map::Rotate(rotation) => {
                let mut turned = transposed(rows, columns);
                turn(rotation, &mut turned, cx)?;
                rows.copy_from_slice(&transposed(&turned, self.channels.len()));
            }
        }
        Ok(())
    }
}

/// Rows times R, by the GPU of `cx` wherever there is one and not where it was faster: what is written must not depend on a stopwatch.
fn turn(rotation: &Rotation, rows: &mut [f32], cx: Option<&JobContext>) -> Result<()> {
    let Some(cx) = cx.filter(|cx| cx.backend().gpu().is_some()) else {
        rotation.apply(rows);
        return Ok(());
    };
    let mut turned = vec![0.0; rows.len()];
    let mut notices = Vec::new();
    let rotate = |device: &dyn Backend| match device.gpu() {
        Some(gpu) => gpu.run(KernelCall::Rotate { rotation, rows, turned: &mut turned }, &cx.cancel),
        None => {
            turned.copy_from_slice(rows);
            rotation.apply(&mut turned);
            Ok(())
        }
    };
    cx.compute(rotate, &mut notices)?;
    notices.into_iter().for_each(|notice| cx.reporter.notice(None, notice));
    rows.copy_from_slice(&turned);
    Ok(())
}

/// Rows of `columns` values, column after column.
pub(crate) fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    /// Edge of the tiles that fit into the cache.
    const TILE: usize = 64;
    let rows = matrix.len() / columns.max(1);
    let mut out = vec![0.0; matrix.len()];
    out.par_chunks_mut((TILE * rows).max(1)).enumerate().for_each(|(tile, out)| {
        let first = tile * TILE;
        for from in (0..rows).step_by(TILE) {
            for (column, out) in out.chunks_exact_mut(rows).enumerate() {
                for row in from..(from + TILE).min(rows) {
                    out[row] = matrix[row * columns + first + column];
                }
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(side: Side, channels: Range<usize>, map: Map) -> Step {
        Step { side, channels, map }
    }

    #[test]
    fn a_matrix_transposed_twice_is_itself() {
        let matrix: Vec<f32> = (0..70 * 130).map(|v| v as f32).collect();
        let turned = transposed(&matrix, 130);
        assert_eq!(turned[70], 1.0, "the second column begins with the second value");
        assert_eq!(transposed(&turned, 70), matrix);
    }

    #[test]
    fn sides_and_ranges_of_stacks_are_kept_apart() {
        let shape = [2, 2, 3];
        let mut values = vec![1.0; 12];
        step(Side::Outputs, 1..2, Map::Scale([2.0].into())).apply("w", &mut values, &shape, None).unwrap();
        step(Side::Inputs, 0..2, Map::Scale([3.0, 5.0].into())).apply("w", &mut values, &shape, None).unwrap();
        assert_eq!(values, [3.0, 5.0, 1.0, 6.0, 10.0, 2.0].repeat(2));
        let mut gamma = vec![0.5, 0.0];
        step(Side::Outputs, 0..2, Map::ScaleRaised([2.0, 3.0].into(), 1.0)).apply("g", &mut gamma, &[2], None).unwrap();
        assert_eq!(gamma, [2.0, 2.0], "(1 + γ)·s − 1");
        assert!(step(Side::Inputs, 0..4, Map::Fill(0.0)).apply("w", &mut values, &shape, None).is_err(), "there is no fourth column");
    }

    #[test]
    fn a_rotation_of_outputs_is_that_of_inputs_of_the_transpose() {
        let rotation = Arc::new(Rotation::new(4, 1, 0));
        let matrix: Vec<f32> = (0..8 * 3).map(|v| (v * v % 7) as f32).collect();
        let mut left = matrix.clone();
        step(Side::Outputs, 0..8, Map::Rotate(rotation.clone())).apply("w", &mut left, &[8, 3], None).unwrap();
        let mut right = transposed(&matrix, 3);
        step(Side::Inputs, 0..8, Map::Rotate(rotation)).apply("w", &mut right, &[3, 8], None).unwrap();
        assert_eq!(transposed(&left, 3), right);
    }
}
