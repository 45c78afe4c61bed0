//! What is remembered between starts, and what the next job will be asked to do.

use egui::ThemePreference;
use halftone_core::allocate::CacheType;
use halftone_core::calibrate::CalibrationOptions;
use halftone_core::compute::DeviceChoice;
use halftone_core::eval::CompareOptions;
use halftone_core::model::GenerateOptions;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How many models the welcome page remembers.
const RECENT: usize = 8;

/// Where a text comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextChoice {
    /// The text that came with the program.
    #[default]
    Bundled,
    /// The user's files.
    Files(Vec<PathBuf>),
    /// No text: weights alone.
    None,
}

/// The unit of the budget slider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BudgetUnit {
    /// Megabytes of the file.
    #[default]
    Megabytes,
    /// Bits per quantizable weight.
    BitsPerWeight,
    /// Largest predicted cost.
    Cost,
    /// Memory of the runtime, with a context.
    Memory,
}

/// Remembered choices.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Light, dark or as the system.
    pub theme: ThemePreference,
    /// Models opened before, the last first.
    pub recent: Vec<PathBuf>,
    /// Calibration text.
    pub calibration_text: TextChoice,
    /// How much of it.
    pub calibration: CalibrationOptions,
    /// Measure what each tensor does to the output.
    pub probe: bool,
    /// Minutes that a search by measured KL may take.
    pub search_minutes: f64,
    /// Operations a second of the last calibration, for estimates of time.
    pub flops_per_sec: Option<f64>,
    /// Held-out text.
    pub held_out_text: TextChoice,
    /// How much of it.
    pub compare: CompareOptions,
    /// What both models continue.
    pub prompt: String,
    /// How they choose tokens, and how many.
    pub generation: GenerateOptions,
    /// Which device quantizes.
    pub device: DeviceChoice,
    /// Unit of the budget.
    pub budget_unit: BudgetUnit,
    /// Tokens of the context that memory is counted for.
    pub memory_context: usize,
    /// How its keys and values are kept.
    pub memory_cache: CacheType,
    /// Where job folders are made; beside the cache when none was chosen.
    pub job_root: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            theme: ThemePreference::System,
            recent: Vec::new(),
            calibration_text: TextChoice::Bundled,
            calibration: CalibrationOptions { tokens: 16_384, sequence_length: 256, ..CalibrationOptions::default() },
            probe: true,
            search_minutes: 5.0,
            flops_per_sec: None,
            held_out_text: TextChoice::Bundled,
            compare: CompareOptions { chunks: 8, context: 256, ..CompareOptions::default() },
            prompt: "Once upon a time".to_owned(),
            generation: GenerateOptions::default(),
            device: DeviceChoice::Auto,
            budget_unit: BudgetUnit::Megabytes,
            memory_context: 8192,
            memory_cache: CacheType::F16,
            job_root: None,
        }
    }
}

impl Settings {
    /// Where job folders are made; nothing when the system names no cache folder.
    pub fn job_folder(&self) -> Option<PathBuf> {
        self.job_root.clone().or_else(|| crate::demo::cache_folder().ok().map(|cache| cache.join("jobs")))
    }

    /// Seconds that so many operations take: at the speed of the last calibration, else at a modest one for each core.
    pub fn seconds(&self, operations: f64) -> f64 {
        const GUESS_PER_CORE: f64 = 2e10;
        let guess = || std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64) * GUESS_PER_CORE;
        operations / self.flops_per_sec.unwrap_or_else(guess)
    }

    /// Puts a model at the head of the recent ones.
    pub fn remember(&mut self, path: &Path) {
        self.recent.retain(|known| known != path);
        self.recent.insert(0, path.to_owned());
        self.recent.truncate(RECENT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_opened_again_moves_to_the_head_and_the_list_stays_short() {
        let mut settings = Settings::default();
        for i in 0..12 {
            settings.remember(Path::new(&format!("model-{i}")));
        }
        settings.remember(Path::new("model-7"));
        assert_eq!(settings.recent.len(), RECENT, "short");
        assert_eq!(settings.recent[0], Path::new("model-7"), "last opened first");
        assert_eq!(settings.recent.iter().filter(|p| *p == Path::new("model-7")).count(), 1, "once");
    }
}
