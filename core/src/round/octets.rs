//! Error feedback where a code stands for eight columns: block LDLQ (QuIP#, section 4.1), and descent by eight columns at a time.
//!
//! With H + λI = M·D·Mᵀ and the columns cut in octets, M_gg the unit upper triangle of octet g: tr(Δ(H + λI)Δᵀ) = Σ_g e_g·(M_gg·D_g·M_ggᵀ)·e_gᵀ with
//! e_g = Δ_g + (Σ_{k<g} Δ_k·M_kg)·M_gg⁻¹. Octet g is rounded to the code nearest to w_g less what stands behind the plus, by the squares
//! weighted with the diagonal of M_gg·D_g·M_ggᵀ: the codes of a grid have no order in which the rest of that matrix could be followed.
//! Descent aims at the minimum of each octet, given all others, and takes a code only when the objective falls.

use super::sweep::{ROWS, Sweeper};
use crate::codec::{Heads, Octet};
use crate::error::{Error, Result};
use crate::job::CancelToken;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

const WIDTH: usize = 8;

type Lane = [f32; ROWS];
type Found = [(Option<Octet>, [f32; WIDTH]); ROWS];

/// [`ROWS`] rows, column by column.
struct Task<'a> {
    weights: Vec<Lane>,
    delta: Vec<Lane>,
    bytes: &'a mut [u8],
}

/// A symmetric or triangular matrix of eight columns.
type Square = [[f32; WIDTH]; WIDTH];

impl Sweeper<'_> {
    /// As [`Sweeper::run`], for [`crate::codec::Codebook::Octets`].
    ///
    /// # Errors
    /// `Cancelled`, between tasks.
    pub(super) fn run_octets(&self, weights: &[f32]) -> Result<Vec<u8>> {
        let row_bytes = self.row_bytes();
        let mut bytes = vec![0u8; weights.len() / self.columns * row_bytes];
        let damped = if self.descents > 0 { self.damped() } else { Vec::new() };
        weights.par_chunks(ROWS * self.columns).zip(bytes.par_chunks_mut(ROWS * row_bytes)).try_for_each(|(weights, bytes)| {
            if self.cancel.is_some_and(CancelToken::is_cancelled) {
                return Err(Error::Cancelled);
            }
            let mut task = Task { weights: super::sweep::lanes(weights, self.columns), delta: vec![[0.0; ROWS]; self.columns], bytes };
            self.feed_back(&mut task);
            for _ in 0..self.descents {
                self.descend(&mut task, &damped);
            }
            Ok(())
        })?;
        Ok(bytes)
    }

    fn row_bytes(&self) -> usize {
        self.format.tensor_bytes(1, self.columns) as usize
    }

    /// H + λI.
    fn damped(&self) -> Vec<f32> {
        let mut damped = self.hessian.to_vec();
        damped.iter_mut().step_by(self.columns + 1).for_each(|h| *h = h.max(0.0) + self.factor.ridge);
        damped
    }

    fn feed_back(&self, task: &mut Task<'_>) {
        let (n, block) = (self.columns, self.format.block_columns());
        let m = &self.factor.upper;
        let mut corrections = vec![[0.0f32; ROWS]; block];
        let mut faded: Vec<Lane> = Vec::new();
        for start in (0..n).step_by(block) {
            faded.extend_from_slice(&task.delta[faded.len()..start]);
            faded.iter_mut().flatten().for_each(|d| *d *= self.persistence);
            products(m, n, start, &faded, &mut corrections);
            self.encode_block(task, start, &corrections);
            for at in (0..block).step_by(WIDTH) {
                let from = start + at;
                let triangle: Square = std::array::from_fn(|i| std::array::from_fn(|j| m[(from + i) * n + from + j]));
                // The diagonal of M_gg·D_g·M_ggᵀ.
                let importance = std::array::from_fn(|i| (i..WIDTH).map(|k| triangle[i][k] * triangle[i][k] * self.factor.conditional[from + k]).sum());
                let target = |row: usize| {
                    let mut c: [f32; WIDTH] = std::array::from_fn(|j| corrections[at + j][row]);
                    for j in 1..WIDTH {
                        c[j] -= (0..j).map(|i| c[i] * triangle[i][j]).sum::<f32>();
                    }
                    std::array::from_fn(|j| task.weights[from + j][row] - c[j])
                };
                let found = self.find(task.bytes, from, &std::array::from_fn(target), &importance);
                self.put(task, from, &found, |_, _, _| true);
                for j in 0..WIDTH {
                    let delta = &task.delta[from + j];
                    let factors = &m[(from + j) * n + start + at + WIDTH..(from + j) * n + start + block];
                    for (correction, factor) in corrections[at + WIDTH..].iter_mut().zip(factors) {
                        for r in 0..ROWS {
                            correction[r] += delta[r] * factor;
                        }
                    }
                }
            }
        }
    }

    /// One pass of descent over the octets.
    fn descend(&self, task: &mut Task<'_>, h: &[f32]) {
        let (n, block) = (self.columns, self.format.block_columns());
        let mut gradients = vec![[0.0f32; ROWS]; block];
        for start in (0..n).step_by(block) {
            // Δ·H, kept up to date while the octets of the panel change.
            products(h, n, start, &task.delta, &mut gradients);
            for at in (0..block).step_by(WIDTH) {
                let from = start + at;
                let own: Square = std::array::from_fn(|i| std::array::from_fn(|j| h[(from + i) * n + from + j]));
                let importance: [f32; WIDTH] = std::array::from_fn(|i| own[i][i]);
                let Some(root) = cholesky(&own) else { continue };
                let before: [[f32; WIDTH]; ROWS] = std::array::from_fn(|row| std::array::from_fn(|j| task.delta[from + j][row]));
                // The whole gradient is that of the others plus Δ_g·H_gg, so that the minimum lies at Δ_g less gradient·H_gg⁻¹.
                let target = |row: usize| {
                    let step = solve(&root, std::array::from_fn(|j| gradients[at + j][row]));
                    std::array::from_fn(|j| task.weights[from + j][row] + before[row][j] - step[j])
                };
                let found = self.find(task.bytes, from, &std::array::from_fn(target), &importance);
                // A change c of Δ_g changes the objective by 2·gradient·c + c·H_gg·c.
                self.put(task, from, &found, |row, old, new| {
                    let c: [f32; WIDTH] = std::array::from_fn(|j| new[j] - old[j]);
                    let cost = |j: usize| c[j] * (2.0 * gradients[at + j][row] + (0..WIDTH).map(|i| own[j][i] * c[i]).sum::<f32>());
                    (0..WIDTH).map(cost).sum::<f32>() < 0.0
                });
                for j in 0..WIDTH {
                    let change: Lane = std::array::from_fn(|r| task.delta[from + j][r] - before[r][j]);
                    let factors = &h[(from + j) * n + start..(from + j) * n + start + block];
                    for (gradient, factor) in gradients.iter_mut().zip(factors) {
                        for r in 0..ROWS {
                            gradient[r] += change[r] * factor;
                        }
                    }
                }
            }
        }
    }

    /// Encodes a block of every row as it has become; its codes are then found again one by one.
    fn encode_block(&self, task: &mut Task<'_>, start: usize, corrections: &[Lane]) {
        let (block, row_bytes) = (self.format.block_columns(), self.row_bytes());
        let at = start / block * self.format.block_bytes();
        let mut values = vec![0.0f32; block];
        for (row, bytes) in task.bytes.chunks_exact_mut(row_bytes).enumerate() {
            for (j, value) in values.iter_mut().enumerate() {
                *value = task.weights[start + j][row] - corrections[j][row];
            }
            let conditional = &self.factor.conditional[start..start + block];
            self.format.encode_blocks(Heads::default(), &values, Some(conditional), &mut bytes[at..at + self.format.block_bytes()]);
        }
    }

    fn find(&self, bytes: &[u8], from: usize, x: &[[f32; WIDTH]; ROWS], importance: &[f32; WIDTH]) -> Found {
        let block = self.format.block_columns();
        let (row_bytes, at) = (self.row_bytes(), from / block * self.format.block_bytes());
        let mut found = [(None, [0.0; WIDTH]); ROWS];
        let rows = bytes.len() / row_bytes;
        self.format.find_octets(&bytes[at..], row_bytes, from % block / WIDTH, &x[..rows], importance, &mut found[..rows]);
        found
    }

    /// Takes the codes found where `better` says so of a row, its errors as they are and as they would become.
    fn put(&self, task: &mut Task<'_>, from: usize, found: &Found, better: impl Fn(usize, &[f32; WIDTH], &[f32; WIDTH]) -> bool) {
        let (block, row_bytes) = (self.format.block_columns(), self.row_bytes());
        let at = from / block * self.format.block_bytes();
        for (row, bytes) in task.bytes.chunks_exact_mut(row_bytes).enumerate() {
            let (code, values) = &found[row];
            let old = std::array::from_fn(|j| task.delta[from + j][row]);
            let new = std::array::from_fn(|j| values[j] - task.weights[from + j][row]);
            if !better(row, &old, &new) {
                continue;
            }
            if let Some(code) = code {
                self.format.put_octet(&mut bytes[at..at + self.format.block_bytes()], from % block / WIDTH, *code);
            }
            for j in 0..WIDTH {
                task.delta[from + j][row] = new[j];
            }
        }
    }
}

/// Σ_k Δ_k·A_kj for the columns j of a panel from `start` on and the rows k of A that `delta` has.
fn products(a: &[f32], n: usize, start: usize, delta: &[Lane], out: &mut [Lane]) {
    let width = out.len();
    matmul(
        MatMut::from_row_major_slice_mut(out.as_flattened_mut(), width, ROWS),
        Accum::Replace,
        MatRef::from_row_major_slice_with_stride(&a[start..], delta.len().max(1), width, n).subrows(0, delta.len()).transpose(),
        MatRef::from_row_major_slice(delta.as_flattened(), delta.len(), ROWS),
        1.0,
        Par::Seq,
    );
}

/// L with A = L·Lᵀ; `None` when A is not positive definite.
fn cholesky(a: &Square) -> Option<Square> {
    let mut l = [[0.0f32; WIDTH]; WIDTH];
    for i in 0..WIDTH {
        for j in 0..=i {
            let rest = a[i][j] - (0..j).map(|k| l[i][k] * l[j][k]).sum::<f32>();
            l[i][j] = if i == j { rest.sqrt() } else { rest / l[j][j] };
        }
        if l[i][i].is_nan() || l[i][i] <= 0.0 {
            return None;
        }
    }
    Some(l)
}

/// x with x·L·Lᵀ = b.
fn solve(l: &Square, b: [f32; WIDTH]) -> [f32; WIDTH] {
    let mut x = b;
    for i in 0..WIDTH {
        x[i] = (x[i] - (0..i).map(|k| l[i][k] * x[k]).sum::<f32>()) / l[i][i];
    }
    for i in (0..WIDTH).rev() {
        x[i] = (x[i] - (i + 1..WIDTH).map(|k| l[k][i] * x[k]).sum::<f32>()) / l[i][i];
    }
    x
}
