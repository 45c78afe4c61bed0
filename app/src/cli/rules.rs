//! Rules by pattern: `--pin`, `--exclude`, `--min-bits`, `--max-bits`, applied to the names of the table's tensors.

use super::choice_args::RuleArgs;
use anyhow::Context as _;
use halftone_core::allocate::Rules;
use halftone_core::residual::Candidate;
use halftone_core::sensitivity::Table;
use regex::Regex;

/// The rules that the arguments say of this table's tensors; of patterns that match one tensor the later wins.
pub fn rules(table: &Table, args: &RuleArgs) -> anyhow::Result<Rules> {
    let mut rules = Rules { target: args.target, ..Rules::default() };
    for argument in &args.pin {
        let (pattern, format) = split("--pin", argument, "FORMAT")?;
        let Candidate { format, residual } = format.parse()?;
        for name in matching(table, "--pin", pattern)? {
            rules.residuals.shift_remove(&name);
            rules.residuals.extend(residual.map(|residual| (name.clone(), residual)));
            rules.pins.insert(name, format);
        }
    }
    for pattern in &args.exclude {
        rules.excluded.extend(matching(table, "--exclude", pattern)?);
    }
    let bits = |option: &'static str, argument: &str| -> anyhow::Result<(Vec<String>, f64)> {
        let (pattern, bits) = split(option, argument, "B")?;
        let bits: f64 = bits.parse().with_context(|| format!("{option} {argument}: {bits} is no number of bits"))?;
        anyhow::ensure!(bits.is_finite() && bits > 0.0, "{option} {argument}: a number of bits is above zero");
        Ok((matching(table, option, pattern)?, bits))
    };
    for argument in &args.min_bits {
        let (names, min) = bits("--min-bits", argument)?;
        names.into_iter().for_each(|name| rules.limits.entry(name).or_default().min = Some(min));
    }
    for argument in &args.max_bits {
        let (names, max) = bits("--max-bits", argument)?;
        names.into_iter().for_each(|name| rules.limits.entry(name).or_default().max = Some(max));
    }
    Ok(rules)
}

fn split<'a>(option: &str, argument: &'a str, what: &str) -> anyhow::Result<(&'a str, &'a str)> {
    argument.rsplit_once('=').with_context(|| format!("{option} {argument}: write REGEX={what}"))
}

fn matching(table: &Table, option: &str, pattern: &str) -> anyhow::Result<Vec<String>> {
    let regex = Regex::new(pattern).with_context(|| format!("{option} {pattern}"))?;
    let names: Vec<String> = table.rows.iter().map(|r| &r.tensor).filter(|name| regex.is_match(name)).cloned().collect();
    anyhow::ensure!(!names.is_empty(), "{option} {pattern} matches no tensor of the table");
    Ok(names)
}
