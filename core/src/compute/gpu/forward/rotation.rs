//! Rows times a rotation: signs and butterflies in passes through workgroups' memory, then its base as a product like any other.
//!
//! x·(H ⊗ B) = (x·(H ⊗ I))·(I ⊗ B), and the second factor multiplies rows of as many values as B has by B. Rows are turned one by one, whatever
//! stands beside them: tiles may be cut as the device likes and give the same bits.

use super::super::Gpu;
use super::super::pool::Memory;
use super::super::tiles::{floats, tiled};
use super::{Matrix, Product, Rows, WORK_UNIT};
use crate::error::Result;
use crate::job::CancelToken;
use crate::numeric::rotation::Rotation;
use bytemuck::cast_slice;
use halftone_shaders::Kernel;
use halftone_shaders::twin::hadamard::{Params, passes};

/// A rotation on a device.
struct Turn {
    signs: Memory,
    /// Of one transform.
    passes: Vec<Params>,
    base_size: usize,
    /// What rows are multiplied by, base and transpose, as weights (y = x·Wᵀ); none where they are 1 × 1.
    base: Option<Matrix>,
    transpose: Option<Matrix>,
    fixes_mean: bool,
}

impl Turn {
    fn upload(gpu: &Gpu, rotation: &Rotation) -> Result<Self> {
        let (b, base) = (rotation.base_size(), rotation.base());
        let signs: Vec<f32> = rotation.signs().iter().map(|v| *v as f32).collect();
        let matrix = |wanted: bool, entry: &dyn Fn(usize) -> f64| {
            let values = || (0..b * b).map(|at| entry(at) as f32).collect::<Vec<f32>>();
            wanted.then(|| Matrix::upload(gpu, &values(), b)).transpose()
        };
        Ok(Self {
            signs: gpu.engine.upload(cast_slice(&signs))?,
            passes: passes(rotation.size() / b, b),
            base_size: b,
            base: matrix(b > 1, &|at| base[at % b * b + at / b])?,
            transpose: matrix(b > 1 && rotation.fixes_mean(), &|at| base[at])?,
            fixes_mean: rotation.fixes_mean(),
        })
    }

    fn apply(&self, mut x: Rows) -> Result<Rows> {
        if self.fixes_mean {
            x = self.multiply(x, false, self.transpose.as_ref())?;
        }
        self.multiply(x, true, self.base.as_ref())
    }

    /// x·(H ⊗ B), the signs before it.
    fn multiply(&self, x: Rows, signed: bool, base: Option<&Matrix>) -> Result<Rows> {
        let values = x.rows * x.columns;
        for (number, pass) in self.passes.iter().enumerate() {
            let params = Params { count: values as u32, signed: (signed && number == 0).into(), ..*pass };
            let workgroups = (values / pass.length as usize).div_ceil(pass.lines as usize);
            let cost = super::Cost { work: values, bytes: 8 * values, operations: values * (pass.length.ilog2() as usize + 1) };
            x.gpu.record(Kernel::Hadamard, &params, &[&self.signs, &x.memory], [workgroups as u32, 1, 1], &cost)?;
        }
        let Some(base) = base else { return Ok(x) };
        let (rows, columns) = (x.rows, x.columns);
        let x = Rows { rows: values / self.base_size, columns: self.base_size, ..x };
        let product = Product { rows: 0..x.rows, outputs: 0..self.base_size, halved: false };
        Ok(Rows { rows, columns, ..x.times(base, None, &product)? })
    }
}

/// See [`crate::compute::KernelCall::Rotate`].
///
/// # Errors
/// `Device`, `Cancelled`.
pub(in crate::compute::gpu) fn rotate(gpu: &Gpu, rotation: &Rotation, rows: &[f32], turned: &mut [f32], cancel: &CancelToken) -> Result<()> {
    let (size, engine) = (rotation.size(), &gpu.engine);
    let turn = Turn::upload(gpu, rotation)?;
    let record = |tile: std::ops::Range<usize>| {
        let x = Rows::upload(gpu, &rows[tile.start * size..tile.end * size], size)?;
        engine.read(&[&turn.apply(x)?.memory])
    };
    // The product, where there is one, takes most of the time.
    let (kernel, work) = if turn.base.is_some() { (Kernel::Matmul, (size * turn.base_size).div_ceil(WORK_UNIT)) } else { (Kernel::Hadamard, size) };
    tiled(engine, kernel, rows.len() / size, work, gpu.rows_of(size), cancel, record, |tile, outputs| {
        let out = &mut turned[tile.start * size..tile.end * size];
        out.iter_mut().zip(floats(&outputs[0])).for_each(|(out, value)| *out = value);
    })
}
