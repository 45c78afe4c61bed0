//! `recipe convert`.

use super::args::ModelArg;
use super::choice_args::{ConvertArgs, RecipeCommand};
use super::print;
use super::session::Session;
use halftone_core::recipe::Recipe;
use halftone_core::recipe::dialect::{Modules, dialect};
use halftone_core::round::{DEFAULT_ROUNDING, TOOL};
use halftone_core::source::Source;

const OURS: &str = "halftone";

/// Carries out a command on recipes.
pub fn run(session: &Session, command: &RecipeCommand) -> anyhow::Result<()> {
    match command {
        RecipeCommand::Convert(args) => convert(session, args),
    }
}

fn convert(session: &Session, args: &ConvertArgs) -> anyhow::Result<()> {
    let is_toml = args.input.extension().is_some_and(|e| e == "toml");
    let from = match &args.from {
        Some(from) => from.as_str(),
        None if is_toml => OURS,
        None => anyhow::bail!("say what {} is written in: --from llama.cpp, gptq, compressed-tensors, autoround or mlx", args.input.display()),
    };
    let own = (from == OURS).then(|| Recipe::load(&args.input)).transpose()?;
    let source = model(session, args, own.as_ref())?;
    let modules = Modules::of(&source);
    let mut remarks = Vec::new();
    let mut recipe = match own {
        Some(recipe) => recipe,
        None => {
            let text = std::fs::read_to_string(&args.input).map_err(halftone_core::Error::io("read the recipe", &args.input))?;
            let read = dialect(from)?.read(&text, &modules)?;
            remarks.extend(read.remarks);
            let model_path = std::path::absolute(&source.path).unwrap_or_else(|_| source.path.clone());
            let rounding = DEFAULT_ROUNDING.to_owned();
            Recipe { tool: TOOL.to_owned(), model: source.fingerprint.clone(), model_path, rounding, tensors: read.formats, ..Recipe::default() }
        }
    };
    if let Some(base) = args.base {
        for module in &modules.list {
            recipe.tensors.entry(module.tensor.clone()).or_insert(base);
        }
    }
    if args.to == OURS {
        recipe.save(&args.output)?;
    } else {
        if let Some((tensor, residual)) = recipe.residuals.first() {
            anyhow::bail!("{} has no word for what is kept of rounding errors ({residual} of {tensor})", args.to);
        }
        let written = dialect(&args.to)?.write(&recipe, &modules)?;
        remarks.extend(written.remarks);
        halftone_core::job::write_atomically(&args.output, written.text.as_bytes())?;
    }
    let (named, all) = (recipe.tensors.len(), modules.list.len());
    let result = serde_json::json!({ "from": from, "to": args.to, "output": args.output, "tensors": named, "of": all, "remarks": remarks });
    print::result(session.global.json, &result, || {
        let head = format!("{from} → {}: {named} of {all} tensors, {}", args.to, args.output.display());
        remarks.iter().fold(head, |text, remark| format!("{text}\nnote: {remark}"))
    })
}

/// The model that patterns are resolved against.
fn model(session: &Session, args: &ConvertArgs, recipe: Option<&Recipe>) -> anyhow::Result<Source> {
    match (&args.model, recipe) {
        (Some(model), _) => session.open(&ModelArg { model: Some(model.clone()), demo: false }),
        (None, Some(recipe)) => session.open_path(&recipe.model_path),
        (None, None) => anyhow::bail!("patterns are resolved against a model: give --model"),
    }
}
