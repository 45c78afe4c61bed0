//! Filling the table: every quantizable tensor is encoded as every candidate, decoded, and compared with what it was.
//!
//! Most valuable cells first: the metrics that need no pass over the model come before those that do, the largest tensors, which decide most
//! bytes, before small ones, and measurements at the logits go to the cells that carry most of the cost near the frontier. Every row is an
//! event when it is there and when it learns more.
//!
//! One tensor is in memory at a time: its weights and one candidate's error. The sums are in a fixed order, so the table is the same
//! whatever the number of threads. Values that are not finite count as zero, as they are when the model is quantized.

use super::meter::Meter;
use super::metrics::{ActivationError, CellMetric, Fisher, ImatrixError, WeightError};
use super::{Evidence, Table, curvature, probe, refine, trust};
use crate::calibrate::Calibration;
use crate::codec::Format;
use crate::error::{Error, Result};
use crate::gradient::Gradients;
use crate::job::{JobContext, JobEvent, Stage};
use crate::report::NoticeKind;
use crate::residual::Candidate;
use crate::round::{DEFAULT_ROUNDING, Rounder, TOOL, rounder, rounder_names, rounding_for};
use crate::source::Source;
use std::sync::Arc;

/// What to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasureOptions {
    /// The candidates.
    pub formats: Vec<Candidate>,
    /// Rounder whose errors are measured.
    pub rounding: String,
    /// Held-out sequences for the gains of [`super::Metric::PredictedKl`]; none: that metric is left out.
    pub probe: Vec<Vec<u32>>,
    /// Sequences of search text for everything else that runs the model: [`super::Metric::HessianTrace`], [`super::Metric::Pqi`], trust and
    /// refinement. None: the probe's.
    pub search: Vec<Vec<u32>>,
    /// For [`super::Metric::Fisher`]; none: that metric is left out.
    pub gradients: Option<Arc<Gradients>>,
    /// Random directions for [`super::Metric::HessianTrace`]; 0: that metric is left out.
    pub hessian_probes: usize,
    /// Points of [`super::Metric::Pqi`], at most three; 0: that metric is left out.
    pub path_points: usize,
    /// Cells that are measured at the logits and that all metrics are held against; 0: none.
    pub trust: usize,
    /// Cells near the frontier that are measured at the logits after that; 0: none.
    pub refine: usize,
}

impl Default for MeasureOptions {
    fn default() -> Self {
        use crate::codec::GgmlType as T;
        let ggml = [T::Q2_K, T::Q3_K, T::Q4_0, T::IQ4_NL, T::IQ4_XS, T::Q4_1, T::Q4_K, T::Q5_0, T::Q5_1, T::Q5_K, T::Q6_K, T::Q8_0];
        Self {
            formats: ggml.map(|t| Format::Ggml(t).into()).to_vec(),
            rounding: DEFAULT_ROUNDING.to_owned(),
            probe: Vec::new(),
            search: Vec::new(),
            gradients: None,
            hessian_probes: 0,
            path_points: 0,
            trust: 0,
            refine: 0,
        }
    }
}

/// Encodes every quantizable tensor as every candidate and measures the errors. Weight-only without a calibration; what is measured at the
/// logits needs search text and a model that can run, predicted KL a calibration too.
///
/// # Errors
/// `Mismatch` for a calibration or gradients of another model; `Unsupported` for a rounder or candidate that does not exist, before any work;
/// `Cancelled`.
pub fn measure(source: &Source, calibration: Option<&Calibration>, options: &MeasureOptions, cx: &JobContext) -> Result<Table> {
    let tensors: Vec<usize> = (0..source.tensors.len()).filter(|&i| source.tensors[i].quantizable()).collect();
    let rounder = check(source, &tensors, calibration, options)?;
    if rounder.name() != options.rounding {
        let text = format!("{} needs a calibration; without one the errors are those of rounding to {}", options.rounding, rounder.name());
        cx.reporter.notice(None, NoticeKind::Other { text });
    }
    let meter = Meter::new(source, calibration, rounder, cx);
    cx.progress(Stage::Measure, 0, tensors.len() as u64);
    let fisher = options.gradients.as_deref().map(Fisher);
    let mut metrics: Vec<&dyn CellMetric> = vec![&WeightError, &ImatrixError, &ActivationError];
    metrics.extend(fisher.as_ref().map(|fisher| -> &dyn CellMetric { fisher }));
    let mut order = tensors.clone();
    order.sort_by_key(|&i| (std::cmp::Reverse(source.tensors[i].elements()), i));
    let mut rows = Vec::with_capacity(tensors.len());
    let mut evidence = Evidence { gradients: options.gradients.as_deref().map(Gradients::hash), ..Evidence::default() };
    for index in order {
        let (row, descriptors) = meter.row(index, &options.formats, &metrics)?;
        evidence.descriptors.insert(row.tensor.clone(), descriptors);
        cx.send(JobEvent::Row(Box::new(row.clone())));
        rows.push((index, row));
        cx.progress(Stage::Measure, rows.len() as u64, tensors.len() as u64);
    }
    rows.sort_by_key(|(index, _)| *index);
    evidence.descriptors.sort_by_cached_key(|name, _| source.find(name));
    let mut table = Table {
        model: source.fingerprint.clone(),
        model_path: std::path::absolute(&source.path).unwrap_or_else(|_| source.path.clone()),
        calibration: calibration.map(Calibration::hash),
        tool: TOOL.to_owned(),
        rounding: rounder.name().to_owned(),
        fixed_bytes: crate::export::gguf::fixed_bytes(source),
        rows: rows.into_iter().map(|(_, row)| row).collect(),
        evidence,
    };
    at_the_logits(&meter, calibration.is_some(), options, &mut table)?;
    Ok(table)
}

/// What runs the model on search text, each step telling the rows that it changed.
fn at_the_logits(meter: &Meter<'_>, calibrated: bool, options: &MeasureOptions, table: &mut Table) -> Result<()> {
    let search = if options.search.is_empty() { &options.probe } else { &options.search };
    if search.is_empty() {
        return Ok(());
    }
    table.evidence.search = Some(trust::hash_of(search));
    let mut step = |wanted: bool, fill: &dyn Fn(&mut Table) -> Result<()>| {
        if wanted {
            fill(table)?;
            table.rows.iter().for_each(|row| meter.cx.send(JobEvent::Row(Box::new(row.clone()))));
        }
        Ok(())
    };
    step(options.hessian_probes > 0, &|table| curvature::hessian_trace(meter, search, options.hessian_probes, table))?;
    step(options.path_points > 0, &|table| curvature::path_integral(meter, search, options.path_points, table))?;
    step(calibrated && !options.probe.is_empty(), &|table| probe::predict_kl(meter, &options.probe, table))?;
    step(options.trust > 0, &|table| match trust::establish(meter, search, options.trust, table) {
        Err(Error::Unsupported { what, why }) => {
            meter.cx.reporter.notice(None, NoticeKind::Other { text: format!("no metric is held against measured KL, because {what} is not possible: {why}") });
            Ok(())
        }
        other => other,
    })?;
    step(options.refine > 0, &|table| refine::refine(meter, search, options.refine, table))
}

/// What must fit before any work; gives the rounder.
fn check(source: &Source, tensors: &[usize], calibration: Option<&Calibration>, options: &MeasureOptions) -> Result<&'static dyn Rounder> {
    if let Some(other) = calibration.map(|c| &c.model).filter(|model| **model != source.fingerprint) {
        let expected = format!("a calibration of the model {} ({})", source.path.display(), source.fingerprint);
        return Err(Error::Mismatch { operation: "measure", expected, got: format!("one of the model {other}") });
    }
    if let Some(other) = options.gradients.as_deref().map(|g| &g.model).filter(|model| **model != source.fingerprint) {
        let expected = format!("gradients of the model {} ({})", source.path.display(), source.fingerprint);
        return Err(Error::Mismatch { operation: "measure", expected, got: format!("those of the model {other}") });
    }
    if options.trust + options.refine + options.hessian_probes + options.path_points > 0 && options.search.is_empty() && options.probe.is_empty() {
        return Err(Error::Input("measuring at the logits needs search text".to_owned()));
    }
    if options.formats.is_empty() {
        return Err(Error::Input("there are no candidate formats to measure".to_owned()));
    }
    if let Some(candidate) = options.formats.iter().find(|c| c.residual.is_some_and(|residual| residual.shift)) {
        let why = "no metric of the table sees what a bias takes away; write the shift into [residuals] of the recipe";
        return Err(Error::unsupported(format!("measuring {candidate}"), why));
    }
    for entry in tensors.iter().map(|&i| &source.tensors[i]) {
        let fallen = options.formats.iter().map(|f| f.format.for_columns(entry.columns()));
        if let Some(unknown) = fallen.into_iter().find(|f| !f.can_encode()) {
            return Err(Error::unsupported(format!("encoding {unknown}"), format!("{} would be {unknown}, which can only be read", entry.name)));
        }
    }
    rounder(rounding_for(&options.rounding, calibration.is_some()))
        .ok_or_else(|| Error::unsupported(format!("rounding {}", options.rounding), format!("known are {}", rounder_names())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::{CalibrationOptions, InputStatistics};
    use crate::codec::GgmlType as T;
    use crate::report::{Notice, NoticeKind, Reporter};
    use crate::sensitivity::Metric;
    use rand::{Rng as _, SeedableRng as _};

    const COLUMNS: usize = 64;

    fn random(count: usize, seed: u64) -> Vec<f32> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| rng.random_range(-1.0f32..1.0)).collect()
    }

    /// A model of two linears of 24 × 64 and a norm, as safetensors.
    fn model(first: &[f32]) -> (tempfile::TempDir, Source) {
        let second = random(24 * COLUMNS, 2);
        let norm = [1.0f32; COLUMNS];
        let view = |values: &'static [f32], shape| safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytemuck::cast_slice(values));
        let leak = |values: &[f32]| -> &'static [f32] { values.to_vec().leak() };
        let tensors = [
            ("first.weight", view(leak(first), vec![24, COLUMNS]).unwrap()),
            ("second.weight", view(leak(&second), vec![24, COLUMNS]).unwrap()),
            ("norm.weight", view(leak(&norm), vec![COLUMNS]).unwrap()),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
        let source = crate::source::open(&path, &Reporter::default()).unwrap();
        (folder, source)
    }

    /// Statistics of 100 random inputs of the first linear, whose columns differ in size.
    fn calibration(model: &str) -> Calibration {
        let inputs: Vec<f32> = random(100 * COLUMNS, 3).iter().enumerate().map(|(i, x)| x * (1.0 + (i % COLUMNS) as f32)).collect();
        let mut gram = vec![0.0f32; COLUMNS * COLUMNS];
        for x in inputs.chunks(COLUMNS) {
            for (i, j) in (0..COLUMNS).flat_map(|i| (0..COLUMNS).map(move |j| (i, j))) {
                gram[i * COLUMNS + j] += x[i] * x[j];
            }
        }
        let sum_squares = (0..COLUMNS).map(|i| gram[i * COLUMNS + i]).collect();
        let statistics = InputStatistics { tokens: 100, sum_squares, gram: Some(gram), ..InputStatistics::default() };
        Calibration {
            model: model.to_owned(),
            text: String::new(),
            options: CalibrationOptions::default(),
            inputs: [("first.weight".to_owned(), statistics)].into(),
            tensors: [("first.weight".to_owned(), "first.weight".to_owned())].into(),
        }
    }

    fn options(formats: &[T]) -> MeasureOptions {
        MeasureOptions { formats: formats.iter().map(|t| Format::Ggml(*t).into()).collect(), rounding: "nearest".to_owned(), ..MeasureOptions::default() }
    }

    #[test]
    fn the_cells_are_the_formulas_computed_by_hand() {
        let weights = random(24 * COLUMNS, 1);
        let (_folder, source) = model(&weights);
        let calibration = calibration(&source.fingerprint);
        let cx = JobContext::silent();
        let table = measure(&source, Some(&calibration), &options(&[T::Q8_0, T::Q4_0]), &cx).unwrap();
        assert_eq!(table.rows.len(), 2, "the norm has no row");
        let row = table.row("first.weight").unwrap();
        let importance = calibration.importance("first.weight").unwrap();
        let gram = calibration.of("first.weight").unwrap().gram.as_deref().unwrap();
        let quadratic = |matrix: &[f32]| -> f64 {
            let rows = matrix.chunks(COLUMNS);
            let pairs = |m: &[f32]| (0..COLUMNS * COLUMNS).map(|k| f64::from(m[k / COLUMNS]) * f64::from(gram[k]) * f64::from(m[k % COLUMNS])).sum::<f64>();
            rows.map(pairs).sum()
        };
        let diagonal = |matrix: &[f32]| -> f64 { matrix.iter().enumerate().map(|(i, m)| f64::from(m * m * importance[i % COLUMNS])).sum() };
        for (cell, format) in row.cells.iter().zip([T::Q4_0, T::Q8_0].map(Format::Ggml)) {
            assert_eq!((cell.format, cell.stored_as, cell.bytes), (format, format, format.tensor_bytes(24, COLUMNS)));
            let bytes = format.encode(&weights, COLUMNS, Some(&importance)).unwrap();
            let mut decoded = vec![0.0; weights.len()];
            format.decode(&bytes, &mut decoded);
            let delta: Vec<f32> = decoded.iter().zip(&weights).map(|(q, w)| q - w).collect();
            for (got, want) in [
                (cell.weight_error, crate::numeric::metric::relative_error(&weights, &decoded)),
                (cell.imatrix_error.unwrap(), diagonal(&delta) / diagonal(&weights)),
                (cell.activation_error.unwrap(), quadratic(&delta) / quadratic(&weights)),
            ] {
                assert!((got / want - 1.0).abs() < 1e-4, "{format}: {got} instead of {want}");
            }
        }
        assert_eq!(table.best_metric(), Metric::Weight, "the second linear has no statistics");
        let missing = Notice { tensor: Some("second.weight".into()), kind: NoticeKind::NoStatistics };
        assert!(cx.reporter.notices().contains(&missing));
    }

    #[test]
    fn short_rows_fall_back_once_and_are_told() {
        let (_folder, source) = model(&random(24 * COLUMNS, 1));
        let cx = JobContext::silent();
        let table = measure(&source, None, &options(&[T::Q4_K, T::Q5_0, T::Q6_K]), &cx).unwrap();
        let stored: Vec<(Format, Format)> = table.rows[0].cells.iter().map(|c| (c.format, c.stored_as)).collect();
        let format = Format::Ggml;
        assert_eq!(stored, [(format(T::Q5_0), format(T::Q5_0)), (format(T::Q6_K), format(T::Q8_0))]);
        let fallback = |wanted, used| Notice { tensor: None, kind: NoticeKind::RowFallback { wanted: format(wanted), used: format(used), columns: COLUMNS } };
        assert_eq!(cx.reporter.notices(), [fallback(T::Q4_K, T::Q5_0), fallback(T::Q6_K, T::Q8_0)]);
    }

    #[test]
    fn values_that_are_not_finite_count_as_zero_and_are_told() {
        let mut weights = random(24 * COLUMNS, 1);
        (weights[5], weights[9]) = (f32::NAN, f32::INFINITY);
        let (_folder, source) = model(&weights);
        let cx = JobContext::silent();
        let table = measure(&source, None, &options(&[T::Q8_0]), &cx).unwrap();
        assert!(table.rows[0].cells[0].weight_error < 1e-3);
        assert_eq!(cx.reporter.notices()[0].kind, NoticeKind::NonFinite { count: 2, first: 5 });
    }

    #[test]
    fn what_cannot_work_is_refused_before_any_work() {
        let (_folder, source) = model(&random(24 * COLUMNS, 1));
        let cx = JobContext::silent();
        let other = calibration("another");
        assert!(matches!(measure(&source, Some(&other), &options(&[T::Q8_0]), &cx), Err(Error::Mismatch { .. })));
        assert!(matches!(measure(&source, None, &options(&[T::Q8_1]), &cx), Err(Error::Unsupported { .. })), "no encoder");
        assert!(matches!(measure(&source, None, &options(&[]), &cx), Err(Error::Input(_))));
        let rounding = MeasureOptions { rounding: "nobody".into(), ..options(&[T::Q8_0]) };
        assert!(matches!(measure(&source, None, &rounding, &cx), Err(Error::Unsupported { .. })));
        cx.cancel.cancel();
        assert!(matches!(measure(&source, None, &options(&[T::Q8_0]), &cx), Err(Error::Cancelled)));
    }

    #[test]
    fn a_saved_table_is_read_back_equal() {
        let (folder, source) = model(&random(24 * COLUMNS, 1));
        let table = measure(&source, None, &options(&[T::Q8_0, T::Q4_0]), &JobContext::silent()).unwrap();
        let path = folder.path().join("table.json");
        table.save(&path).unwrap();
        // serde_json may read the last binary digit of a number wrong (its feature float_roundtrip is off).
        let rounded = |mut table: Table| {
            let round = |v: &mut f64| *v = f64::from(*v as f32);
            for cell in table.rows.iter_mut().flat_map(|r| &mut r.cells) {
                round(&mut cell.weight_error);
                cell.more.zero_share.iter_mut().for_each(round);
            }
            for descriptors in table.evidence.descriptors.values_mut() {
                round(&mut descriptors.max_to_mean);
                round(&mut descriptors.kurtosis);
            }
            table
        };
        assert_eq!(rounded(Table::load(&path).unwrap()), rounded(table));
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(Table::load(&path), Err(Error::Malformed { .. })));
    }
}
