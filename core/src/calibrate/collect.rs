//! The taps that add up Σx² and H = XᵀX while a model runs.

use super::calibration::{PEAKS, Peak};
use super::experts::complete;
use super::{ExpertSums, InputStatistics};
use crate::compute::gpu::Gpu;
use crate::compute::gpu::forward::{GramSum, Rows};
use crate::error::{Error, Result};
use crate::job::Accelerator;
use crate::model::{Taps, with_values};
use crate::report::{NoticeKind, Reporter};
use candle_core::Tensor;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, MatMut, MatRef, Par};
use indexmap::IndexMap;
use rayon::prelude::*;
use std::sync::Arc;

/// Tokens whose squares are added by one thread; fixed, so that sums do not depend on the number of threads.
const SLAB_TOKENS: usize = 128;

/// What is lost when a device fails.
const SUMS: &str = "sums of a calibration";

/// Running sums by input.
pub(super) struct Collector<'a> {
    gram_columns: usize,
    /// Experts of a block.
    experts: usize,
    reporter: &'a Reporter,
    inputs: IndexMap<String, Sums>,
    tensors: IndexMap<String, String>,
    attended: IndexMap<String, Attended>,
    /// Inputs with non-finite values, after the first, which is reported in full.
    later_non_finite: usize,
    /// Matrices that are being added up on a device.
    resident: IndexMap<Part, GramSum>,
    device: Option<Arc<Accelerator>>,
}

/// What a matrix on a device is a part of.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Part {
    /// H of this input.
    Input(String),
    /// H of these values, and what is taken from that of these keys.
    Mixed { value: String, key: String },
    /// H of these keys.
    Received(String),
}

/// H of keys or values as attention uses them; lower triangle.
#[derive(Default)]
struct Attended {
    queries: u64,
    gram: Vec<f32>,
}

struct Sums {
    /// Tokens that were added.
    tokens: u64,
    /// Tokens that came by, those left out too.
    seen: u64,
    sum_squares: Vec<f64>,
    sums: Vec<f64>,
    absmax: Vec<f32>,
    peaks: Vec<Peak>,
    /// Lower triangle, row-major; the rest is zero until the end.
    gram: Option<Vec<f32>>,
    /// Tokens and Σx² of each expert of a stack.
    experts: Vec<(u64, Vec<f64>)>,
    non_finite: bool,
}

impl<'a> Collector<'a> {
    /// Keeps H of inputs up to `gram_columns` wide.
    pub(super) fn new(gram_columns: usize, reporter: &'a Reporter) -> Self {
        Self {
            gram_columns,
            experts: 0,
            reporter,
            inputs: IndexMap::new(),
            tensors: IndexMap::new(),
            attended: IndexMap::new(),
            later_non_finite: 0,
            resident: IndexMap::new(),
            device: None,
        }
    }

    /// For a model of so many experts a block.
    pub(super) fn with_experts(self, experts: usize) -> Self {
        Self { experts, ..self }
    }

    /// Adds matrices up on the device where their inputs are there.
    pub(super) fn with_device(self, device: Option<Arc<Accelerator>>) -> Self {
        Self { device, ..self }
    }

    /// Brings what is on the device to the host; to be called behind each block.
    ///
    /// # Errors
    /// `Device`, and then what was there is lost.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.check_device()?;
        let Some(device) = &self.device else { return Ok(()) };
        let bring = |sum: &GramSum, gram: &mut [f32]| device.attempt(|_| sum.add_to(gram))?.ok_or_else(|| device.lost(SUMS));
        for (part, sum) in std::mem::take(&mut self.resident) {
            match part {
                Part::Input(key) => {
                    if let Some(gram) = self.inputs.get_mut(&key).and_then(|input| input.gram.as_mut()) {
                        bring(&sum, gram)?;
                    }
                }
                Part::Received(key) => bring(&sum, &mut self.attended.entry(key).or_default().sized(sum.columns()).gram)?,
                Part::Mixed { value, key } => {
                    let mut product = vec![0.0; sum.columns() * sum.columns()];
                    bring(&sum, &mut product)?;
                    self.attended.entry(value).or_default().sized(sum.columns()).add(1.0, &product);
                    self.attended.entry(key).or_default().sized(sum.columns()).add(-1.0, &product);
                }
            }
        }
        Ok(())
    }

    /// Fails when a device failed that had sums.
    fn check_device(&self) -> Result<()> {
        match &self.device {
            Some(device) if device.gpu().is_none() && !self.resident.is_empty() => Err(device.lost(SUMS)),
            _ => Ok(()),
        }
    }

    /// The sums: statistics by input, and each tensor's input. Inputs none of whose tokens were finite are left out.
    pub(super) fn finish(self) -> (IndexMap<String, InputStatistics>, IndexMap<String, String>) {
        if self.later_non_finite > 0 {
            let text = format!("{} more inputs behind it have tokens that are NaN or infinite; those tokens were left out", self.later_non_finite);
            self.reporter.notice(None, NoticeKind::Other { text });
        }
        let mut tensors = self.tensors;
        let mut inputs = IndexMap::new();
        for (key, sums) in self.inputs {
            if sums.tokens == 0 {
                tensors.retain(|_, input| *input != key);
                continue;
            }
            let mut gram = sums.gram;
            if let Some(gram) = &mut gram {
                mirror(gram, sums.sum_squares.len());
            }
            let single = |sums: &[f64]| sums.iter().map(|&s| s as f32).collect();
            let statistics = InputStatistics {
                tokens: sums.tokens,
                sum_squares: single(&sums.sum_squares),
                gram,
                cross: None,
                sums: single(&sums.sums),
                absmax: sums.absmax,
                peaks: sums.peaks,
                experts: sums.experts.iter().map(|(tokens, squares)| ExpertSums { tokens: *tokens, sum_squares: single(squares) }).collect(),
            };
            inputs.insert(key, statistics);
        }
        for (tensor, Attended { queries, mut gram }) in self.attended {
            let columns = gram.len().isqrt();
            mirror(&mut gram, columns);
            let sum_squares = gram.iter().step_by(columns + 1).copied().collect();
            inputs.insert(attended_key(&tensor), InputStatistics { tokens: queries, sum_squares, gram: Some(gram), ..InputStatistics::default() });
        }
        if self.experts > 0 {
            complete(&mut inputs, &mut tensors, self.experts, self.reporter);
        }
        (inputs, tensors)
    }

    fn sums_of(&mut self, names: &[String], columns: usize) -> Result<&mut Sums> {
        let key = names.first().ok_or_else(|| Error::Input("an input that no linear reads".to_owned()))?;
        if !self.inputs.contains_key(key) {
            let keep = columns <= self.gram_columns;
            if !keep && self.gram_columns > 0 {
                let text = format!("its {columns} inputs are more than {}; only their squares were kept, no Gram matrix", self.gram_columns);
                self.reporter.notice(Some(key), NoticeKind::Other { text });
            }
            let gram = keep.then(|| vec![0.0; columns * columns]);
            self.inputs.insert(key.clone(), Sums::new(columns, gram));
            self.tensors.extend(names.iter().map(|name| (name.clone(), key.clone())));
        }
        let sums = &mut self.inputs[key];
        if sums.sum_squares.len() != columns {
            return Err(Error::Mismatch {
                operation: "collect activations",
                expected: format!("{} inputs of {key}", sums.sum_squares.len()),
                got: columns.to_string(),
            });
        }
        Ok(sums)
    }

    /// Adds rows to a matrix on their device.
    fn add_resident(&mut self, part: Part, rows: &Rows) -> Result<()> {
        if !self.resident.contains_key(&part) {
            self.resident.insert(part.clone(), GramSum::new(rows.gpu(), rows.columns())?);
        }
        self.resident[&part].add(rows)
    }

    /// Tells of a non-finite channel; the first input in full, the ones behind it as a number.
    fn tell_non_finite(&mut self, name: &str, channel: usize, tokens: usize) {
        if self.inputs.get(name).is_some_and(|sums| sums.non_finite) {
            return;
        }
        if self.inputs.values().any(|sums| sums.non_finite) {
            self.later_non_finite += 1;
        } else {
            let text = format!("channel {channel} of its input is NaN or infinite ({tokens} tokens of the batch are); such tokens were left out");
            self.reporter.notice(Some(name), NoticeKind::Other { text });
        }
        self.inputs[name].non_finite = true;
    }
}

impl Collector<'_> {
    /// Adds an input; of one expert when it is routed. `rows` is the same on a device.
    fn add(&mut self, names: &[String], expert: Option<usize>, input: &Tensor, rows: Option<&Rows>) -> Result<()> {
        self.check_device()?;
        // Apart, an expert has sums of its own anyway.
        let expert = expert.filter(|_| names.first().is_some_and(|name| name.ends_with("_exps.weight")));
        let (tokens, columns) = input.dims2()?;
        with_values(input, |x| {
            let batch = Batch::of(x, columns);
            let is_finite = batch.squares.iter().all(|s| s.is_finite());
            let has_gram = self.sums_of(names, columns)?.gram.is_some();
            let on_device = rows.filter(|_| is_finite && has_gram && tokens > 0);
            if let Some(rows) = on_device {
                self.add_resident(Part::Input(names[0].clone()), rows)?;
            }
            let sums = self.sums_of(names, columns)?;
            let Some(channel) = batch.squares.iter().position(|s| !s.is_finite()) else {
                sums.add(x, tokens, batch, expert, on_device.is_none());
                sums.seen += tokens as u64;
                return Ok(());
            };
            let rows: Vec<usize> = (0..tokens).filter(|t| x[t * columns..(t + 1) * columns].iter().all(|v| v.is_finite())).collect();
            let finite: Vec<f32> = rows.iter().flat_map(|t| &x[t * columns..(t + 1) * columns]).copied().collect();
            let mut batch = Batch::of(&finite, columns);
            batch.peaks.iter_mut().for_each(|peak| peak.token = rows[peak.token as usize] as u64);
            sums.add(&finite, rows.len(), batch, expert, true);
            sums.seen += tokens as u64;
            self.tell_non_finite(&names[0], channel, tokens - rows.len());
            Ok(())
        })
    }
}

impl Taps for Collector<'_> {
    fn linear_input(&mut self, names: &[String], input: &Tensor) -> Result<()> {
        self.add(names, None, input, None)
    }

    fn expert_input(&mut self, expert: usize, names: &[String], input: &Tensor) -> Result<()> {
        self.add(names, Some(expert), input, None)
    }

    fn resident_input(&mut self, expert: Option<usize>, names: &[String], input: &Tensor, rows: &Rows) -> Result<()> {
        // Without a device nobody would bring the sums back.
        self.add(names, expert, input, Some(rows).filter(|_| self.device.is_some()))
    }

    fn wants_attended(&self) -> bool {
        self.gram_columns > 0
    }

    /// Approximations, of heads together and without the sizes of queries and of values:
    /// an error Δ of the values' matrix moves the output of query q by Δ·Σ_t A_qt·x_t, so H is the Gram matrix of what was mixed. An error of
    /// the keys' matrix moves the scores of q, and the output by their spread under A_q (a score that moves for all tokens alike moves
    /// nothing), so H is Σ_t A_qt·x_t·x_tᵀ minus the same Gram matrix. With the plain XᵀX the first token of a sequence, which is read by
    /// nearly all others, counts as one among hundreds; attn_v rounded with error feedback then does more harm than rounded to nearest.
    fn attended_input(&mut self, key: &str, value: &str, input: &[f32], received: &[f32], mixed: &[f32]) -> Result<()> {
        let columns = input.len() / received.len().max(1);
        if columns > self.gram_columns {
            return Ok(());
        }
        if !mixed.iter().chain(received).all(|v| v.is_finite()) {
            let text = "what attention makes of its input has NaN or infinite values in some sequences; those do not count in its matrix".to_owned();
            self.reporter.notice(Some(value), NoticeKind::Other { text });
            return Ok(());
        }
        let queries = mixed.len() / columns;
        let weighted: Vec<f32> = input.chunks_exact(columns).zip(received).flat_map(|(x, r)| x.iter().map(move |v| v * r.sqrt())).collect();
        for name in [value, key] {
            self.attended.entry(name.to_owned()).or_default().sized(columns).queries += queries as u64;
        }
        self.check_device()?;
        let device = self.device.clone();
        let on_device = |gpu: &Gpu| {
            for (part, rows) in [(Part::Mixed { value: value.to_owned(), key: key.to_owned() }, mixed), (Part::Received(key.to_owned()), &weighted)] {
                rows.chunks(gpu.rows_of(columns) * columns).try_for_each(|rows| self.add_resident(part.clone(), &Rows::upload(gpu, rows, columns)?))?;
            }
            Ok(())
        };
        if let Some(device) = device
            && device.attempt(on_device)?.is_some()
        {
            return Ok(());
        }
        // Sums that it had would be lost.
        self.check_device()?;
        let mut product = vec![0.0; columns * columns];
        add_gram(&mut product, mixed, columns);
        self.attended[value].add(1.0, &product);
        let of_keys = &mut self.attended[key];
        add_gram(&mut of_keys.gram, &weighted, columns);
        of_keys.add(-1.0, &product);
        Ok(())
    }
}

/// How such names end.
pub(super) const ATTENDED: &str = ".attended";

/// Under what name the statistics of a key or value matrix stand that count what attention makes of its input.
pub(crate) fn attended_key(tensor: &str) -> String {
    format!("{tensor}{ATTENDED}")
}

/// Adds XᵀX to a lower triangle.
fn add_gram(gram: &mut [f32], x: &[f32], columns: usize) {
    let x = MatRef::from_row_major_slice(x, x.len() / columns, columns);
    let (lower, full) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
    let gram = MatMut::from_row_major_slice_mut(gram, columns, columns);
    triangular::matmul(gram, lower, Accum::Add, x.transpose(), full, x, full, 1.0, Par::rayon(0));
}

impl Attended {
    fn sized(&mut self, columns: usize) -> &mut Self {
        self.gram.resize(columns * columns, 0.0);
        self
    }

    fn add(&mut self, factor: f32, product: &[f32]) {
        self.gram.par_iter_mut().zip(product).for_each(|(sum, product)| *sum += factor * product);
    }
}

impl Sums {
    fn new(columns: usize, gram: Option<Vec<f32>>) -> Self {
        let zeros = || vec![0.0; columns];
        Self {
            tokens: 0,
            seen: 0,
            sum_squares: zeros(),
            sums: zeros(),
            absmax: vec![0.0; columns],
            peaks: Vec::new(),
            gram,
            experts: Vec::new(),
            non_finite: false,
        }
    }

    fn add(&mut self, x: &[f32], tokens: usize, batch: Batch, expert: Option<usize>, with_gram: bool) {
        if tokens == 0 {
            return;
        }
        if let Some(expert) = expert {
            let columns = self.sum_squares.len();
            self.experts.resize_with(self.experts.len().max(expert + 1), || (0, vec![0.0; columns]));
            let (seen, squares) = &mut self.experts[expert];
            *seen += tokens as u64;
            squares.iter_mut().zip(&batch.squares).for_each(|(sum, square)| *sum += square);
        }
        self.tokens += tokens as u64;
        for i in 0..self.sums.len() {
            self.sum_squares[i] += batch.squares[i];
            self.sums[i] += batch.sums[i];
            self.absmax[i] = self.absmax[i].max(batch.absmax[i]);
        }
        self.peaks.extend(batch.peaks.iter().map(|peak| Peak { token: self.seen + peak.token, ..*peak }));
        keep_largest(&mut self.peaks);
        let columns = self.sum_squares.len();
        if let Some(gram) = self.gram.as_mut().filter(|_| with_gram) {
            add_gram(gram, x, columns);
        }
    }
}

/// Sums divided by the tokens they are over.
pub(super) fn mean_of(sums: &[f32], tokens: u64) -> Vec<f32> {
    sums.iter().map(|s| s / tokens.max(1) as f32).collect()
}

/// The largest peaks, largest first; of equals the earlier token.
pub(super) fn keep_largest(peaks: &mut Vec<Peak>) {
    peaks.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()).then(a.token.cmp(&b.token)));
    peaks.truncate(PEAKS);
}

/// What some tokens add to the sums, by column; peaks count tokens from the first of them.
struct Batch {
    squares: Vec<f64>,
    sums: Vec<f64>,
    absmax: Vec<f32>,
    peaks: Vec<Peak>,
}

impl Batch {
    fn of(x: &[f32], columns: usize) -> Self {
        let slabs: Vec<Self> = x.par_chunks(SLAB_TOKENS * columns).enumerate().map(|(i, slab)| Self::of_slab(slab, columns, i * SLAB_TOKENS)).collect();
        let mut total = Self { squares: vec![0.0; columns], sums: vec![0.0; columns], absmax: vec![0.0; columns], peaks: Vec::new() };
        for slab in slabs {
            for i in 0..columns {
                total.squares[i] += slab.squares[i];
                total.sums[i] += slab.sums[i];
                total.absmax[i] = total.absmax[i].max(slab.absmax[i]);
            }
            total.peaks.extend(slab.peaks);
        }
        keep_largest(&mut total.peaks);
        total
    }

    fn of_slab(slab: &[f32], columns: usize, first: usize) -> Self {
        let mut batch = Self { squares: vec![0.0; columns], sums: vec![0.0; columns], absmax: vec![0.0; columns], peaks: Vec::new() };
        for (token, row) in slab.chunks_exact(columns).enumerate() {
            for (((square, sum), absmax), &v) in batch.squares.iter_mut().zip(&mut batch.sums).zip(&mut batch.absmax).zip(row) {
                let wide = f64::from(v);
                *square += wide * wide;
                *sum += wide;
                *absmax = absmax.max(v.abs());
            }
            let largest = row.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            if batch.peaks.len() < PEAKS || largest > batch.peaks[PEAKS - 1].value.abs() {
                let channel = row.iter().position(|v| v.abs() == largest).unwrap_or(0);
                batch.peaks.push(Peak { token: (first + token) as u64, channel: channel as u32, value: row[channel] });
                keep_largest(&mut batch.peaks);
            }
        }
        batch
    }
}

/// Copies the lower triangle into the upper one, in tiles that fit the cache.
pub(super) fn mirror(matrix: &mut [f32], n: usize) {
    const TILE: usize = 64;
    for i0 in (0..n).step_by(TILE) {
        for j0 in (0..=i0).step_by(TILE) {
            for i in i0..(i0 + TILE).min(n) {
                for j in j0..(j0 + TILE).min(i) {
                    matrix[j * n + i] = matrix[i * n + j];
                }
            }
        }
    }
}
#[cfg(test)]
mod tests;
