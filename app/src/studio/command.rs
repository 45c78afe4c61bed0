//! Everything a user can make the studio do. [`Action`]s need no operand and stand in ONE table (text, tooltip, icon, shortcut,
//! enabled-if) that menus, palette, keys and buttons read; [`Command`]s carry an operand. Drawing code pushes commands; `execute`
//! carries them out after the frame.

use super::dialogs::Purpose;
use super::dock::Pane;
use super::map_metric::MapMetric;
use super::selection::SelectMode;
use super::settings::{BudgetUnit, TextChoice};
use super::view_model::ViewModel;
use egui::{Key, KeyboardShortcut, Modifiers, ThemePreference};
use egui_material_icons::MaterialIcon;
use egui_material_icons::icons as i;
use halftone_core::allocate::{Budget, CacheType, Target};
use halftone_core::codec::Format;
use halftone_core::compute::DeviceChoice;
use halftone_core::export::ExportFormat;
use halftone_core::job::{JobId, Unfinished};
use halftone_core::model::GenerateOptions;
use halftone_core::sensitivity::Metric;
use std::path::PathBuf;

/// Commands waiting to be carried out.
pub type Outbox = Vec<Command>;

/// A command with its operand.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the deed its name says")]
pub enum Command {
    Do(Action),
    Open(PathBuf),
    OpenTyped(String),
    Entered(Purpose, String),
    Resume(Unfinished),
    Discard(PathBuf),
    Picked(Purpose, Vec<PathBuf>),
    Select { tensors: Vec<usize>, cursor: Option<usize>, mode: SelectMode },
    Paint(Format),
    PaintTensors(Vec<usize>, Format),
    BudgetBegin,
    SetBudget(Budget),
    BudgetEnd,
    SetBudgetUnit(BudgetUnit),
    SetMemory(usize, CacheType),
    SetTarget(Target),
    SetCostMetric(Metric),
    SetRounding(String),
    SetMapMetric(MapMetric),
    SetCalibrationText(TextChoice),
    SetCalibrationTokens(usize),
    SetProbe(bool),
    SetSearchMinutes(f64),
    SetHeldOutText(TextChoice),
    SetChunks(usize),
    SetContext(usize),
    SetDevice(DeviceChoice),
    Ask(Purpose),
    SetExportFormat(ExportFormat),
    SetExportPath(String),
    Replace(bool),
    SetPrompt(String),
    SetGeneration(GenerateOptions),
    TakePicture { name: &'static str, picture: Picture },
    Cancel(JobId),
    Pause(JobId, bool),
    Copy(String),
    Dismiss(u64),
    SetTheme(ThemePreference),
    ConfirmClose(bool),
}

/// A picture to be saved.
#[derive(Clone, Debug, PartialEq)]
pub enum Picture {
    /// This part of the window, as PNG.
    Pixels(egui::Rect),
    /// SVG.
    Drawing(String),
}

/// A deed without operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the table gives each its text and tooltip")]
pub enum Action {
    OpenFile,
    OpenFolder,
    OpenPath,
    OpenDemo,
    CloseModel,
    LoadRecipe,
    SaveRecipe,
    Undo,
    Redo,
    SelectAll,
    ClearSelection,
    Bits(u8),
    Pin,
    Unpin,
    HandBack,
    Exclude,
    Measure,
    Judge,
    Refine,
    Quantize,
    Compare,
    Generate,
    Export,
    Write,
    PauseJob,
    CancelJob,
    Show(Pane),
    ResetLayout,
    Palette,
    Help,
    ZoomIn,
    ZoomOut,
    ZoomReset,
    ThemeLight,
    ThemeDark,
    ThemeSystem,
    Quit,
}

/// What the table says of an action.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// In menus and the palette.
    pub text: &'static str,
    /// One sentence.
    pub tooltip: &'static str,
    /// Its icon.
    pub icon: MaterialIcon,
    /// Its key.
    pub shortcut: Option<KeyboardShortcut>,
}

const fn key(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::NONE, key))
}

const fn command(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND, key))
}

const fn command_shift(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), key))
}

impl Action {
    /// Every action, in the order of the palette.
    pub fn all() -> Vec<Self> {
        use Action as A;
        let mut all = vec![A::OpenFile, A::OpenFolder, A::OpenPath, A::OpenDemo, A::CloseModel, A::LoadRecipe, A::SaveRecipe, A::Undo, A::Redo];
        all.extend([A::SelectAll, A::ClearSelection, A::Pin, A::Unpin, A::HandBack, A::Exclude]);
        all.extend((1..=8).map(A::Bits));
        all.extend([A::Measure, A::Judge, A::Refine, A::Quantize, A::Compare, A::Generate, A::Export, A::Write, A::PauseJob, A::CancelJob]);
        all.extend(Pane::ALL.map(A::Show));
        all.extend([A::ResetLayout, A::Palette, A::Help, A::ZoomIn, A::ZoomOut, A::ZoomReset, A::ThemeLight, A::ThemeDark, A::ThemeSystem, A::Quit]);
        all
    }

    /// Its row of the table.
    pub fn spec(self) -> Spec {
        let row = |text, tooltip, icon, shortcut| Spec { text, tooltip, icon, shortcut };
        match self {
            Self::OpenFile => row("Open file…", "Open a GGUF or safetensors file", i::ICON_FILE_OPEN, command(Key::O)),
            Self::OpenFolder => row("Open folder…", "Open a folder with config.json and weights", i::ICON_FOLDER_OPEN, command_shift(Key::O)),
            Self::OpenPath => row("Open by path…", "Type the path of a model, or its hub id", i::ICON_KEYBOARD, command(Key::L)),
            Self::OpenDemo => row("Try the demo model", "A small story model that is part of the program", i::ICON_AUTO_STORIES, None),
            Self::CloseModel => row("Close model", "Back to the welcome page", i::ICON_CLOSE, command(Key::W)),
            Self::LoadRecipe => row("Load recipe…", "Take pins and formats from a recipe file", i::ICON_UPLOAD_FILE, None),
            Self::SaveRecipe => row("Save recipe…", "Keep the allocation as a TOML file", i::ICON_SAVE, command(Key::S)),
            Self::Undo => row("Undo", "Take the last edit back", i::ICON_UNDO, command(Key::Z)),
            Self::Redo => row("Redo", "Do the undone edit again", i::ICON_REDO, command_shift(Key::Z)),
            Self::SelectAll => row("Select all tensors", "Every tensor of the map", i::ICON_SELECT_ALL, command(Key::A)),
            Self::ClearSelection => row("Clear selection", "Select nothing", i::ICON_DESELECT, key(Key::Escape)),
            Self::Bits(bits) => bits_spec(bits),
            Self::Pin => row("Pin", "Keep the selected tensors at their present format", i::ICON_PUSH_PIN, key(Key::P)),
            Self::Unpin => row("Unpin", "Let the solver choose for the selected tensors", i::ICON_KEEP_OFF, key(Key::U)),
            Self::HandBack => row("Hand back to the solver", "Unpin the selected tensors and solve again", i::ICON_AUTO_FIX_HIGH, key(Key::A)),
            Self::Exclude => row("Leave as it is", "Keep the selected tensors as they are in the model", i::ICON_BLOCK, key(Key::X)),
            Self::Measure => row("Measure the model", "Run the calibration text, then measure every candidate format", i::ICON_SPEED, command(Key::M)),
            Self::Judge => row(
                "Probe 24 cells and judge the metrics",
                "Measure 24 candidates at the model's output, see which metric ranks them best, and calibrate costs by it",
                i::ICON_FACT_CHECK,
                command(Key::J),
            ),
            Self::Refine => row(
                "Search on by measured KL",
                "Exchange bits between tensors and keep what the model's output confirms, until the time is over",
                i::ICON_TROUBLESHOOT,
                command_shift(Key::F),
            ),
            Self::Quantize => row("Quantize the model", "Carry out the recipe", i::ICON_PLAY_ARROW, command(Key::R)),
            Self::Compare => row("Compare the models", "Run both models over held-out text", i::ICON_COMPARE_ARROWS, command(Key::K)),
            Self::Generate => row("Continue the prompt", "Let both models continue the prompt, with the same seed", i::ICON_PLAY_ARROW, command(Key::G)),
            Self::Export => row("Export…", "Choose a place and write a file that other programs load", i::ICON_FILE_SAVE, command(Key::E)),
            Self::Write => row("Write the model", "Write to the path in the Export pane", i::ICON_FILE_SAVE, command_shift(Key::E)),
            Self::PauseJob => row("Pause or resume job", "Hold the running job, or let it go on", i::ICON_PAUSE, None),
            Self::CancelJob => row("Cancel job", "Stop the running job; finished tensors are kept", i::ICON_STOP, command(Key::Period)),
            Self::Show(pane) => Spec { text: pane.show_text(), tooltip: pane.tooltip(), icon: pane.icon(), shortcut: pane.shortcut() },
            Self::ResetLayout => row("Reset layout", "Put every pane back where it was at first", i::ICON_DASHBOARD, None),
            Self::Palette => row("Command palette…", "Find and run any command", i::ICON_SEARCH, command_shift(Key::P)),
            Self::Help => row("Help", "Short pages about each step", i::ICON_HELP, key(Key::F1)),
            Self::ZoomIn => row("Zoom in", "Make everything larger", i::ICON_ZOOM_IN, command(Key::Plus)),
            Self::ZoomOut => row("Zoom out", "Make everything smaller", i::ICON_ZOOM_OUT, command(Key::Minus)),
            Self::ZoomReset => row("Actual size", "100 %", i::ICON_FIT_SCREEN, command(Key::Num0)),
            Self::ThemeLight => row("Light theme", "Dark text on light surfaces", i::ICON_LIGHT_MODE, None),
            Self::ThemeDark => row("Dark theme", "Light text on dark surfaces", i::ICON_DARK_MODE, None),
            Self::ThemeSystem => row("System theme", "As the rest of the computer", i::ICON_CONTRAST, None),
            Self::Quit => row("Quit", "Close the studio", i::ICON_LOGOUT, command(Key::Q)),
        }
    }

    /// Whether it can be done now; the reason why not.
    pub fn enabled(self, model: &ViewModel<'_>) -> Result<(), &'static str> {
        let need = |ok: bool, why: &'static str| if ok { Ok(()) } else { Err(why) };
        let session = model.session;
        match self {
            Self::CloseModel | Self::SelectAll => need(session.source.is_some(), "Open a model first"),
            Self::Undo => need(session.allocation.can().0, "There is nothing to undo"),
            Self::Redo => need(session.allocation.can().1, "There is nothing to redo"),
            Self::ClearSelection => need(!model.selection.tensors.is_empty(), "Nothing is selected"),
            Self::SaveRecipe => need(session.allocation.plan.is_some(), "There is no allocation yet"),
            Self::LoadRecipe => need(session.table.is_some(), "Measure the model first"),
            Self::Bits(_) | Self::Pin | Self::Unpin | Self::HandBack | Self::Exclude => {
                need(session.table.is_some(), "Measure the model first")?;
                need(!model.selection.tensors.is_empty(), "Select tensors on the map first")
            }
            Self::Measure => {
                need(session.source.is_some(), "Open a model first")?;
                need(!model.busy(), "A job is running")
            }
            Self::Judge | Self::Refine => {
                need(session.table.is_some(), "Measure the model first")?;
                need(session.can_run(), "This architecture has no forward pass")?;
                need(session.calibration.is_some() && session.text.is_some(), "Measure with a calibration text first")?;
                need(self == Self::Judge || session.allocation.plan.is_some(), "There is no allocation yet")?;
                need(self == Self::Judge || session.allocation.refusal.is_none(), "No allocation fits the budget")?;
                need(!model.busy(), "A job is running")
            }
            Self::Quantize => {
                need(session.allocation.plan.is_some(), "Measure and allocate first")?;
                need(!model.busy(), "A job is running")
            }
            Self::Compare => {
                need(session.artifact.is_some(), "Quantize first")?;
                need(session.can_run(), "This architecture has no forward pass")?;
                need(!model.busy(), "A job is running")
            }
            Self::Generate => {
                need(session.artifact.is_some(), "Quantize first")?;
                need(session.can_run(), "This architecture has no forward pass")?;
                need(!model.settings.prompt.is_empty(), "Write a prompt first")?;
                need(!model.busy(), "A job is running")
            }
            Self::Export | Self::Write => {
                need(session.artifact.is_some(), "Quantize first")?;
                need(!model.busy(), "A job is running")
            }
            Self::PauseJob | Self::CancelJob => need(model.active_job().is_some(), "No job is running"),
            _ => Ok(()),
        }
    }
}

fn bits_spec(bits: u8) -> Spec {
    const TEXT: [&str; 8] =
        ["Set to 1 bit", "Set to 2 bits", "Set to 3 bits", "Set to 4 bits", "Set to 5 bits", "Set to 6 bits", "Set to 7 bits", "Set to 8 bits"];
    const KEYS: [Key; 8] = [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5, Key::Num6, Key::Num7, Key::Num8];
    let at = usize::from(bits.clamp(1, 8) - 1);
    Spec {
        text: TEXT[at],
        tooltip: "Pin the selected tensors at the measured format nearest to this many bits",
        icon: i::ICON_FORMAT_COLOR_FILL,
        shortcut: key(KEYS[at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_actions_share_a_shortcut_and_every_one_has_its_text() {
        let mut seen = Vec::new();
        for action in Action::all() {
            let spec = action.spec();
            assert!(!spec.text.is_empty() && !spec.tooltip.is_empty(), "{action:?} is not described");
            assert!(!spec.tooltip.ends_with('.'), "a single sentence has no full stop: {}", spec.tooltip);
            if let Some(shortcut) = spec.shortcut {
                assert!(!seen.contains(&shortcut), "{action:?} shares its shortcut");
                seen.push(shortcut);
            }
        }
    }
}
