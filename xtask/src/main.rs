//! The project's own commands. `cargo xtask` alone lists them.
#![expect(clippy::print_stdout, reason = "a command-line program talks on stdout")]

#[cfg(feature = "train")]
mod train;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let root = std::env::current_dir()?;
    #[cfg(feature = "train")]
    if args.first().is_some_and(|a| a == "train-demo") {
        return train::run(&root, &args[1..]);
    }
    println!("{root:?}");
    bail!("{args:?}")
}
