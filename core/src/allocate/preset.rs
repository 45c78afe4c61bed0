//! What one would choose without a solver: one format for everything, and the mixes of `llama-quantize`.
//!
//! The mixes follow the rules of llama.cpp's quantizer for dense and expert models of the llama kind; which tensor gets how many
//! bits depends on its role, its block and the number of blocks. The test below holds them to the types that the real tool prints.
//! Absent on purpose: rules for single architectures (Falcon, GLM), and the mixes below 4 bits; their base types stand here as uniform.

use super::{Group, Plan, Problem};
use crate::codec::{Format, GgmlType as T};
use crate::sensitivity::{Row, Table};
use crate::source::Role;
use indexmap::IndexMap;

/// A named rule that gives every tensor a format.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// llama.cpp's name, for example "Q4_K_M", or "uniform Q4_0".
    pub name: &'static str,
    /// What most tensors get.
    base: T,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// The base for everything.
    Uniform,
    /// A small mix: few tensors above the base.
    Small,
    /// A medium mix: attention values and down projections of the first, the last and every third block above the base.
    Medium,
}

const fn uniform(name: &'static str, base: T) -> Preset {
    Preset { name, base, kind: Kind::Uniform }
}

const fn mix(name: &'static str, base: T, kind: Kind) -> Preset {
    Preset { name, base, kind }
}

/// The presets that are drawn beside every plan.
pub const PRESETS: &[Preset] = &[
    uniform("uniform Q2_K", T::Q2_K),
    uniform("uniform Q3_K", T::Q3_K),
    uniform("uniform Q4_0", T::Q4_0),
    uniform("uniform IQ4_NL", T::IQ4_NL),
    uniform("uniform Q4_1", T::Q4_1),
    uniform("uniform Q4_K", T::Q4_K),
    uniform("uniform Q5_0", T::Q5_0),
    uniform("uniform Q5_1", T::Q5_1),
    uniform("uniform Q5_K", T::Q5_K),
    uniform("uniform Q6_K", T::Q6_K),
    uniform("uniform Q8_0", T::Q8_0),
    mix("Q4_0", T::Q4_0, Kind::Small),
    mix("IQ4_NL", T::IQ4_NL, Kind::Small),
    mix("IQ4_XS", T::IQ4_XS, Kind::Small),
    mix("Q4_K_S", T::Q4_K, Kind::Small),
    mix("Q4_K_M", T::Q4_K, Kind::Medium),
    mix("Q5_K_S", T::Q5_K, Kind::Small),
    mix("Q5_K_M", T::Q5_K, Kind::Medium),
    mix("Q6_K", T::Q6_K, Kind::Small),
    mix("Q8_0", T::Q8_0, Kind::Small),
];

/// What stands beside every plan: the runtime's presets, and one format for everything in each format that all groups can have.
pub fn baselines(table: &Table, problem: &Problem) -> Vec<Plan> {
    let mut plans: Vec<Plan> = PRESETS.iter().filter_map(|preset| preset_plan(preset, table, problem)).collect();
    let free = || problem.groups.iter().filter(|g| g.held.is_none());
    let candidates: Vec<Format> = free().next().map(|g| g.choices.iter().filter(|c| c.residual.is_none()).map(|c| c.format).collect()).unwrap_or_default();
    for format in candidates {
        let place = |g: &Group| if g.held.is_some() { Some(0) } else { g.choices.iter().position(|c| c.candidate() == format.into()) };
        let name = format!("uniform {format}");
        if !plans.iter().any(|p| p.name == name)
            && let Some(picks) = problem.groups.iter().map(place).collect::<Option<Vec<usize>>>()
        {
            plans.push(Plan::new(name, problem, &picks, None));
        }
    }
    plans
}

/// The plan of a preset on this model; `None` when a format it needs is not in the table, or not open to the problem (pins, tie groups).
pub fn preset_plan(preset: &Preset, table: &Table, problem: &Problem) -> Option<Plan> {
    let model = Model::of(table);
    let rows: IndexMap<&str, &Row> = table.rows.iter().map(|r| (r.tensor.as_str(), r)).collect();
    let mut picks = Vec::with_capacity(problem.groups.len());
    for group in &problem.groups {
        // A tie group takes the largest of what its tensors would get.
        let mut pick = None;
        for name in &group.tensors {
            let row = rows.get(name.as_str())?;
            let columns = row.shape.last().copied().unwrap_or(1);
            let stored = model.format(preset, row).for_columns(columns);
            let at = match group.choices.as_slice() {
                [_pinned] => 0,
                choices => choices.iter().position(|c| c.candidate().for_columns(columns) == stored.into())?,
            };
            pick = pick.max(Some(at));
        }
        picks.push(pick?);
    }
    Some(Plan::new(preset.name, problem, &picks, None))
}

/// What the rules ask of a model.
struct Model {
    /// Transformer blocks.
    blocks: usize,
    /// The embedding is the head.
    tied: bool,
    /// Query heads for each key head.
    queries_per_key: usize,
    /// Experts; 1 for a dense model.
    experts: usize,
    /// Blocks whose attention has a value projection, in order.
    value_blocks: Vec<usize>,
    /// Quantized with an imatrix.
    imatrix: bool,
}

impl Model {
    fn of(table: &Table) -> Self {
        let with = |role: Role| table.rows.iter().filter(move |r| r.role == role);
        let rows = |role: Role| with(role).next().map(|r| r.shape.iter().rev().skip(1).product::<usize>());
        let mut value_blocks: Vec<usize> = with(Role::Value).chain(with(Role::QueryKeyValue)).filter_map(|r| r.block).collect();
        value_blocks.sort_unstable();
        Self {
            blocks: table.rows.iter().filter_map(|r| r.block).max().map_or(0, |last| last + 1),
            tied: with(Role::Head).next().is_none(),
            queries_per_key: rows(Role::Query).zip(rows(Role::Key)).map_or(1, |(q, k)| q / k.max(1)),
            experts: table.rows.iter().filter(|r| r.shape.len() == 3).map(|r| r.shape[0]).max().unwrap_or(1),
            value_blocks,
            imatrix: table.calibration.is_some(),
        }
    }

    /// What the preset asks for this tensor, before the fallback for short rows.
    fn format(&self, preset: &Preset, row: &Row) -> Format {
        Format::Ggml(if preset.kind == Kind::Uniform { preset.base } else { self.mixed(preset, row) })
    }

    fn mixed(&self, preset: &Preset, row: &Row) -> T {
        let base = preset.base;
        let columns = row.shape.last().copied().unwrap_or(1);
        let medium = preset.kind == Kind::Medium;
        let non_linear = matches!(base, T::IQ4_NL | T::IQ4_XS);
        let at_eight = self.experts == 8;
        let block = row.block.unwrap_or(0);
        match row.role {
            // Decided on the base's own blocks: where those do not fit, 8 bits, and not the fallback of Q6_K.
            Role::Head => self.head(base, columns),
            Role::Embedding if self.tied => self.head(base, columns),
            Role::Value | Role::QueryKeyValue => {
                let rank = self.value_blocks.binary_search(&block).unwrap_or(0);
                let chosen = if non_linear && self.queries_per_key >= 4 {
                    T::Q5_K
                } else if medium && more_bits(rank, self.value_blocks.len()) {
                    T::Q6_K
                } else if base == T::Q4_K && !medium && rank < 4 {
                    T::Q5_K
                } else {
                    base
                };
                match chosen {
                    _ if at_eight => T::Q8_0,
                    // 70B models of 80 blocks share each value head among eight query heads: bits are cheap there.
                    T::Q4_K if self.blocks == 80 => T::Q5_K,
                    other => other,
                }
            }
            Role::Key if at_eight => T::Q8_0,
            Role::Down => {
                let first_eighth = block < self.blocks / 8;
                match base {
                    T::Q4_K | T::Q5_K if medium && more_bits(block, self.blocks) => T::Q6_K,
                    T::IQ4_NL | T::IQ4_XS if first_eighth && !self.imatrix => T::Q5_K,
                    T::Q4_K if !medium && first_eighth => T::Q5_K,
                    T::Q4_0 if first_eighth && self.imatrix => T::Q4_1,
                    other => other,
                }
            }
            Role::AttentionOutput if at_eight && (base == T::Q4_K || non_linear) => T::Q5_K,
            _ => base,
        }
    }

    fn head(&self, base: T, columns: usize) -> T {
        if base == T::Q8_0 || !columns.is_multiple_of(base.block_columns()) { T::Q8_0 } else { T::Q6_K }
    }
}

/// llama.cpp's choice of the blocks that deserve more: the first eighth, the last eighth, and every third between.
fn more_bits(block: usize, blocks: usize) -> bool {
    let eighth = blocks / 8;
    block < eighth || block >= 7 * blocks / 8 || (block - eighth) % 3 == 2
}

#[cfg(test)]
mod tests {
    use super::super::testing::{pinned, row, table};
    use super::super::{Rules, Target};
    use super::*;
    use crate::sensitivity::Metric;

    const ALL: [(T, f64); 10] = [
        (T::IQ4_XS, 0.012),
        (T::Q4_0, 0.01),
        (T::IQ4_NL, 0.009),
        (T::Q4_1, 0.008),
        (T::Q4_K, 0.007),
        (T::Q5_0, 0.003),
        (T::Q5_1, 0.002),
        (T::Q5_K, 0.0019),
        (T::Q6_K, 0.0005),
        (T::Q8_0, 0.00003),
    ];

    /// SmolLM2-135M: 30 blocks, 9 query and 3 key heads of 64, tied head; 576 columns everywhere but in the down projections.
    fn smollm2() -> Table {
        let mut rows = vec![Row { role: Role::Embedding, ..row("token_embd.weight", &[49152, 576], &ALL) }];
        for block in 0..30 {
            for (part, role, shape) in [
                ("attn_k", Role::Key, [192, 576]),
                ("attn_output", Role::AttentionOutput, [576, 576]),
                ("attn_q", Role::Query, [576, 576]),
                ("attn_v", Role::Value, [192, 576]),
                ("ffn_down", Role::Down, [576, 1536]),
                ("ffn_gate", Role::Gate, [1536, 576]),
                ("ffn_up", Role::Up, [1536, 576]),
            ] {
                rows.push(Row { role, ..row(&format!("blk.{block}.{part}.weight"), &shape, &ALL) });
            }
        }
        // llama-quantize counts 272 tensors; the 61 norms stay F32.
        Table { fixed_bytes: 61 * 576 * 4, ..table(rows) }
    }

    /// Types by block, as runs: "Q5_1×4 Q5_0×26".
    fn runs(plan: &Plan, table: &Table, part: &str) -> String {
        let mut runs: Vec<(String, usize)> = Vec::new();
        for block in 0..30 {
            let name = format!("blk.{block}.{part}.weight");
            let columns = table.row(&name).unwrap().shape[1];
            let stored = plan.formats[&name].for_columns(columns).to_string();
            match runs.last_mut() {
                Some((last, count)) if *last == stored => *count += 1,
                _ => runs.push((stored, 1)),
            }
        }
        runs.iter().map(|(stored, count)| format!("{stored}×{count}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn mixes_equal_what_llama_quantize_gives_smollm2() {
        // From `llama-quantize --dry-run` (ggml 0.25.3) on SmolLM2-135M-Instruct, without an imatrix: the type of everything but
        // values and down projections, those two, and the tool's own size in MiB.
        let every_third = |more: &str, base: &str| format!("{more}×3{} {base}×2 {more}×4", format!(" {base}×2 {more}×1").repeat(7));
        let golden = [
            ("Q4_0", "Q4_0", "Q4_0×30".to_owned(), "Q4_0×30".to_owned(), 85.77),
            ("IQ4_NL", "IQ4_NL", "IQ4_NL×30".to_owned(), "Q5_K×3 IQ4_NL×27".to_owned(), 86.09),
            ("IQ4_XS", "IQ4_NL", "IQ4_NL×30".to_owned(), "Q5_K×3 IQ4_XS×27".to_owned(), 85.38),
            ("Q4_K_S", "Q5_0", "Q5_1×4 Q5_0×26".to_owned(), "Q5_K×3 Q4_K×27".to_owned(), 95.61),
            ("Q4_K_M", "Q5_0", every_third("Q8_0", "Q5_0"), every_third("Q6_K", "Q4_K"), 98.87),
            ("Q5_K_S", "Q5_1", "Q5_1×30".to_owned(), "Q5_K×30".to_owned(), 103.18),
            ("Q5_K_M", "Q5_1", every_third("Q8_0", "Q5_1"), every_third("Q6_K", "Q5_K"), 105.21),
            ("Q6_K", "Q8_0", "Q8_0×30".to_owned(), "Q6_K×30".to_owned(), 130.27),
            ("Q8_0", "Q8_0", "Q8_0×30".to_owned(), "Q8_0×30".to_owned(), 136.40),
        ];
        let table = smollm2();
        let problem = Problem::new(&table, Metric::Weight, &Rules::default()).unwrap();
        for (name, most, values, downs, mib) in golden {
            let preset = PRESETS.iter().find(|p| p.name == name).unwrap();
            let plan = preset_plan(preset, &table, &problem).unwrap();
            assert_eq!(plan.formats["token_embd.weight"].for_columns(576), Format::Ggml(T::Q8_0), "{name}: tied embedding");
            for part in ["attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up"] {
                assert_eq!(runs(&plan, &table, part), format!("{most}×30"), "{name}: {part}");
            }
            assert_eq!(runs(&plan, &table, "attn_v"), values, "{name}: attn_v");
            assert_eq!(runs(&plan, &table, "ffn_down"), downs, "{name}: ffn_down");
            assert!((plan.file_bytes as f64 / 1048576.0 - mib).abs() < 0.006, "{name}: {} bytes are not {mib} MiB", plan.file_bytes);
        }
    }

    #[test]
    fn an_imatrix_and_grouped_queries_change_the_mixes_as_in_llama_cpp() {
        let mut table = smollm2();
        table.calibration = Some("c".into());
        let problem = Problem::new(&table, Metric::Weight, &Rules::default()).unwrap();
        let plan = |table: &Table, name: &str| preset_plan(PRESETS.iter().find(|p| p.name == name).unwrap(), table, &problem).unwrap();
        assert_eq!(runs(&plan(&table, "IQ4_XS"), &table, "ffn_down"), "IQ4_XS×30");
        assert_eq!(runs(&plan(&table, "Q4_0"), &table, "ffn_down"), "Q4_1×3 Q4_0×27");
        for row in table.rows.iter_mut().filter(|r| r.role == Role::Key) {
            row.shape[0] = 96;
        }
        assert_eq!(runs(&plan(&table, "IQ4_XS"), &table, "attn_v"), "Q5_1×30", "Q5_K, fallen back");
    }

    #[test]
    fn a_preset_without_its_format_in_the_table_is_none_and_pins_stay() {
        let rows = vec![
            row("blk.0.ffn_up.weight", &[8, 256], &[(T::Q4_0, 0.1), (T::Q8_0, 0.001)]),
            row("blk.0.ffn_gate.weight", &[8, 256], &[(T::Q4_0, 0.1), (T::Q8_0, 0.001)]),
        ];
        let table = table(rows);
        let problem = Problem::new(&table, Metric::Weight, &pinned(Target::LlamaCpp, &[("blk.0.ffn_up.weight", T::Q8_0)])).unwrap();
        let plan = |name: &str| preset_plan(PRESETS.iter().find(|p| p.name == name).unwrap(), &table, &problem);
        assert!(plan("uniform Q6_K").is_none());
        assert_eq!(plan("uniform Q4_0").unwrap().formats["blk.0.ffn_up.weight"], Format::Ggml(T::Q8_0));
        assert_eq!(plan("uniform Q4_0").unwrap().formats["blk.0.ffn_gate.weight"], Format::Ggml(T::Q4_0));
    }

    #[test]
    fn preset_names_are_unique() {
        let mut names: Vec<_> = PRESETS.iter().map(|p| p.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PRESETS.len());
    }

    #[test]
    fn integers_have_their_uniforms_too() {
        let ints = |name: &str| {
            let mut row = row(name, &[8, 128], &[]);
            for format in ["INT4-g128", "INT8-g128"].map(|f| f.parse::<Format>().unwrap()) {
                let cell = super::super::testing::cell(T::Q4_0, 8, 128, 0.01);
                row.cells.push(crate::sensitivity::Cell { format, stored_as: format, bytes: format.tensor_bytes(8, 128), ..cell });
            }
            row
        };
        let table = table(vec![ints("blk.0.ffn_up.weight"), ints("blk.0.ffn_down.weight")]);
        let problem = Problem::new(&table, Metric::Weight, &pinned(Target::Vllm, &[])).unwrap();
        let names: Vec<String> = baselines(&table, &problem).into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["uniform INT4-g128", "uniform INT8-g128"]);
    }
}
