//! Between candle tensors and slices, without copying.

use crate::error::{Error, Result};
use candle_core::{CpuStorage, Device, Storage, Tensor};

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
