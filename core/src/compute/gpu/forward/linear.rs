//! y = x·Wᵀ + b.

use super::{Cost, Matrix, Rows};
use crate::error::Result;
use halftone_shaders::Kernel;
use halftone_shaders::twin::matmul::{ACCUMULATE, BIAS, Params};
use halftone_shaders::twin::matmul_quantized::Stored;
use halftone_shaders::twin::round_inputs::{self, Rounding};
use std::ops::Range;

/// Rows and outputs of a workgroup.
const SIDE: usize = 128;

/// Which part of a product, and how it is summed.
#[derive(Clone, Debug)]
pub struct Product {
    /// Rows of x.
    pub rows: Range<usize>,
    /// Rows of W.
    pub outputs: Range<usize>,
    /// Summed in two halves that are added.
    pub halved: bool,
}

impl Rows {
    /// The rows of x·Wᵀ + b that `product` asks for, as a matrix of their own; `bias` has one value an output of the whole weight.
    ///
    /// # Errors
    /// `Device`; `Mismatch` for another number of columns.
    pub fn times(&self, matrix: &Matrix, bias: Option<&Self>, product: &Product) -> Result<Self> {
        let fits = self.columns == matrix.inputs && product.rows.end <= self.rows && product.outputs.end <= matrix.outputs;
        self.fits("product", fits && bias.is_none_or(|b| b.columns == matrix.outputs), format!("{matrix:?}, {product:?}"))?;
        let y = Self::reserve(&self.gpu, product.rows.len(), product.outputs.len())?;
        if product.halved {
            // Halves of stored blocks are whole fours of columns.
            let middle = matrix.inputs / 8 * 4;
            self.sum(matrix, bias, product, 0..middle, &y, 0)?;
            self.sum(matrix, None, product, middle..matrix.inputs, &y, ACCUMULATE)?;
        } else {
            self.sum(matrix, bias, product, 0..matrix.inputs, &y, 0)?;
        }
        Ok(y)
    }

    /// Over some of the columns, in dispatches that are not too long.
    fn sum(&self, matrix: &Matrix, bias: Option<&Self>, product: &Product, columns: Range<usize>, y: &Self, mode: u32) -> Result<()> {
        let kernel = if matrix.stored.is_some() { Kernel::MatmulQuantized } else { Kernel::Matmul };
        let rows = product.rows.len();
        let row_bytes = matrix.stored.map_or(matrix.inputs * 4, |stored| stored.row_bytes(matrix.inputs));
        let (group, bits) = if let Some(Stored::Int { bits, group, .. }) = matrix.stored { (group, bits) } else { (0, 0) };
        let at_once = self.gpu.pieces(kernel, rows * columns.len(), SIDE);
        for piece in &matrix.pieces {
            let mut first = piece.first.max(product.outputs.start);
            let end = (piece.first + piece.rows).min(product.outputs.end);
            while first < end {
                let outputs = at_once.min(end - first);
                let params = Params {
                    rows: rows as u32,
                    x_row: product.rows.start as u32,
                    y_row: 0,
                    outputs: outputs as u32,
                    weight_row: (first - piece.first) as u32,
                    y_column: (first - product.outputs.start) as u32,
                    y_columns: y.columns as u32,
                    bias_at: first as u32,
                    inner: columns.len() as u32,
                    column: columns.start as u32,
                    columns: self.columns as u32,
                    mode: mode | if bias.is_some() { BIAS } else { 0 },
                    format: matrix.stored.map_or(0, Stored::number),
                    row_bytes: row_bytes as u32,
                    group,
                    bits,
                };
                let cost = Cost::of_products(rows * outputs * columns.len(), 4 * rows * (self.columns + outputs) + outputs * row_bytes);
                let memories = [&self.memory, &piece.memory, bias.map_or(&piece.memory, |bias| &bias.memory), &y.memory];
                let workgroups = [rows.div_ceil(SIDE) as u32, outputs.div_ceil(SIDE) as u32, 1];
                self.gpu.record(kernel, &params, &memories, workgroups, &cost)?;
                first += outputs;
            }
        }
        Ok(())
    }

    /// As a runtime rounds what enters a product.
    ///
    /// # Errors
    /// `Device`.
    pub fn rounded(&self, rounding: Rounding) -> Result<Self> {
        let y = Self::reserve(&self.gpu, self.rows, self.columns)?;
        let params = round_inputs::Params { rows: self.rows as u32, columns: self.columns as u32, rounding: rounding.number(), padding: 0 };
        let workgroups = super::super::tiles::folded(self.rows * self.columns.div_ceil(256));
        self.gpu.record(Kernel::RoundInputs, &params, &[&self.memory, &y.memory], workgroups, &Cost::of_values(self.rows * self.columns, 2))?;
        Ok(y)
    }
}
