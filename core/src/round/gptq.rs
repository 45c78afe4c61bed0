//! Error feedback: GPTQ (Frantar et al. 2022, in the form of LDLQ, QuIP section 4.1), the same followed by coordinate descent on
//! tr(ΔHΔᵀ) (QuantEase, Behdin et al. 2023, algorithm 1), and FOEM (Zheng et al. 2025), which with its first-order term draws the compensated
//! weights back towards the original ones: here by a fifth (its β) for every panel of columns.
//!
//! Works inside every format that has a [`Format::codebook`], ggml's super-blocks included: the scales of a block are chosen by the format's own
//! importance-weighted search when the loop reaches the block, so the file is an ordinary one.
//! Columns go in their order (`act_order` has the other). Dead columns, whose inputs are always 0, are rounded to nearest: they neither give nor get.

use super::device::suits_a_device;
use super::hessian::DAMPING;
use super::sweep::Sweeper;
use super::{Evidence, Hessian, Rounded, Rounder, without_matrix};
use crate::codec::{Codebook, Format};
use crate::error::{Error, Result};
use crate::job::CancelToken;

/// Error feedback, then this many sweeps of descent.
#[derive(Debug, Clone, Copy)]
pub struct Gptq {
    /// Name in recipes.
    pub name: &'static str,
    /// Sweeps of coordinate descent.
    pub descents: usize,
    /// Share of a correction that is left a panel of columns later; 1 but for FOEM.
    pub persistence: f32,
}

impl Rounder for Gptq {
    fn name(&self) -> &'static str {
        self.name
    }

    fn uses_hessian(&self) -> bool {
        true
    }

    fn runs_on_a_device(&self, format: Format) -> bool {
        suits_a_device(format, self.persistence)
    }

    fn round(&self, weights: &[f32], columns: usize, format: Format, evidence: Evidence<'_>) -> Result<Rounded> {
        feedback(self.name, weights, columns, format, evidence, |codebook, hessian| {
            let (factor, hessian) = (hessian.factor()?, hessian.values());
            let (descents, persistence, cancel) = (self.descents, self.persistence, evidence.cancel);
            let sweeper = Sweeper { format, codebook, columns, factor, hessian, descents, persistence, cancel };
            let gpu = evidence.gpu.filter(|_| self.runs_on_a_device(format));
            let bytes = match gpu {
                Some(gpu) => sweeper.run_on(gpu, weights)?,
                None if codebook == Codebook::Octets => sweeper.run_octets(weights)?,
                None => sweeper.run(weights)?,
            };
            Ok(Rounded { bytes, remark: None, device: gpu.map(|gpu| gpu.name().to_owned()) })
        })
    }
}

/// What all rounders with error feedback share: falling back to nearest where they cannot work, and saying so.
pub(super) fn feedback(
    name: &str,
    weights: &[f32],
    columns: usize,
    format: Format,
    evidence: Evidence<'_>,
    round: impl FnOnce(Codebook, &Hessian) -> Result<Rounded>,
) -> Result<Rounded> {
    let nearest = |remark| Ok(Rounded { bytes: format.encode(weights, columns, evidence.importance)?, remark, device: None });
    let Some(codebook) = format.codebook() else {
        let has_codes = !matches!(format, Format::F32 | Format::F16 | Format::Bf16);
        return nearest(has_codes.then(|| format!("rounded to nearest, because {name} knows no way for {format}")));
    };
    let Some(hessian) = evidence.hessian else { return nearest(Some(without_matrix(name))) };
    format.check_shape(weights.len(), columns, evidence.importance)?;
    if evidence.cancel.is_some_and(CancelToken::is_cancelled) {
        return Err(Error::Cancelled);
    }
    let damping = match hessian.factor() {
        Ok(factor) => factor.damping,
        Err(why) => return nearest(Some(format!("rounded to nearest: {why}"))),
    };
    let rounded = round(codebook, hessian)?;
    let damped = || format!("the matrix of its inputs needed {damping} of its mean diagonal added ({DAMPING} is usual)");
    Ok(Rounded { remark: rounded.remark.or_else(|| (damping > DAMPING).then(damped)), ..rounded })
}

#[cfg(test)]
mod tests {
    use super::super::rounder;
    use super::*;

    const COLUMNS: usize = 512;

    /// Weights with a heavy tail and inputs with strong correlations, the same in every run.
    fn layer() -> (Vec<f32>, Hessian) {
        let mut state = 7u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let weights = (0..40 * COLUMNS).map(|_| random() * random() * random()).collect();
        let common: Vec<f32> = (0..8 * COLUMNS).map(|_| random()).collect();
        let tokens = 1024;
        let x: Vec<f32> = (0..tokens)
            .flat_map(|_| {
                let parts: Vec<f32> = (0..8).map(|_| random()).collect();
                (0..COLUMNS).map(|j| 0.3 * random() + (0..8).map(|p| parts[p] * common[p * COLUMNS + j]).sum::<f32>()).collect::<Vec<_>>()
            })
            .collect();
        let mut gram = vec![0.0; COLUMNS * COLUMNS];
        for row in x.chunks_exact(COLUMNS) {
            for (i, sums) in gram.chunks_exact_mut(COLUMNS).enumerate() {
                sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += row[i] * v);
            }
        }
        (weights, Hessian::new(&gram, COLUMNS, tokens).unwrap())
    }

    /// tr(ΔHΔᵀ).
    fn objective(weights: &[f32], bytes: &[u8], format: Format, hessian: &Hessian) -> f64 {
        let mut decoded = vec![0.0; weights.len()];
        format.decode(bytes, &mut decoded);
        let columns = hessian.values().len().isqrt();
        let rows = weights.chunks_exact(columns).zip(decoded.chunks_exact(columns));
        rows.map(|(w, d)| {
            let delta: Vec<f64> = d.iter().zip(w).map(|(d, w)| f64::from(d - w)).collect();
            let h = hessian.values().chunks_exact(columns);
            h.zip(&delta).map(|(h, di)| di * h.iter().zip(&delta).map(|(h, dj)| f64::from(*h) * dj).sum::<f64>()).sum::<f64>()
        })
        .sum()
    }

    #[test]
    fn each_rounder_beats_the_one_before_in_every_format_it_knows() {
        let (weights, hessian) = layer();
        let evidence = Evidence { importance: None, hessian: Some(&hessian), cross: None, gpu: None, cancel: None };
        for name in [
            "Q2_K",
            "Q3_K",
            "Q4_0",
            "Q4_1",
            "Q4_K",
            "Q5_0",
            "Q5_1",
            "Q5_K",
            "Q6_K",
            "Q8_0",
            "IQ4_NL",
            "IQ4_XS",
            "INT2-g64",
            "INT3-g128-asym",
            "TQ1_0",
            "TQ2_0",
            "Q2_0",
            "IQ1_S",
            "IQ1_M",
            "IQ2_XXS",
            "IQ2_XS",
            "IQ2_S",
            "IQ3_XXS",
            "IQ3_S",
            "MXFP4",
            "NVFP4-global",
            "INT4-channel",
            "INT5-tensor-asym",
            "FP8-E4M3-channel",
            "FP6-E3M2-g32",
            "FP4-g32",
            "MXFP6-E2M3",
            "NF4-g64",
            "ANY4-g128",
            "ANY3-g64-tensor",
            "TRIT2-g128",
        ] {
            let format: Format = name.parse().unwrap();
            let error = |name| objective(&weights, &rounder(name).unwrap().round(&weights, COLUMNS, format, evidence).unwrap().bytes, format, &hessian);
            let [nearest, gptq, descended] = ["nearest", "gptq", "gptq+descent"].map(error);
            assert!(gptq < 0.7 * nearest, "{name}: error feedback {gptq} against nearest {nearest}");
            assert!(descended < gptq, "{name}: descent {descended} against error feedback {gptq}");
        }
    }

    #[test]
    fn the_other_orders_and_updates_are_error_feedback_too() {
        let (weights, hessian) = layer();
        let evidence = Evidence { importance: None, hessian: Some(&hessian), cross: None, gpu: None, cancel: None };
        for format in ["Q4_0", "Q4_K", "INT3-g128-asym"].map(|name| name.parse::<Format>().unwrap()) {
            let bytes = |name| rounder(name).unwrap().round(&weights, COLUMNS, format, evidence).unwrap().bytes;
            let error = |name| objective(&weights, &bytes(name), format, &hessian);
            for name in ["foem", "gptq+order", "gptq+descent"] {
                let (own, nearest) = (error(name), error("nearest"));
                assert!(own < 0.8 * nearest, "{name} {format}: {own} against nearest {nearest}");
                assert_ne!(bytes(name), bytes("gptq"), "{name} {format} is a method of its own");
            }
        }
    }

    /// 576 columns are four panels and a half; the last half must be fed back into and from like the others.
    #[test]
    fn a_width_that_is_not_whole_panels_is_rounded_to_its_end() {
        let (weights, hessian) = layer();
        let n = 576;
        // The last 64 inputs are ten times as large as the others, so that the error is mostly theirs.
        let size = |i: usize| if i < COLUMNS { 1.0 } else { 10.0 };
        let h: Vec<f32> = (0..n * n).map(|i| size(i / n) * size(i % n) * hessian.values()[i / n % COLUMNS * COLUMNS + i % n % COLUMNS]).collect();
        let wide = Hessian::new(&h, n, 1).unwrap();
        let weights = &weights[..35 * n];
        let format: Format = "Q4_0".parse().unwrap();
        let evidence = Evidence { importance: None, hessian: Some(&wide), cross: None, gpu: None, cancel: None };
        let error = |name| objective(weights, &rounder(name).unwrap().round(weights, n, format, evidence).unwrap().bytes, format, &wide);
        let (nearest, gptq) = (error("nearest"), error("gptq"));
        assert!(gptq < 0.7 * nearest, "error feedback {gptq} against nearest {nearest}");
    }

    #[test]
    fn bytes_do_not_depend_on_the_number_of_threads_or_on_the_rows_beside() {
        let (weights, _) = layer();
        let format: Format = "Q4_K".parse().unwrap();
        let round = |weights: &[f32], threads| {
            // A new matrix each time: its factor is part of what must not differ.
            let (_, hessian) = layer();
            let evidence = Evidence { importance: None, hessian: Some(&hessian), cross: None, gpu: None, cancel: None };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| rounder("gptq+descent").unwrap().round(weights, COLUMNS, format, evidence).unwrap().bytes)
        };
        let all = round(&weights, 1);
        assert_eq!(all, round(&weights, 3), "threads");
        let alone = round(&weights[39 * COLUMNS..], 1);
        assert_eq!(all[39 * alone.len()..], alone, "the last row alone");
    }

    #[test]
    fn a_rounding_can_be_cancelled() {
        let (weights, hessian) = layer();
        let cancel = CancelToken::default();
        cancel.cancel();
        let evidence = Evidence { importance: None, hessian: Some(&hessian), cross: None, gpu: None, cancel: Some(&cancel) };
        let rounded = rounder("gptq").unwrap().round(&weights, COLUMNS, "Q4_0".parse().unwrap(), evidence);
        assert!(matches!(rounded, Err(Error::Cancelled)));
    }

    #[test]
    fn without_a_matrix_of_inputs_rounding_is_to_nearest_and_says_so() {
        let (weights, hessian) = layer();
        let format: Format = "Q4_0".parse().unwrap();
        let nearest = rounder("nearest").unwrap().round(&weights, COLUMNS, format, Evidence::default()).unwrap().bytes;
        let rounded = rounder("gptq").unwrap().round(&weights, COLUMNS, format, Evidence::default()).unwrap();
        assert_eq!(rounded.bytes, nearest, "nearest");
        assert!(rounded.remark.is_some(), "and it is told");
        let evidence = Evidence { importance: None, hessian: Some(&hessian), cross: None, gpu: None, cancel: None };
        assert_ne!(rounder("gptq").unwrap().round(&weights, COLUMNS, format, evidence).unwrap().bytes, nearest, "with it, it is not");
    }

    #[test]
    fn weights_that_are_not_finite_and_inputs_that_are_always_zero_do_no_harm() {
        let (mut weights, _) = layer();
        (weights[5], weights[COLUMNS]) = (f32::NAN, f32::INFINITY);
        let dead = Hessian::new(&vec![0.0; COLUMNS * COLUMNS], COLUMNS, 1).unwrap();
        let format: Format = "Q5_K".parse().unwrap();
        let rounded = rounder("gptq+descent")
            .unwrap()
            .round(&weights, COLUMNS, format, Evidence { importance: None, hessian: Some(&dead), cross: None, gpu: None, cancel: None })
            .unwrap();
        let mut decoded = vec![0.0; weights.len()];
        format.decode(&rounded.bytes, &mut decoded);
        assert!(decoded.iter().all(|v| v.is_finite()), "finite");
        assert!(decoded.iter().zip(&weights).all(|(d, w)| !w.is_finite() || (d - w).abs() < 0.2), "as good as nearest");
    }
}
