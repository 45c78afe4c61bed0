//! Where each tensor stands on the map: a row for the embedding, each block and the head; a column for each role that occurs.

use halftone_core::source::{Role, TensorEntry};
use std::collections::{BTreeMap, BTreeSet};

/// The map's rows and columns. Built once when a model opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grid {
    /// Heads of the rows: "embed", "0", "1" …, "head".
    pub rows: Vec<String>,
    /// Heads of the columns.
    pub columns: Vec<String>,
    /// Row-major; the catalog position of the tensor that stands there.
    pub cells: Vec<Option<usize>>,
    /// Catalog position → (row, column), for tensors on the map.
    places: BTreeMap<usize, (usize, usize)>,
}

impl Grid {
    /// Places every quantizable tensor.
    pub fn new(tensors: &[TensorEntry]) -> Self {
        let on_map: Vec<(usize, RowKey, ColumnKey)> = tensors
            .iter()
            .enumerate()
            .filter(|(_, t)| t.quantizable())
            .map(|(i, t)| (i, RowKey::of(t), ColumnKey { role: t.role, tail: tail(t), again: 0 }))
            .collect();
        let mut rows: BTreeMap<RowKey, usize> = on_map.iter().map(|(_, row, _)| (*row, 0)).collect();
        rows.values_mut().enumerate().for_each(|(at, row)| *row = at);

        // Two tensors of one role in one block (experts stored apart) get a column each.
        let mut taken = BTreeSet::new();
        let mut placed = Vec::with_capacity(on_map.len());
        for (index, row, mut column) in on_map {
            while !taken.insert((row, column.clone())) {
                column.again += 1;
            }
            placed.push((index, row, column));
        }
        let mut columns: BTreeMap<ColumnKey, usize> = placed.iter().map(|(_, _, column)| (column.clone(), 0)).collect();
        columns.values_mut().enumerate().for_each(|(at, column)| *column = at);

        let mut grid = Self {
            rows: rows.keys().map(RowKey::label).collect(),
            columns: columns.keys().map(ColumnKey::label).collect(),
            cells: vec![None; rows.len() * columns.len()],
            places: BTreeMap::new(),
        };
        for (index, row, column) in placed {
            let (row, column) = (rows[&row], columns[&column]);
            grid.cells[row * grid.columns.len() + column] = Some(index);
            grid.places.insert(index, (row, column));
        }
        grid
    }

    /// The tensor at a row and column.
    pub fn at(&self, row: usize, column: usize) -> Option<usize> {
        if column >= self.columns.len() { None } else { self.cells.get(row * self.columns.len() + column).copied().flatten() }
    }

    /// Where a tensor stands.
    pub fn place(&self, tensor: usize) -> Option<(usize, usize)> {
        self.places.get(&tensor).copied()
    }

    /// The tensors of a rectangle of cells, corners included, in reading order.
    pub fn rectangle(&self, a: (usize, usize), b: (usize, usize)) -> Vec<usize> {
        let (top, bottom) = (a.0.min(b.0), a.0.max(b.0));
        let (left, right) = (a.1.min(b.1), a.1.max(b.1));
        (top..=bottom).flat_map(|row| (left..=right).filter_map(move |column| self.at(row, column))).collect()
    }

    /// The next tensor from here in a direction, over holes.
    pub fn step(&self, from: (usize, usize), rows: isize, columns: isize) -> Option<usize> {
        let (mut row, mut column) = from;
        loop {
            row = row.checked_add_signed(rows)?;
            column = column.checked_add_signed(columns)?;
            if row >= self.rows.len() || column >= self.columns.len() {
                return None;
            }
            if let Some(tensor) = self.at(row, column) {
                return Some(tensor);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RowKey {
    Before,
    Block(usize),
    After,
}

impl RowKey {
    fn of(tensor: &TensorEntry) -> Self {
        match (tensor.block, tensor.role) {
            (Some(block), _) => Self::Block(block),
            (None, Role::Head) => Self::After,
            (None, _) => Self::Before,
        }
    }

    fn label(&self) -> String {
        match self {
            Self::Before => "embed".to_owned(),
            Self::Block(block) => block.to_string(),
            Self::After => "head".to_owned(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ColumnKey {
    role: Role,
    tail: String,
    again: usize,
}

impl ColumnKey {
    fn label(&self) -> String {
        let name = if self.tail.is_empty() { self.role.label().to_owned() } else { self.tail.clone() };
        if self.again == 0 { name } else { format!("{name} {}", self.again + 1) }
    }
}

/// What tells tensors without a known role apart: the name after its block number.
fn tail(tensor: &TensorEntry) -> String {
    if tensor.role != Role::Other {
        return String::new();
    }
    let name = tensor.name.strip_suffix(".weight").unwrap_or(&tensor.name);
    let tail = tensor.block.and_then(|block| name.split_once(&format!(".{block}."))).map_or(name, |(_, tail)| tail);
    let parts: Vec<&str> = tail.rsplit('.').take(2).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use halftone_core::tensor::DType;

    fn tensor(name: &str, role: Role, block: Option<usize>) -> TensorEntry {
        TensorEntry { name: name.into(), stored_name: name.into(), role, block, fused: None, shape: vec![64, 64], dtype: DType::F32, size_bytes: 16_384 }
    }

    #[test]
    fn grid_places_embedding_first_and_head_last_and_leaves_norms_out() {
        let tensors = [
            tensor("output.weight", Role::Head, None),
            tensor("token_embd.weight", Role::Embedding, None),
            tensor("blk.1.attn_q.weight", Role::Query, Some(1)),
            tensor("blk.0.attn_q.weight", Role::Query, Some(0)),
            tensor("blk.0.attn_norm.weight", Role::Norm, Some(0)),
        ];
        let grid = Grid::new(&tensors);
        assert_eq!(grid.rows, ["embed", "0", "1", "head"], "rows in the order of the data");
        assert_eq!(grid.columns, ["embed", "q", "head"], "norms have no column");
        assert_eq!(grid.place(3), Some((1, 1)), "block 0, q");
        assert_eq!(grid.place(4), None, "a norm is not on the map");
        assert_eq!(grid.step((1, 1), 1, 0), Some(2), "down one block");
    }

    #[test]
    fn experts_of_one_role_in_one_block_get_a_column_each() {
        let tensors: Vec<_> = (0..3).map(|e| tensor(&format!("blk.0.ffn_up.{e}.weight"), Role::Up, Some(0))).collect();
        let grid = Grid::new(&tensors);
        assert_eq!(grid.columns, ["up", "up 2", "up 3"], "one column each");
        assert_eq!(grid.rectangle((0, 0), (0, 2)), [0, 1, 2], "none is lost");
    }
}
