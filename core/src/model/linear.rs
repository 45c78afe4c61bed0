//! One linear layer, y = x·Wᵀ + b, and the matrix product all others stand on.

use super::Arithmetic;
use super::values::{Input, Values};
use super::weights::{Weights, require};
use crate::codec::Format;
use crate::compute::gpu::forward::{Matrix, Product, Rows};
use crate::error::{Error, Result};
use crate::job::Accelerator;
use crate::numeric::product::{partial_product, times_transposed};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// A loaded linear layer. The weight stays as stored: outputs × inputs, row-major.
pub(super) struct Linear {
    weight: Weight,
    bias: Option<Vec<f32>>,
    inputs: usize,
    outputs: usize,
    arithmetic: Arithmetic,
    resident: Option<Box<Resident>>,
}

/// On the host.
enum Weight {
    Values(Vec<f32>),
    /// What a device was given; decoded when the host is to multiply after all.
    Stored(Format, Vec<u8>),
}

/// On a device.
struct Resident {
    matrix: Matrix,
    bias: Option<Rows>,
}

impl Linear {
    /// Loads `stem.weight` and, when there is one, `stem.bias`; onto the device too, if there is one.
    pub(super) fn load(weights: &dyn Weights, stem: &str, outputs: usize, inputs: usize, device: Option<&Arc<Accelerator>>) -> Result<Self> {
        let name = format!("{stem}.weight");
        let weight = Weight::load(weights, &name, &[outputs, inputs], device)?;
        let arithmetic = weights.arithmetic(&name);
        let name = format!("{stem}.bias");
        let bias = weights.load(&name)?.map(|found| check_shape(&name, found, &[outputs])).transpose()?;
        Self { weight, bias, inputs, outputs, arithmetic, resident: None }.on(device)
    }

    /// From a weight, row-major, without bias.
    pub(super) fn of(weight: Vec<f32>, inputs: usize, arithmetic: Arithmetic, device: Option<&Arc<Accelerator>>) -> Result<Self> {
        let outputs = weight.len() / inputs;
        Self { weight: Weight::Values(weight), bias: None, inputs, outputs, arithmetic, resident: None }.on(device)
    }

    /// The slices of a stack of `count` linears without bias, outermost first.
    pub(super) fn load_stack(weights: &dyn Weights, name: &str, [count, outputs, inputs]: [usize; 3], device: Option<&Arc<Accelerator>>) -> Result<Vec<Self>> {
        let arithmetic = weights.arithmetic(name);
        let linear = |weight| Self { weight, bias: None, inputs, outputs, arithmetic, resident: None }.on(device);
        match Weight::load(weights, name, &[count, outputs, inputs], device)? {
            Weight::Values(stack) => stack.chunks_exact(outputs * inputs).map(|weight| linear(Weight::Values(weight.to_vec()))).collect(),
            Weight::Stored(format, stack) => {
                stack.chunks_exact(stack.len() / count.max(1)).map(|weight| linear(Weight::Stored(format, weight.to_vec()))).collect()
            }
        }
    }

    fn on(mut self, device: Option<&Arc<Accelerator>>) -> Result<Self> {
        let Some(device) = device else { return Ok(self) };
        self.resident = device.attempt(|gpu| {
            let matrix = match &self.weight {
                Weight::Values(values) => Matrix::upload(gpu, values, self.inputs)?,
                Weight::Stored(format, bytes) => Matrix::upload_format(gpu, *format, bytes, self.inputs)?,
            };
            let bias = self.bias.as_ref().map(|bias| Rows::upload(gpu, bias, self.outputs)).transpose()?;
            Ok(Box::new(Resident { matrix, bias }))
        })?;
        Ok(self)
    }

    /// Width of its input.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Width of its output.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// tokens × inputs → tokens × outputs.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut y = multiply(x, &self.weight.values(self.outputs * self.inputs), self.inputs, self.arithmetic);
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(self.outputs) {
                for (v, b) in row.iter_mut().zip(bias) {
                    *v += b;
                }
            }
        }
        y
    }

    /// As [`Self::apply`], where the input is.
    pub(super) fn run(&self, input: Input<'_>) -> Result<Values> {
        match input {
            Input::Host(x) => Ok(Values::Host(self.apply(x))),
            Input::Device(x) => Ok(Values::Device(self.part(self.rounded(x)?.as_ref().unwrap_or(x), 0..self.outputs)?)),
        }
    }

    /// As [`Self::run`], the outputs cut into parts of these widths.
    pub(super) fn run_parts<const N: usize>(&self, input: Input<'_>, widths: [usize; N]) -> Result<[Values; N]> {
        match input {
            Input::Host(x) => Ok(columns(&self.apply(x), widths).map(Values::Host)),
            Input::Device(x) => {
                let rounded = self.rounded(x)?;
                let x = rounded.as_ref().unwrap_or(x);
                let mut first = 0;
                let mut parts = Vec::with_capacity(N);
                for width in widths {
                    parts.push(Values::Device(self.part(x, first..first + width)?));
                    first += width;
                }
                parts.try_into().map_err(|_| Error::Input("parts of an output".to_owned()))
            }
        }
    }

    /// What a device multiplies with, where that is something else.
    fn rounded(&self, x: &Rows) -> Result<Option<Rows>> {
        self.arithmetic.rounding().map(|rounding| x.rounded(rounding)).transpose()
    }

    /// Some outputs on a device.
    fn part(&self, x: &Rows, outputs: Range<usize>) -> Result<Rows> {
        let Some(Resident { matrix, bias }) = self.resident.as_deref() else {
            return Err(Error::Mismatch { operation: "product on a device", expected: "a weight there".into(), got: "one on the host".into() });
        };
        let product = Product { rows: 0..x.rows(), outputs, halved: self.arithmetic == Arithmetic::HalvedSums };
        x.times(matrix, bias.as_ref(), &product)
    }
}

impl Weight {
    /// As stored where the device reads that.
    fn load(weights: &dyn Weights, name: &str, shape: &[usize], device: Option<&Arc<Accelerator>>) -> Result<Self> {
        let inputs = shape.last().copied().unwrap_or(0);
        if device.is_some_and(|device| device.gpu().is_some())
            && let Some(stored) = weights.stored(name)?.filter(|stored| stored.shape == shape && Matrix::reads(stored.format, inputs))
        {
            return Ok(Self::Stored(stored.format, stored.bytes.into_owned()));
        }
        Ok(Self::Values(load_shaped(weights, name, shape)?))
    }

    fn values(&self, count: usize) -> Cow<'_, [f32]> {
        match self {
            Self::Values(values) => Cow::Borrowed(values),
            Self::Stored(format, bytes) => {
                let mut values = vec![0.0; count];
                format.decode(bytes, &mut values);
                Cow::Owned(values)
            }
        }
    }
}

/// The columns of rows, cut into parts of these widths.
fn columns<const N: usize>(rows: &[f32], widths: [usize; N]) -> [Vec<f32>; N] {
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
pub(crate) fn load_shaped(weights: &dyn Weights, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    check_shape(name, require(weights, name)?, shape)
}

fn check_shape(name: &str, (values, found): (Vec<f32>, Vec<usize>), shape: &[usize]) -> Result<Vec<f32>> {
    if found == shape && values.len() == shape.iter().product::<usize>() {
        return Ok(values);
    }
    Err(Error::Mismatch { operation: "load weights", expected: format!("{name} of shape {shape:?}"), got: format!("{found:?} ({} values)", values.len()) })
}

/// x·Wᵀ as a runtime of this arithmetic computes it; `x` has rows of `inner` values.
pub(super) fn multiply(x: &[f32], weight: &[f32], inner: usize, arithmetic: Arithmetic) -> Vec<f32> {
    match arithmetic {
        Arithmetic::F32 => times_transposed(x, weight, inner),
        Arithmetic::HalvedSums => {
            let mut y = partial_product(x, weight, inner, 0..inner / 2);
            y.iter_mut().zip(partial_product(x, weight, inner, inner / 2..inner)).for_each(|(a, b)| *a += b);
            y
        }
        _ => {
            let mut x = x.to_vec();
            arithmetic.round(&mut x, inner);
            times_transposed(&x, weight, inner)
        }
    }
}
