//! A borrowed view of one stored tensor.

use super::DType;
use crate::error::{Error, Result};
use rayon::prelude::*;

/// One tensor inside a mapped file. `shape` is row-major (the last dimension is contiguous), as PyTorch writes it; GGUF's reversed
/// order is turned round by the reader.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Name in the file.
    pub name: &'a str,
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: &'a [usize],
    /// The bytes lie column after column instead (two dimensions, no blocks).
    pub transposed: bool,
    /// The stored bytes, exactly `dtype.size_bytes(..)` of them.
    pub bytes: &'a [u8],
}

impl TensorView<'_> {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Length of a row: the last dimension (1 for a scalar).
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Number of rows: all dimensions but the last.
    pub fn rows(&self) -> usize {
        self.elements().checked_div(self.columns()).unwrap_or(0)
    }

    /// All values as f32, decoding quantized blocks in parallel.
    ///
    /// # Errors
    /// `Unsupported` for a type that has no reading as numbers.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        if self.transposed {
            let mut values = vec![0.0; self.elements()];
            self.rows_into(0, &mut values)?;
            return Ok(values);
        }
        let mut values = vec![0.0f32; self.elements()];
        let columns = self.columns().max(1);
        let row_bytes = self.dtype.size_bytes(columns, columns).ok_or_else(|| Error::Mismatch {
            operation: "read tensor",
            expected: format!("rows of whole {} blocks", self.dtype),
            got: format!("{} columns in {}", columns, self.name),
        })?;
        // Rows are short in some tensors: work in chunks of about 64 Ki values.
        let rows_per_chunk = (65_536 / columns).max(1);
        values
            .par_chunks_mut(rows_per_chunk * columns)
            .zip(self.bytes.par_chunks(rows_per_chunk * row_bytes))
            .try_for_each(|(out, bytes)| decode(self.dtype, bytes, out))?;
        Ok(values)
    }

    /// The values of rows `first..first + out.len() / columns` into `out`.
    ///
    /// # Errors
    /// As [`Self::to_f32`], and `Mismatch` when the rows are out of range.
    pub fn rows_into(&self, first: usize, out: &mut [f32]) -> Result<()> {
        let columns = self.columns().max(1);
        let count = out.len() / columns;
        if self.transposed {
            return self.gather(first, count, out);
        }
        let row_bytes = self.dtype.size_bytes(columns, columns).unwrap_or(0);
        let bytes = self.bytes.get(first * row_bytes..(first + count) * row_bytes).ok_or_else(|| Error::Mismatch {
            operation: "read rows",
            expected: format!("rows below {}", self.rows()),
            got: format!("{first}..{}", first + count),
        })?;
        decode(self.dtype, bytes, out)
    }

    /// Rows of a transposed tensor: a piece of every stored one.
    fn gather(&self, first: usize, count: usize, out: &mut [f32]) -> Result<()> {
        let (rows, columns) = (self.rows(), self.columns());
        let size = self.dtype.size_bytes(1, 1).unwrap_or(0);
        let mut piece = vec![0.0; count];
        for column in 0..columns {
            let from = (column * rows + first) * size;
            let bytes = self.bytes.get(from..from + count * size).filter(|_| first + count <= rows).ok_or_else(|| Error::Mismatch {
                operation: "read rows",
                expected: format!("rows below {rows}"),
                got: format!("{first}..{}", first + count),
            })?;
            decode(self.dtype, bytes, &mut piece)?;
            for (row, value) in piece.iter().enumerate() {
                out[row * columns + column] = *value;
            }
        }
        Ok(())
    }
}

fn decode(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    fn each<const N: usize>(bytes: &[u8], out: &mut [f32], f: impl Fn([u8; N]) -> f32) {
        for (chunk, value) in bytes.as_chunks::<N>().0.iter().zip(out) {
            *value = f(*chunk);
        }
    }
    match dtype {
        DType::F32 => each::<4>(bytes, out, f32::from_le_bytes),
        DType::F16 => each::<2>(bytes, out, |b| half::f16::from_le_bytes(b).to_f32()),
        DType::Bf16 => each::<2>(bytes, out, |b| half::bf16::from_le_bytes(b).to_f32()),
        DType::F64 => each::<8>(bytes, out, |b| f64::from_le_bytes(b) as f32),
        DType::F8E4M3 => each::<1>(bytes, out, |b| crate::numeric::minifloat::e4m3_to_f32(b[0])),
        DType::F8E5M2 => each::<1>(bytes, out, |b| crate::numeric::minifloat::e5m2_to_f32(b[0])),
        DType::I8 => each::<1>(bytes, out, |b| f32::from(i8::from_le_bytes(b))),
        DType::U8 | DType::Bool => each::<1>(bytes, out, |b| f32::from(b[0])),
        DType::I16 => each::<2>(bytes, out, |b| f32::from(i16::from_le_bytes(b))),
        DType::U16 => each::<2>(bytes, out, |b| f32::from(u16::from_le_bytes(b))),
        DType::I32 => each::<4>(bytes, out, |b| i32::from_le_bytes(b) as f32),
        DType::U32 => each::<4>(bytes, out, |b| u32::from_le_bytes(b) as f32),
        DType::I64 => each::<8>(bytes, out, |b| i64::from_le_bytes(b) as f32),
        DType::U64 => each::<8>(bytes, out, |b| u64::from_le_bytes(b) as f32),
        DType::Ggml(t) => t.decode(bytes, out),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_view_reads_the_rows_of_the_columns() {
        // Stored as 2 × 3, seen as 3 × 2.
        let bytes: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = TensorView { name: "w", dtype: DType::F32, shape: &[3, 2], transposed: true, bytes: &bytes };
        assert_eq!(view.to_f32().unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let mut row = [0.0; 2];
        view.rows_into(1, &mut row).unwrap();
        assert_eq!(row, [2.0, 5.0]);
        assert!(view.rows_into(3, &mut row).is_err(), "there is no fourth row");
    }
}
