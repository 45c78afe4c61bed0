//! Values one by one: curves, sums, rows by number.

use super::super::tiles::folded;
use super::{Cost, Rows};
use crate::error::Result;
use bytemuck::cast_slice;
use halftone_shaders::Kernel;
use halftone_shaders::twin::add::Entry;
use halftone_shaders::twin::gate::Curve;
use halftone_shaders::twin::{add, embedding, gate};

impl Rows {
    fn values(&self) -> usize {
        self.rows * self.columns
    }

    /// x ← f(x), times `up` where there is one.
    ///
    /// # Errors
    /// `Device`; `Mismatch` for another number of values.
    pub fn bend(&mut self, curve: Curve, up: Option<&Self>) -> Result<()> {
        self.fits("gate", up.is_none_or(|up| up.values() == self.values()), format!("{up:?}"))?;
        let cap = if let Curve::SoftCap(cap) = curve { cap } else { 0.0 };
        let params = gate::Params { count: self.values() as u32, curve: curve.number(), gated: up.is_some().into(), cap };
        let workgroups = folded(self.values().div_ceil(256));
        let cost = Cost::of_values(self.values(), 2 + usize::from(up.is_some()));
        if let Some(up) = up {
            return self.gpu.record(Kernel::Gate, &params, &[&up.memory, &self.memory], workgroups, &cost);
        }
        let nothing = self.gpu.engine.reserve(16)?;
        self.gpu.record(Kernel::Gate, &params, &[&nothing, &self.memory], workgroups, &cost)
    }

    /// x ← x + y.
    ///
    /// # Errors
    /// As [`Self::bend`].
    pub fn add(&mut self, y: &Self) -> Result<()> {
        self.fits("add", self.values() == y.values() && self.columns == y.columns, format!("{y:?}"))?;
        self.add_rows(y, &[])
    }

    /// `x[row]` ← `x[row]` + share·y for each row of `y`; no row of x twice.
    ///
    /// # Errors
    /// As [`Self::bend`].
    pub fn add_shares(&mut self, y: &Self, list: &[Entry]) -> Result<()> {
        let fits = y.columns == self.columns && list.len() == y.rows && list.iter().all(|entry| (entry.row as usize) < self.rows);
        self.fits("add", fits, format!("{y:?} at {} rows", list.len()))?;
        if list.is_empty() { Ok(()) } else { self.add_rows(y, list) }
    }

    fn add_rows(&mut self, y: &Self, list: &[Entry]) -> Result<()> {
        let params = add::Params { rows: y.rows as u32, columns: y.columns as u32, listed: (!list.is_empty()).into(), padding: 0 };
        let entries = self.gpu.engine.upload(cast_slice(list))?;
        let workgroups = folded(y.values().div_ceil(256));
        self.gpu.record(Kernel::Add, &params, &[&y.memory, &entries, &self.memory], workgroups, &Cost::of_values(y.values(), 3))
    }

    /// The rows of these numbers, times a factor.
    ///
    /// # Errors
    /// `Device`; `Mismatch` for a number that is no row.
    pub fn gather(&self, numbers: &[u32], scale: f32) -> Result<Self> {
        self.fits("gather", numbers.iter().all(|number| (*number as usize) < self.rows), format!("{numbers:?}"))?;
        let y = Self::reserve(&self.gpu, numbers.len(), self.columns)?;
        let params = embedding::Params {
            count: numbers.len() as u32,
            columns: self.columns as u32,
            first_row: 0,
            rows: self.rows as u32,
            scale,
            ..embedding::Params::default()
        };
        let list = self.gpu.engine.upload(cast_slice(numbers))?;
        let workgroups = folded(y.values().div_ceil(256));
        self.gpu.record(Kernel::Embedding, &params, &[&self.memory, &list, &y.memory], workgroups, &Cost::of_values(y.values(), 2))?;
        Ok(y)
    }

    /// The same values again.
    ///
    /// # Errors
    /// `Device`.
    pub fn duplicate(&self) -> Result<Self> {
        let mut copy = Self::zeroed(&self.gpu, self.rows, self.columns)?;
        copy.add(self)?;
        Ok(copy)
    }
}
