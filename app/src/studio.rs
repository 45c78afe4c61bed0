//! Placeholder.
pub struct StudioOptions { pub model: Option<std::path::PathBuf>, pub demo: bool }
pub fn run(_: StudioOptions) -> anyhow::Result<()> { todo!() }
