//! Metrics from several passes forward and back over the whole model: traces of Hessians, and the integral along the way to a
//! quantized model. Both ask for the derivative of the KL divergence along a direction, tensor by tensor.

use super::cells::Encoded;
use super::meter::Meter;
use super::metrics::{Gain, HessianTrace, error_of};
use super::probe::{NOISE, fill, reference};
use super::{Metric, Table};
use crate::error::{Error, Result};
use crate::gradient::{directional, supported};
use crate::model::Weights;
use crate::report::NoticeKind;
use indexmap::IndexMap;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Root mean square of a probe's step, as a share of that of the tensor's weights: far below what quantization does, far above rounding.
const STEP: f64 = 3e-3;
/// Gauss–Legendre nodes and weights on [0, 1], of one to three points: exact for polynomials of degree 1, 3 and 5. KL along the path begins
/// quadratically, so its derivative is nearly straight and one point is nearly enough.
const NODES: [&[(f64, f64)]; 3] = [
    &[(0.5, 1.0)],
    &[(0.211_324_865_405_187, 0.5), (0.788_675_134_594_813, 0.5)],
    &[(0.112_701_665_379_258, 5.0 / 18.0), (0.5, 8.0 / 18.0), (0.887_298_334_620_742, 5.0 / 18.0)],
];

/// Whether this model has gradients; if not, a notice says that there is no `what`, and why.
///
/// # Errors
/// Everything but that it has none.
pub(super) fn has_gradients(meter: &Meter<'_>, what: &str) -> Result<bool> {
    match supported(meter.source) {
        Err(Error::Unsupported { what: refused, why }) => {
            meter.cx.reporter.notice(None, NoticeKind::Other { text: format!("no {what}, because {refused} are not supported: {why}") });
            Ok(false)
        }
        other => other.map(|()| true),
    }
}

/// Fills [`Metric::HessianTrace`]: tr H_l = E[v·H·v] for v of random signs (Hutchinson 1990). The loss is the KL divergence from the model
/// itself, whose gradient at W is zero, and H·v comes from the difference of the gradients at W ± εv. All tensors move together, each
/// by its own length, and v_l·(H·v)_l is read for each; what other tensors add to it has mean zero.
pub(super) fn hessian_trace(meter: &Meter<'_>, sequences: &[Vec<u32>], probes: usize, table: &mut Table) -> Result<()> {
    if !has_gradients(meter, "Hessian traces")? {
        return Ok(());
    }
    let weights: &dyn Weights = meter.source;
    let mut lengths: IndexMap<String, (usize, f64)> = IndexMap::new();
    for row in &table.rows {
        let Some((values, _)) = weights.load(&row.tensor)? else { continue };
        let square: f64 = values.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
        lengths.insert(row.tensor.clone(), (values.len(), STEP * (square / values.len().max(1) as f64).sqrt()));
    }
    let mut sums: IndexMap<String, f64> = IndexMap::new();
    for probe in 0..probes {
        let signs = |name: &str| {
            let Some(&(count, length)) = lengths.get(name) else { return Ok(None) };
            let seed = blake3::hash(format!("{probe} {name}").as_bytes());
            let mut random = ChaCha8Rng::from_seed(*seed.as_bytes());
            Ok(Some((0..count).map(|_| if random.random::<bool>() { length as f32 } else { -length as f32 }).collect()))
        };
        let (_, ahead) = directional(weights, sequences, &signs, 1.0, meter.cx)?;
        let (_, behind) = directional(weights, sequences, &signs, -1.0, meter.cx)?;
        for (name, ahead) in ahead {
            let behind = behind.get(&name).copied().unwrap_or(0.0);
            *sums.entry(name).or_default() += (ahead - behind) / 2.0 / probes as f64;
        }
    }
    // v·H·v = length²·tr H, and the cost is ½·(tr H / count)·‖W‖²·weight error, where ‖W‖² = count·(length / STEP)².
    let of_error = sums.into_iter().map(|(name, sum)| (name, (0.5 * sum / (STEP * STEP)).max(NOISE))).collect();
    fill(table, &HessianTrace(of_error));
    Ok(())
}

/// Fills [`Metric::Pqi`]: along the straight line from the model to itself with every tensor replaced by its reference candidate, each
/// tensor's share of the KL at the end is ∫₀¹ ⟨∇_l KL(W + tΔ), Δ_l⟩ dt. The shares add up to the KL of all replaced together, so they
/// hold what tensors make worse or better for each other. One encoded copy of the model is in memory.
pub(super) fn path_integral(meter: &Meter<'_>, sequences: &[Vec<u32>], points: usize, table: &mut Table) -> Result<()> {
    if !has_gradients(meter, "integral along the path")? {
        return Ok(());
    }
    let encoded = references(meter, table)?;
    let weights: &dyn Weights = meter.source;
    let difference = |name: &str| {
        let (Some((stored, bytes)), Some((original, shape))) = (encoded.get(name), weights.load(name)?) else { return Ok(None) };
        let mut values = vec![0.0; original.len()];
        stored.decode(bytes, &mut values, shape.last().copied().unwrap_or(1));
        values.iter_mut().zip(&original).for_each(|(v, w)| *v -= if w.is_finite() { *w } else { 0.0 });
        Ok(Some(values))
    };
    let mut shares: IndexMap<String, f64> = IndexMap::new();
    for &(at, weight) in NODES[points.clamp(1, NODES.len()) - 1] {
        let (_, derivatives) = directional(weights, sequences, &difference, at as f32, meter.cx)?;
        for (name, derivative) in derivatives {
            *shares.entry(name).or_default() += weight * derivative;
        }
    }
    let mut gains = IndexMap::new();
    for row in &table.rows {
        let (Some(share), Some((stored_as, _))) = (shares.get(&row.tensor), reference(row)) else { continue };
        if let Some(cell) = row.cells.iter().find(|c| c.stored() == stored_as.into()) {
            gains.insert(row.tensor.clone(), share.max(NOISE) / error_of(&row.cells, cell).max(f64::MIN_POSITIVE));
        }
    }
    fill(table, &Gain { metric: Metric::Pqi, gains });
    Ok(())
}

/// Every tensor of the table as its reference candidate.
pub(super) fn references(meter: &Meter<'_>, table: &Table) -> Result<Encoded> {
    let mut encoded = Encoded::new();
    for row in &table.rows {
        meter.cx.checkpoint()?;
        if let (Some((stored_as, _)), Some(index)) = (reference(row), meter.source.find(&row.tensor)) {
            encoded.insert(row.tensor.clone(), (stored_as.into(), meter.encoded(index, stored_as.into())?));
        }
    }
    Ok(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Format, GgmlType};
    use crate::gradient::{GradientOptions, collect};
    use crate::job::{JobContext, JobEvent};
    use crate::model::{Transformer, logits_of};
    use crate::numeric::metric::kl_divergence;
    use crate::report::Reporter;
    use crate::sensitivity::{MeasureOptions, judge, measure};
    use crate::source::{ModelConfig, Source, open};
    use parking_lot::Mutex;
    use std::path::Path;
    use std::sync::Arc;

    fn golden(name: &str) -> Source {
        open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/architectures").join(name), &Reporter::default()).unwrap()
    }

    fn sequences(source: &Source, count: usize) -> Vec<Vec<u32>> {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        (0..count).map(|_| (0..16).map(|_| random.random_range(0..source.config.vocab_size as u32)).collect()).collect()
    }

    fn table(source: &Source, search: &[Vec<u32>], probes: usize, trust: usize) -> (Table, Vec<String>) {
        let cx = JobContext::silent();
        let gradients = collect(source, &source.fingerprint, search, &GradientOptions::default(), &cx).unwrap();
        let options = MeasureOptions {
            formats: [GgmlType::Q4_0, GgmlType::Q5_0, GgmlType::Q8_0].map(|t| Format::Ggml(t).into()).to_vec(),
            rounding: "nearest".into(),
            search: search.to_vec(),
            gradients: Some(Arc::new(gradients)),
            hessian_probes: probes,
            path_points: 3,
            trust,
            refine: 3,
            ..MeasureOptions::default()
        };
        let told = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&told);
        let cx = JobContext::new(crate::compute::DeviceChoice::Cpu, move |event| {
            if let JobEvent::Row(row) = event {
                seen.lock().push(row.tensor);
            }
        });
        let table = measure(source, None, &options, &cx).unwrap();
        let told = told.lock().clone();
        (table, told)
    }

    #[test]
    fn shares_of_the_path_add_up_to_the_kl_of_all_together_and_every_metric_is_there() {
        let source = golden("llama");
        let search = sequences(&source, 12);
        let (table, told) = table(&source, &search, 4, 8);
        for metric in [Metric::HessianTrace, Metric::Pqi, Metric::Fisher, Metric::CalibratedKl] {
            assert!(table.has(metric), "{metric:?}");
        }
        let trust = table.evidence.trust.as_ref().unwrap();
        let shares: f64 =
            table.rows.iter().map(|row| row.cells.iter().find(|c| Some(c.stored_as) == reference(row).map(|(f, _)| f)).unwrap().more.path_kl.unwrap()).sum();
        assert!((shares / trust.all_together.together - 1.0).abs() < 0.05, "{shares} instead of {:?}", trust.all_together);
        println!("{trust:?}");
        let of = |metric| trust.of(metric).unwrap();
        assert!(of(Metric::Fisher).spearman > 0.8, "{:?}", of(Metric::Fisher));
        assert!((0.3..3.0).contains(&of(Metric::Fisher).ratio), "{:?}", of(Metric::Fisher));
        assert_eq!(trust.cells.len(), 8);
        let measured = table.rows.iter().flat_map(|r| &r.cells).filter(|c| c.more.measured_kl.is_some()).count();
        assert!((9..=11).contains(&measured), "8 and at most 3 more, {measured}");
        // Largest first, then again whenever something was learnt.
        let elements = |name: &String| source.tensors[source.find(name).unwrap()].elements();
        assert!(told[..table.rows.len()].is_sorted_by_key(|name| std::cmp::Reverse(elements(name))), "{told:?}");
        assert!(told.len() > 3 * table.rows.len(), "{} events", told.len());
    }

    #[test]
    fn a_hessian_trace_is_what_random_signs_on_that_tensor_alone_cost() {
        struct One<'a>(&'a Source, &'a str, Vec<f32>);
        impl Weights for One<'_> {
            fn config(&self) -> &ModelConfig {
                &self.0.config
            }
            fn load(&self, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
                let found = self.0.load(name)?;
                Ok(if name == self.1 { found.map(|(_, shape)| (self.2.clone(), shape)) } else { found })
            }
        }
        let source = golden("llama");
        let search = sequences(&source, 8);
        let (table, _) = table(&source, &search, 64, 0);
        let logits = |weights: &dyn Weights| -> Vec<Vec<f32>> {
            let model = Transformer::new(weights).unwrap();
            let head = model.head().unwrap();
            let hidden = model.hidden(&search, None, &JobContext::silent()).unwrap();
            hidden.iter().flat_map(|h| logits_of(h, &head).unwrap().to_vec2::<f32>().unwrap()).collect()
        };
        let before = logits(&source);
        let mut ratios = IndexMap::new();
        for name in ["blk.0.attn_v.weight", "blk.1.attn_v.weight", "blk.0.ffn_up.weight", "blk.1.attn_output.weight"] {
            let (values, _) = source.load(name).unwrap().unwrap();
            let rms = (values.iter().map(|w| f64::from(w * w)).sum::<f64>() / values.len() as f64).sqrt();
            let mut random = ChaCha8Rng::seed_from_u64(5);
            let step = 0.01;
            let trials = 24;
            let mean: f64 = (0..trials)
                .map(|_| {
                    let moved = values.iter().map(|w| w + (if random.random::<bool>() { step * rms } else { -step * rms }) as f32).collect();
                    let after = logits(&One(&source, name, moved));
                    before.iter().zip(&after).map(|(p, q)| kl_divergence(p, q)).sum::<f64>() / before.len() as f64 / f64::from(trials)
                })
                .sum();
            let cell = &table.row(name).unwrap().cells[0];
            ratios.insert(name, cell.more.hessian_kl.unwrap() / cell.weight_error * step * step / mean);
        }
        println!("{ratios:?}");
        assert!(ratios.values().all(|r| (0.6..1.6).contains(r)), "{ratios:?}");
    }

    #[test]
    fn too_few_cells_are_told_with_the_table_and_refused_by_themselves() {
        let source = golden("llama");
        let search = sequences(&source, 2);
        let cx = JobContext::silent();
        let formats = [GgmlType::Q4_0, GgmlType::Q8_0].map(|t| Format::Ggml(t).into()).to_vec();
        let options = MeasureOptions { formats, rounding: "nearest".into(), search: search.clone(), trust: 2, ..MeasureOptions::default() };
        let table = measure(&source, None, &options, &cx).unwrap();
        assert!(table.evidence.trust.is_none() && !table.has(Metric::CalibratedKl), "two cells rank nothing");
        let notices: Vec<String> = cx.reporter.notices().iter().map(ToString::to_string).collect();
        assert!(notices.iter().filter(|n| n.contains("too few cells")).count() == 1, "{notices:?}");
        let table = Table {
            rows: table
                .rows
                .into_iter()
                .map(|mut row| {
                    row.cells.iter_mut().for_each(|c| c.more.measured_kl = None);
                    row
                })
                .collect(),
            ..table
        };
        let judged = |table: &Table, count: usize| judge(&source, None, table, &search, count, &JobContext::silent());
        assert!(matches!(judged(&table, 2), Err(Error::Unsupported { .. })), "too few");
        assert!(judged(&table, 8).unwrap().has(Metric::CalibratedKl), "enough");
        for other in [
            Table { tool: "0.0.0".into(), ..table.clone() },
            Table { model: "another".into(), ..table.clone() },
            Table { calibration: Some("another".into()), ..table.clone() },
        ] {
            let error = judged(&other, 8).unwrap_err();
            assert!(matches!(error, Error::Mismatch { .. }) && error.to_string().contains("judge"), "{error}");
        }
    }

    #[test]
    fn a_mixture_gets_a_notice_and_its_table() {
        let source = golden("mixtral");
        let search = sequences(&source, 2);
        let cx = JobContext::silent();
        let options = MeasureOptions {
            formats: vec![Format::Ggml(GgmlType::Q4_0).into()],
            rounding: "nearest".into(),
            search,
            hessian_probes: 1,
            path_points: 1,
            ..MeasureOptions::default()
        };
        let table = measure(&source, None, &options, &cx).unwrap();
        assert!(!table.rows.is_empty() && !table.has(Metric::Pqi), "weights alone");
        let notices: Vec<String> = cx.reporter.notices().iter().map(ToString::to_string).collect();
        assert!(notices.iter().filter(|n| n.contains("experts")).count() == 2, "{notices:?}");
    }
}
