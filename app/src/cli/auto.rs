//! `auto`: the whole road in one command. Every stage lies in OUT.job until the end, so a run that was stopped goes on.

use super::allocate::{Request, describe, describe_memory, overhead};
use super::args::AutoArgs;
use super::measure::trust_text;
use super::session::Session;
use super::{calibrate as calibrate_command, export as export_command, print, refine as refine_command, text};
use halftone_core::Error;
use halftone_core::allocate::{Overhead, Plan, RandomControl, baselines, random_control, random_plan};
use halftone_core::calibrate::{self, Calibration, TextSplit};
use halftone_core::compute::DeviceChoice;
use halftone_core::eval::{CompareOptions, Comparison, Quantized, compare};
use halftone_core::export::{Exported, Prediction, Proof, write_model, write_report, writer};
use halftone_core::job::{Artifact, QuantizeOptions, quantize};
use halftone_core::recipe::Recipe;
use halftone_core::refine::Refined;
use halftone_core::report::NoticeKind;
use halftone_core::residual::Candidate;
use halftone_core::round::{TOOL, rounding_for};
use halftone_core::sensitivity::{JUDGED_TOKENS, MeasureOptions, Metric, Table, Trust, gradient_sequences, judge, measure, probe_sequences};
use halftone_core::source::{Source, SourceFormat};
use halftone_core::tensor::DType;
use halftone_core::transform::{Reach, Transform};
use serde::Serialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Random allocations whose predicted costs stand in the report.
const DRAWS: usize = 16;

#[derive(Serialize)]
struct Report {
    exported: Exported,
    predicted_bytes: u64,
    plan: Plan,
    metric: Metric,
    comparison: Option<Comparison>,
    preset: Option<Beside>,
    /// What chance costs in the same bytes, predicted.
    random: RandomControl,
    /// Random allocations that were made and compared, where asked for.
    measured_random: Vec<Beside>,
    memory: Option<Overhead>,
    refined: Option<Refined>,
    /// What the plan's KL was predicted to be, and what it is on the hold-out.
    prediction: Option<Prediction>,
    /// With --trust.
    trust: Option<Trust>,
    /// With --try-rotation.
    rotation: Option<RotationVerdict>,
    stage_secs: Vec<(&'static str, f64)>,
}

/// Another plan, measured in the same run.
#[derive(Serialize)]
struct Beside {
    plan: Plan,
    comparison: Comparison,
}

/// Runs the road.
pub fn run(session: &Session, args: &AutoArgs) -> anyhow::Result<()> {
    let road = Road::new(session, args)?;
    let report = match args.try_rotation {
        Some(reach) => with_rotation(&road, reach)?,
        None => road.run()?,
    };
    session.pause_progress();
    if !args.keep_job {
        std::fs::remove_dir_all(&road.folder).map_err(Error::io("remove the job folder", &road.folder))?;
    }
    print::result(session.global.json, &report, || text(&report))
}

/// Both roads to the end of their comparisons, and the better one to its file.
fn with_rotation(road: &Road<'_>, reach: Reach) -> anyhow::Result<Report> {
    let mut clock = Clock::start();
    let rotated = road.rotated(reach)?;
    clock.lap("rotate");
    let plain = road.decide(&mut clock)?;
    let turned = match rotated.decide(&mut clock) {
        Ok(turned) => turned,
        // The head that a rotation unties may alone be more than the budget.
        Err(error) if matches!(error.downcast_ref(), Some(Error::Infeasible { .. })) => {
            road.tell(format!("rotated it does not fit the budget, so it is not rotated: {error}"));
            return road.finish(plain, clock);
        }
        Err(error) => return Err(error),
    };
    let verdict = plain.comparison.as_ref().zip(turned.comparison.as_ref()).map(|(a, b)| {
        let gain = a.kl_mean - b.kl_mean;
        let error = a.kl_error.hypot(b.kl_error);
        RotationVerdict {
            plain: (plain.predicted_bytes, a.kl_mean, a.kl_error),
            rotated: (turned.predicted_bytes, b.kl_mean, b.kl_error),
            verdict: if gain.abs() <= error {
                "makes no difference beyond the noise"
            } else if gain > 0.0 {
                "helps"
            } else {
                "does not help"
            },
        }
    });
    let rotation_is_better = verdict.as_ref().is_some_and(|v| v.rotated.1 < v.plain.1);
    let mut report = if rotation_is_better { rotated.finish(turned, clock)? } else { road.finish(plain, clock)? };
    report.rotation = verdict;
    Ok(report)
}

/// Whether a rotation helped at this budget. Bytes, mean KL and its standard error of each.
#[derive(Serialize)]
struct RotationVerdict {
    plain: (u64, f64, f64),
    rotated: (u64, f64, f64),
    verdict: &'static str,
}

impl RotationVerdict {
    fn text(&self) -> String {
        let side = |(bytes, kl, error): (u64, f64, f64)| format!("{kl:.4} ± {error:.4} in {} bytes", print::grouped(bytes));
        format!("rotation {} at this budget: mean KL {} with, {} without; the better one was written", self.verdict, side(self.rotated), side(self.plain))
    }
}

/// All but the file.
struct Decided {
    calibration: Option<Calibration>,
    table: Table,
    plan: Plan,
    refined: Option<Refined>,
    predicted_bytes: u64,
    artifact: Artifact,
    comparison: Option<Comparison>,
}

struct Road<'a> {
    session: &'a Session,
    args: &'a AutoArgs,
    /// What the outputs are compared with, when it is not `source`.
    original: Option<&'a Source>,
    source: Source,
    folder: PathBuf,
    text: Option<TextSplit>,
}

impl<'a> Road<'a> {
    fn new(session: &'a Session, args: &'a AutoArgs) -> anyhow::Result<Self> {
        let source = session.open(&args.model)?;
        let mut folder = args.output.clone().into_os_string();
        folder.push(".job");
        let folder = PathBuf::from(folder);
        if folder.is_dir() && !ours(&folder) {
            anyhow::bail!(
                "{} is there and has other things in it; intermediate results would lie there. Choose another output or move it away",
                folder.display()
            );
        }
        std::fs::create_dir_all(&folder).map_err(Error::io("create the job folder", &folder))?;
        let mut text = match (args.text.is_empty(), args.model.demo) {
            (false, _) => Some(TextSplit::new(&text::read(session, &args.text)?)),
            (true, true) => Some(crate::demo::text()),
            (true, false) => None,
        };
        if let (Some(text), false) = (&mut text, args.eval_text.is_empty()) {
            text.hold_out = calibrate::HoldOutText::new(calibrate::read_texts(&args.eval_text)?);
        }
        Ok(Self { session, args, original: None, source, folder, text })
    }

    fn run(&self) -> anyhow::Result<Report> {
        let mut clock = Clock::start();
        let decided = self.decide(&mut clock)?;
        self.finish(decided, clock)
    }

    /// The road of the same model, rotated, in a folder of its own.
    fn rotated(&self, reach: Reach) -> anyhow::Result<Road<'_>> {
        let folder = self.folder.join("rotated");
        std::fs::create_dir_all(&folder).map_err(Error::io("create the job folder", &folder))?;
        let is_gguf = matches!(self.source.format, SourceFormat::Gguf(_));
        let path = folder.join(if is_gguf { "model.gguf" } else { "model" });
        let (plan, _) = Transform::Rotation { reach, seed: self.session.global.seed }.plan(&self.source, &self.session.cx)?;
        // On the CPU: a run that was stopped and goes on must find the model that its calibration is of, on whatever device.
        let cx = self.session.cx.on_device(DeviceChoice::Cpu);
        write_model(&self.source, &plan, DType::F32, &path, &cx)?;
        let source = self.session.open_path(&path)?;
        Ok(Road { session: self.session, args: self.args, original: Some(&self.source), source, folder, text: self.text.clone() })
    }

    fn request<'t>(&self, table: &'t Table) -> anyhow::Result<Request<'t>> {
        let memory = overhead(&self.args.budget, &self.args.rules, Some(&self.source.config))?;
        Request::new(table, table.best_metric(), &self.args.rules, self.session.global.seed, memory)
    }

    fn decide(&self, clock: &mut Clock) -> anyhow::Result<Decided> {
        let calibration = self.calibrate()?;
        clock.lap("calibrate");
        let table = self.measure(calibration.as_ref())?;
        clock.lap("measure");
        let request = self.request(&table)?;
        let (mut plan, mut recipe) = request.decide(&self.args.budget)?;
        clock.lap("allocate");
        let refined = self.refine(&request, &mut recipe, calibration.as_ref())?;
        if refined.is_some() {
            plan = request.refined(&recipe)?;
        }
        clock.lap("refine");
        recipe.save(&self.folder.join("recipe.toml"))?;
        let predicted_bytes = writer(self.args.to).predict_bytes(&self.source, &recipe)?;
        let artifact = self.quantize(calibration.as_ref(), &recipe, "quantized")?;
        clock.lap("quantize");
        let comparison = self.compare(&artifact)?;
        clock.lap("compare");
        Ok(Decided { calibration, table, plan, refined, predicted_bytes, artifact, comparison })
    }

    fn finish(&self, decided: Decided, mut clock: Clock) -> anyhow::Result<Report> {
        let Decided { calibration, table, plan, refined, predicted_bytes, artifact, comparison } = decided;
        let exported = writer(self.args.to).write(&self.source, &artifact, &self.args.output, &self.session.cx)?;
        clock.lap("export");
        let prediction = comparison.as_ref().and_then(|comparison| Prediction::of(table.best_metric(), plan.cost, comparison));
        if let Some(path) = &self.args.report {
            let proof = Proof { comparison: comparison.as_ref(), trust: table.evidence.trust.as_ref(), prediction };
            write_report(path, &self.source, &artifact, &exported, proof)?;
        }
        let request = self.request(&table)?;
        let preset = if comparison.is_some() { self.beside(&request, &table, &plan, calibration.as_ref())? } else { None };
        clock.lap("preset");
        let random = random_control(&request.problem()?, plan.file_bytes, DRAWS, self.session.global.seed)?;
        let measured_random = if comparison.is_some() { self.chance(&request, &plan, calibration.as_ref())? } else { Vec::new() };
        clock.lap("random");
        let metric = request.metric;
        let memory = overhead(&self.args.budget, &self.args.rules, Some(&self.source.config))?;
        Ok(Report {
            prediction,
            trust: table.evidence.trust.clone(),
            exported,
            predicted_bytes,
            plan,
            metric,
            comparison,
            preset,
            rotation: None,
            random,
            measured_random,
            memory,
            refined,
            stage_secs: clock.laps,
        })
    }

    fn calibrate(&self) -> anyhow::Result<Option<Calibration>> {
        let Some(text) = &self.text else { return Ok(None) };
        if let Err(why) = self.source.config.forward_supported() {
            self.tell(format!("weight-only: {why}"));
            return Ok(None);
        }
        let path = self.folder.join("calibration.safetensors");
        let options = calibrate_command::options(self.session, &self.source, self.args.tokens);
        if let Some(kept) = self.kept(&path, Calibration::load)
            && kept.model == self.source.fingerprint
            && kept.options == options
            && kept.text == calibrate::text_hash(text.calibration.as_str())
        {
            return Ok(Some(kept));
        }
        let calibration = calibrate::calibrate(&self.source, &text.calibration, &options, &self.session.beside(&path))?;
        calibration.save(&path)?;
        Ok(Some(calibration))
    }

    fn measure(&self, calibration: Option<&Calibration>) -> anyhow::Result<Table> {
        let rounding = rounding_for(&self.args.rounding, calibration.is_some()).to_owned();
        let mut options = MeasureOptions { rounding, ..MeasureOptions::default() };
        if let (Some(text), Some(_), false) = (&self.text, calibration, self.args.no_probe) {
            options.probe = probe_sequences(&self.source, &text.search)?;
        }
        let fits = |kept: &Table| {
            kept.model == self.source.fingerprint
                && kept.calibration == calibration.map(Calibration::hash)
                && kept.rounding == options.rounding
                && kept.tool == TOOL
                && covers(kept, &options.formats)
                && kept.has(Metric::PredictedKl) != options.probe.is_empty()
        };
        let path = self.folder.join("table.json");
        let table = match self.kept(&path, Table::load).filter(fits) {
            Some(kept) => kept,
            None => {
                let table = measure(&self.source, calibration, &options, &self.session.cx)?;
                table.save(&path)?;
                table
            }
        };
        self.judge(table, calibration, &fits)
    }

    /// The table with its metrics held against measured cells, where that was asked for; a model that cannot run has no such cells, and that is told.
    fn judge(&self, table: Table, calibration: Option<&Calibration>, fits: &dyn Fn(&Table) -> bool) -> anyhow::Result<Table> {
        let count = self.args.trust;
        if count == 0 {
            return Ok(table);
        }
        let Some(text) = &self.text else {
            self.tell("the metrics are not held against measured KL: that needs --text".to_owned());
            return Ok(table);
        };
        if let Err(why) = self.source.config.predicts_tokens() {
            self.tell(format!("the metrics are not held against measured KL: {why}"));
            return Ok(table);
        }
        let path = self.folder.join(format!("table-{count}.json"));
        if let Some(kept) = self.kept(&path, Table::load).filter(|kept| fits(kept) && kept.evidence.trust.is_some()) {
            return Ok(kept);
        }
        let sequences = gradient_sequences(&self.source, &text.search, JUDGED_TOKENS)?;
        match judge(&self.source, calibration, &table, &sequences, count, &self.session.cx) {
            Ok(judged) => {
                judged.save(&path)?;
                Ok(judged)
            }
            // Two cells are too few, and so may be any number of a model that nothing moves: the road is not at its end for that.
            Err(error @ Error::Unsupported { .. }) => {
                self.tell(format!("the metrics are not held against measured KL: {error}"));
                Ok(table)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What an earlier run left; what is there and cannot be read is told and made again.
    fn kept<T>(&self, path: &Path, load: fn(&Path) -> halftone_core::Result<T>) -> Option<T> {
        if !path.exists() {
            return None;
        }
        load(path).inspect_err(|error| self.tell(format!("what an earlier run left is made again: {error}"))).ok()
    }

    fn tell(&self, text: String) {
        self.session.cx.reporter.notice(None, NoticeKind::Other { text });
    }

    fn quantize(&self, calibration: Option<&Calibration>, recipe: &Recipe, name: &str) -> anyhow::Result<Artifact> {
        let folder = self.folder.join(format!("{name}-{}", &recipe.hash()[..8]));
        Ok(quantize(&self.source, calibration, recipe, &QuantizeOptions { folder }, &self.session.cx)?)
    }

    fn compare(&self, artifact: &Artifact) -> anyhow::Result<Option<Comparison>> {
        let Some(text) = &self.text else { return Ok(None) };
        if self.args.no_compare || self.source.config.predicts_tokens().is_err() {
            return Ok(None);
        }
        let tokenizer = self.source.tokenizer()?;
        let context = CompareOptions::default().context.min(self.source.config.context_length.max(2));
        let options = CompareOptions { chunks: self.args.chunks, context, runtime: self.args.rules.target.into(), ..CompareOptions::default() };
        let after = Quantized { source: &self.source, artifact };
        Ok(Some(compare(self.original.unwrap_or(&self.source), &after, &tokenizer, &text.hold_out, options, &self.session.cx)?))
    }

    fn beside(&self, request: &Request<'_>, table: &Table, plan: &Plan, calibration: Option<&Calibration>) -> anyhow::Result<Option<Beside>> {
        let problem = request.problem()?;
        let presets = baselines(table, &problem).into_iter();
        let Some(preset) = presets.filter(|p| p.file_bytes <= plan.file_bytes).min_by(|a, b| a.cost.total_cmp(&b.cost)) else {
            self.tell("no preset is as small, so none is measured beside".to_owned());
            return Ok(None);
        };
        // As its runtime's own tool would make it: importance-weighted nearest rounding.
        let recipe = Recipe { rounding: "nearest".to_owned(), ..request.recipe(&preset, &self.args.budget) };
        let artifact = self.quantize(calibration, &recipe, "preset")?;
        Ok(self.compare(&artifact)?.map(|comparison| Beside { plan: preset, comparison }))
    }

    /// The search by measured KL; a model that cannot run, or has no text, has none, and that is told.
    fn refine(&self, request: &Request<'_>, recipe: &mut Recipe, calibration: Option<&Calibration>) -> anyhow::Result<Option<Refined>> {
        if !self.args.refine.wanted() {
            return Ok(None);
        }
        let (Some(text), Ok(())) = (&self.text, self.source.config.predicts_tokens()) else {
            self.tell("no search by measured KL: it needs --text, and a model that predicts tokens".to_owned());
            return Ok(None);
        };
        let folder = self.folder.join("refined");
        let found = refine_command::run(self.session, &self.source, calibration, &request.problem()?, recipe, &text.search, &self.args.refine, &folder)?;
        if found.cancelled {
            return Err(Error::Cancelled.into());
        }
        Ok(Some(found))
    }

    /// Random allocations of the plan's bytes, rounded as the plan was, so that they differ from it in nothing but the choice.
    fn chance(&self, request: &Request<'_>, plan: &Plan, calibration: Option<&Calibration>) -> anyhow::Result<Vec<Beside>> {
        let problem = request.problem()?;
        let mut found = Vec::new();
        for draw in 0..self.args.measure_random as u64 {
            let plan = random_plan(&problem, plan.file_bytes, self.session.global.seed.wrapping_add(draw))?;
            let artifact = self.quantize(calibration, &request.recipe(&plan, &self.args.budget), "random")?;
            found.extend(self.compare(&artifact)?.map(|comparison| Beside { plan, comparison }));
        }
        Ok(found)
    }
}

/// Whether a folder is empty or has what an earlier run left.
fn ours(folder: &Path) -> bool {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let known = |name: &str| {
        ["calibration", "table", "recipe", "quantized-", "preset-", "random-", "refined", "rotated", "."].iter().any(|start| name.starts_with(start))
    };
    names.into_iter().all(|name| name.to_str().is_some_and(known))
}

/// Whether the rows have exactly the cells that these candidates make.
fn covers(table: &Table, candidates: &[Candidate]) -> bool {
    table.rows.iter().all(|row| {
        let columns = row.shape.last().copied().unwrap_or(0);
        let wanted: HashSet<Candidate> = candidates.iter().map(|f| f.for_columns(columns)).collect();
        row.cells.len() == wanted.len() && row.cells.iter().all(|cell| wanted.contains(&cell.stored()))
    })
}

struct Clock {
    last: Instant,
    laps: Vec<(&'static str, f64)>,
}

impl Clock {
    fn start() -> Self {
        Self { last: Instant::now(), laps: Vec::new() }
    }

    fn lap(&mut self, name: &'static str) {
        let began = std::mem::replace(&mut self.last, Instant::now());
        self.laps.push((name, (self.last - began).as_secs_f64()));
    }
}

fn text(report: &Report) -> String {
    let searched = report.refined.as_ref().map_or_else(String::new, |found| format!("{}\n", refine_command::describe(found)));
    let mut out = format!("{}\n{searched}\n", describe(&report.plan, report.metric));
    if let Some(ours) = &report.comparison {
        let row = |name: &str, bytes: u64, c: &Comparison| {
            vec![
                name.to_owned(),
                print::grouped(bytes),
                if c.kl_mean < 0.01 { format!("{:.2e} ± {:.0e}", c.kl_mean, c.kl_error) } else { format!("{:.4} ± {:.4}", c.kl_mean, c.kl_error) },
                format!("{:.1} ± {:.1} %", c.top1.0 * 100.0, c.top1.1 * 100.0),
                format!("{:.3} ± {:.3}", c.perplexity_after.0, c.perplexity_after.1),
            ]
        };
        let mut rows = vec![row("this file", report.exported.bytes, ours)];
        if let Some(preset) = &report.preset {
            rows.push(row(&format!("{} (best preset of that size)", preset.plan.name), preset.plan.file_bytes, &preset.comparison));
        }
        rows.extend(report.measured_random.iter().map(|r| row(&r.plan.name, r.plan.file_bytes, &r.comparison)));
        out += &print::table(&["on held-out text", "bytes", "mean KL", "same top token", "perplexity"], &rows);
        out +=
            &format!("\nperplexity of the original {:.3} ± {:.3}; {} tokens scored\n\n", ours.perplexity_before.0, ours.perplexity_before.1, ours.tokens.len());
    }
    out += &report.prediction.map_or_else(String::new, |p| {
        let label = p.metric.label();
        let sides = format!("{label} of the plan {:.4e}, measured on the hold-out {:.4e} ± {:.0e}", p.predicted, p.measured, p.error);
        format!("{sides}: predicted / measured {:.2}\n\n", p.ratio())
    });
    out += &report.trust.as_ref().map_or_else(String::new, |trust| format!("{}\n\n", trust_text(trust)));
    if let Some(rotation) = &report.rotation {
        out += &format!("{}\n\n", rotation.text());
    }
    let random = &report.random;
    let predicted = (report.plan.cost, random.cost_mean, random.cost_deviation);
    out += &format!("predicted {:.4e}; {} random allocations of as many bytes: {:.4e} ± {:.1e}\n", predicted.0, random.draws, predicted.1, predicted.2);
    if report.measured_random.len() > 1 {
        let measured: Vec<f64> = report.measured_random.iter().map(|r| r.comparison.kl_mean).collect();
        let mean = measured.iter().sum::<f64>() / measured.len() as f64;
        let deviation = (measured.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (measured.len() - 1) as f64).sqrt();
        out += &format!("measured, {} of them: mean KL {mean:.4} ± {deviation:.4}\n", measured.len());
    }
    if let Some(overhead) = &report.memory {
        out += &format!("{}\n", describe_memory(&report.plan, overhead));
    }
    out += "\n";
    out += &export_command::describe(&report.exported);
    let laps: Vec<String> = report.stage_secs.iter().filter(|(_, s)| *s >= 0.05).map(|(n, s)| format!("{n} {s:.1} s")).collect();
    out + &format!("\n{}", laps.join(" · "))
}
