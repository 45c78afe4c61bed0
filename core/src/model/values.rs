//! Values on their way through a block, on the host or on a device, and between candle tensors and slices, without copying.

use crate::compute::gpu::forward::Rows;
use crate::error::{Error, Result};
use candle_core::{CpuStorage, Device, Storage, Tensor};
use std::borrow::Cow;

/// Rows of values inside a block.
pub(super) enum Values {
    Host(Vec<f32>),
    Device(Rows),
}

/// The same, looked at.
#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    Host(&'a [f32]),
    Device(&'a Rows),
}

/// The error of operands of which one is on a device and one is not; blocks keep theirs in one place.
pub(super) fn apart(operation: &'static str) -> Error {
    Error::Mismatch { operation, expected: "values in one place".into(), got: "in two".into() }
}

impl Values {
    /// To look at.
    pub(super) fn input(&self) -> Input<'_> {
        match self {
            Self::Host(values) => Input::Host(values),
            Self::Device(rows) => Input::Device(rows),
        }
    }

    /// On the host.
    pub(super) fn into_host(self) -> Result<Vec<f32>> {
        match self {
            Self::Host(values) => Ok(values),
            Self::Device(rows) => rows.read(),
        }
    }
}

impl Input<'_> {
    /// Where a result of these goes that was computed on the host, in rows of `columns`.
    pub(super) fn beside(self, values: Vec<f32>, columns: usize) -> Result<Values> {
        Ok(match self {
            Input::Host(_) => Values::Host(values),
            Input::Device(rows) => Values::Device(Rows::upload(rows.gpu(), &values, columns)?),
        })
    }

    /// The values on the host.
    pub(super) fn on_host(&self) -> Result<Cow<'_, [f32]>> {
        Ok(match self {
            Input::Host(values) => Cow::Borrowed(values),
            Input::Device(rows) => Cow::Owned(rows.read()?),
        })
    }
}

/// A `rows × columns` tensor that takes over `values`.
///
/// # Errors
/// `Candle` when there are not `rows · columns` of them.
pub(crate) fn tensor_from(values: Vec<f32>, rows: usize, columns: usize) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, (rows, columns), &Device::Cpu)?)
}

/// Lets `f` see the values of an f32 tensor in row-major order; copies only when it is a strided view.
///
/// # Errors
/// `Mismatch` for another element type or device; whatever `f` says.
pub(crate) fn with_values<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((from, to))) => f(&values[from..to]),
        _ => Err(Error::Mismatch {
            operation: "read activations",
            expected: "f32 on the CPU".into(),
            got: format!("{:?} on {:?}", tensor.dtype(), tensor.device()),
        }),
    }
}
