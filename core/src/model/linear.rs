//! One linear layer, y = x·Wᵀ + b, and the matrix product all others stand on.

use super::weights::{Weights, require};
use crate::error::{Error, Result};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// A loaded linear layer. The weight stays as stored: outputs × inputs, row-major.
pub(super) struct Linear {
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    /// Loads `stem.weight` and, when there is one, `stem.bias`.
    pub(super) fn load(weights: &dyn Weights, stem: &str, outputs: usize, inputs: usize) -> Result<Self> {
        let weight = load_shaped(weights, &format!("{stem}.weight"), &[outputs, inputs])?;
        let name = format!("{stem}.bias");
        let bias = weights.load(&name)?.map(|found| check_shape(&name, found, &[outputs])).transpose()?;
        Ok(Self { weight, bias, inputs, outputs })
    }

    /// From a weight, row-major, without bias.
    pub(super) fn of(weight: Vec<f32>, inputs: usize) -> Self {
        let outputs = weight.len() / inputs;
        Self { weight, bias: None, inputs, outputs }
    }

    /// The slices of a stack of `count` linears without bias, outermost first.
    pub(super) fn load_stack(weights: &dyn Weights, name: &str, count: usize, outputs: usize, inputs: usize) -> Result<Vec<Self>> {
        let stack = load_shaped(weights, name, &[count, outputs, inputs])?;
        Ok(stack.chunks_exact(outputs * inputs).map(|weight| Self::of(weight.to_vec(), inputs)).collect())
    }

    /// Width of its input.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// tokens × inputs → tokens × outputs.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut y = times_transposed(x, &self.weight, self.inputs);
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(self.outputs) {
                for (v, b) in row.iter_mut().zip(bias) {
                    *v += b;
                }
            }
        }
        y
    }
}

/// The columns of rows, cut into parts of these widths.
pub(super) fn columns<const N: usize>(rows: &[f32], widths: [usize; N]) -> [Vec<f32>; N] {
    let width: usize = widths.iter().sum();
    let mut parts = widths.map(|w| Vec::with_capacity(rows.len() / width.max(1) * w));
    for row in rows.chunks_exact(width) {
        let mut at = 0;
        for (part, w) in parts.iter_mut().zip(widths) {
            part.extend_from_slice(&row[at..at + w]);
            at += w;
        }
    }
    parts
}

/// A tensor that must be there and have this shape.
pub(super) fn load_shaped(weights: &dyn Weights, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    check_shape(name, require(weights, name)?, shape)
}

fn check_shape(name: &str, (values, found): (Vec<f32>, Vec<usize>), shape: &[usize]) -> Result<Vec<f32>> {
    if found == shape && values.len() == shape.iter().product::<usize>() {
        return Ok(values);
    }
    Err(Error::Mismatch { operation: "load weights", expected: format!("{name} of shape {shape:?}"), got: format!("{found:?} ({} values)", values.len()) })
}

/// A·Bᵀ for row-major A (rows of `inner`) and B (rows of `inner`); the result is row-major, A's rows × B's rows.
pub(super) fn times_transposed(a: &[f32], b: &[f32], inner: usize) -> Vec<f32> {
    let (rows, columns) = (a.len() / inner, b.len() / inner);
    let mut out = vec![0.0; rows * columns];
    matmul(
        MatMut::from_row_major_slice_mut(&mut out, rows, columns),
        Accum::Replace,
        MatRef::from_row_major_slice(a, rows, inner),
        MatRef::from_row_major_slice(b, columns, inner).transpose(),
        1.0,
        Par::rayon(0),
    );
    out
}
