//! Small tables for the tests of this room.

use crate::codec::{Format, GgmlType};
use crate::sensitivity::{Cell, Row, Table};
use crate::source::Role;
use indexmap::IndexMap;

pub(super) fn cell(t: GgmlType, rows: usize, columns: usize, weight_error: f64) -> Cell {
    let stored_as = Format::Ggml(t).for_columns(columns);
    let bytes = stored_as.tensor_bytes(rows, columns);
    Cell { format: Format::Ggml(t), stored_as, bytes, weight_error, imatrix_error: None, activation_error: None, predicted_kl: None }
}

pub(super) fn row(tensor: &str, shape: &[usize], formats: &[(GgmlType, f64)]) -> Row {
    let (rows, columns) = (shape[..shape.len() - 1].iter().product(), shape[shape.len() - 1]);
    let mut cells: Vec<Cell> = formats.iter().map(|&(t, error)| cell(t, rows, columns, error)).collect();
    cells.sort_by_key(|c| c.bytes);
    let block = tensor.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok());
    Row { tensor: tensor.into(), role: Role::Other, block, fused: None, shape: shape.to_vec(), source_bytes: 0, cells }
}

pub(super) fn table(rows: Vec<Row>) -> Table {
    Table {
        model: String::new(),
        model_path: "model".into(),
        calibration: None,
        tool: String::new(),
        rounding: "nearest".into(),
        fixed_bytes: 1024,
        rows,
    }
}

pub(super) fn pins(pins: &[(&str, GgmlType)]) -> IndexMap<String, Format> {
    pins.iter().map(|&(name, t)| (name.to_owned(), Format::Ggml(t))).collect()
}
