//! H = XᵀX / T of the inputs of a linear, and the matrix that error feedback multiplies with.

use crate::error::{Error, Result};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{LltParams, cholesky_in_place, cholesky_in_place_scratch};
use faer::{Auto, Mat, Par, Spec};
use std::sync::OnceLock;

/// Share of the mean diagonal that is added to the diagonal before factoring (GPTQ, section 3.3, "dampening").
pub(super) const DAMPING: f64 = 0.01;
/// The largest share that is tried where smaller ones leave H indefinite.
const LARGEST_DAMPING: f64 = 10.0;

/// H of one input, shared by the linears that read it; the factor is computed when first asked for.
#[derive(Debug)]
pub struct Hessian {
    columns: usize,
    /// `columns × columns`, symmetric.
    values: Vec<f32>,
    factor: OnceLock<Factor>,
}

/// The unit upper triangular M of H + λI = M·D·Mᵀ: tr(ΔHΔᵀ) = Σ_j D_jj·‖(ΔM)_j‖², so that the best value of column j, given the columns
/// before it, cancels Σ_{k<j} Δ_k·M_kj (LDLQ, QuIP section 4.1; the same update as GPTQ's by QuIP theorem 6).
#[derive(Debug)]
pub struct Factor {
    /// `columns × columns`, row-major; ones on the diagonal, zeros below.
    pub upper: Vec<f32>,
    /// D_jj: what is left of H_jj when the columns behind j are known to make up for it.
    pub conditional: Vec<f32>,
    /// λ as a share of the mean diagonal.
    pub damping: f64,
    /// λ.
    pub ridge: f32,
}

impl Hessian {
    /// From Σ xᵢxⱼ over `tokens` tokens, full and symmetric.
    ///
    /// # Errors
    /// `Mismatch` when it is not `columns × columns`.
    pub fn new(gram: &[f32], columns: usize, tokens: u64) -> Result<Self> {
        if gram.len() != columns * columns {
            return Err(Error::Mismatch { operation: "read a Gram matrix", expected: format!("{columns} × {columns} values"), got: gram.len().to_string() });
        }
        let scale = 1.0 / tokens.max(1) as f32;
        Ok(Self { columns, values: gram.iter().map(|h| h * scale).collect(), factor: OnceLock::new() })
    }

    /// The matrix, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// H_jj.
    pub fn diagonal(&self, j: usize) -> f32 {
        self.values[j * self.columns + j]
    }

    /// The factor, of the smallest of the dampings 0.01, 0.1, 1 and 10 with which H is positive definite.
    ///
    /// # Errors
    /// `Input` when it never is: the matrix is not one of sums of squares.
    pub fn factor(&self) -> Result<&Factor> {
        if let Some(factor) = self.factor.get() {
            return Ok(factor);
        }
        let mut damping = DAMPING;
        while damping <= LARGEST_DAMPING {
            let ridge = self.ridge(damping);
            if let Some((upper, conditional)) = self.factored(ridge) {
                return Ok(self.factor.get_or_init(|| Factor { upper, conditional, damping, ridge }));
            }
            damping *= 10.0;
        }
        Err(Error::Input(format!(
            "the {0} × {0} matrix of the inputs is not positive definite, even with {LARGEST_DAMPING} times its diagonal added",
            self.columns
        )))
    }

    /// λ of a share of the mean diagonal. For an input that is always zero every rounding is as good, and λ is 1.
    fn ridge(&self, damping: f64) -> f32 {
        let mean = (0..self.columns).map(|j| f64::from(self.diagonal(j))).sum::<f64>() / self.columns as f64;
        if mean > 0.0 { (damping * mean) as f32 } else { 1.0 }
    }

    /// H + λI = V·Vᵀ with V upper triangular is the Cholesky factorization of the matrix with rows and columns in reverse; M = V·diag(V)⁻¹.
    fn factored(&self, ridge: f32) -> Option<(Vec<f32>, Vec<f32>)> {
        let n = self.columns;
        let mut reversed = Mat::from_fn(n, n, |i, j| self.values[(n - 1 - j) * n + n - 1 - i] + if i == j { ridge } else { 0.0 });
        let parameters = Spec::<LltParams, f32>::new(Auto::<f32>::auto());
        let mut memory = MemBuffer::new(cholesky_in_place_scratch::<f32>(n, Par::rayon(0), parameters));
        cholesky_in_place(reversed.as_mut(), Default::default(), Par::rayon(0), MemStack::new(&mut memory), parameters).ok()?;
        let (mut upper, mut conditional) = (vec![0.0f32; n * n], vec![0.0f32; n]);
        for j in 0..n {
            let pivot = 1.0 / reversed[(j, j)];
            if !pivot.is_finite() {
                return None;
            }
            conditional[n - 1 - j] = reversed[(j, j)] * reversed[(j, j)];
            upper[(n - 1 - j) * n + n - 1 - j] = 1.0;
            for i in j + 1..n {
                // L[i, j] stands at V[n−1−i, n−1−j].
                upper[(n - 1 - i) * n + n - 1 - j] = reversed[(i, j)] * pivot;
            }
        }
        Some((upper, conditional))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_gives_the_damped_matrix_back() {
        let n = 24;
        let x: Vec<f32> = (0..40 * n).map(|i| ((i * 7919 % 1013) as f32 / 506.5 - 1.0) * (1.0 + (i % n) as f32)).collect();
        let gram: Vec<f32> = (0..n * n).map(|ij| (0..40).map(|t| x[t * n + ij / n] * x[t * n + ij % n]).sum()).collect();
        let hessian = Hessian::new(&gram, n, 40).unwrap();
        let factor = hessian.factor().unwrap();
        assert_eq!(factor.damping, 0.01, "damping");
        let ridge = 0.01 * (0..n).map(|j| hessian.diagonal(j)).sum::<f32>() / n as f32;
        let m = |i: usize, j: usize| f64::from(factor.upper[i * n + j]);
        for i in 0..n {
            assert_eq!(m(i, i), 1.0, "unit diagonal");
            for j in 0..n {
                let got: f64 = (0..n).map(|k| m(i, k) * f64::from(factor.conditional[k]) * m(j, k)).sum();
                let want = f64::from(hessian.values()[i * n + j]) + if i == j { f64::from(ridge) } else { 0.0 };
                assert!((got - want).abs() < 1e-3 * f64::from(hessian.diagonal(n - 1)), "H[{i},{j}]: {got} instead of {want}");
            }
        }
    }

    #[test]
    fn damping_rises_until_the_matrix_is_positive_definite() {
        // Eigenvalues 1.2 and −0.2 about a diagonal of 0.5: one percent is not enough, one times the diagonal is.
        let hessian = Hessian::new(&[0.5, 0.7, 0.7, 0.5], 2, 1).unwrap();
        assert_eq!(hessian.factor().unwrap().damping, 1.0);
        assert!(Hessian::new(&[f32::NAN; 4], 2, 1).unwrap().factor().is_err(), "not a number");
    }
}
