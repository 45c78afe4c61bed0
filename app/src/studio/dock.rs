//! The panes and how they dock. The layout is a plain tree that eframe remembers.

use super::command::Outbox;
use super::panes::Panes;
use super::theme;
use super::view_model::ViewModel;
use egui::{Key, KeyboardShortcut, Margin, Modifiers, Stroke, Ui, Visuals, WidgetText};
use egui_material_icons::{MaterialIcon, icons as i};
use egui_tiles::{SimplificationOptions, TabState, TileId, Tiles, Tree, UiResponse};
use serde::{Deserialize, Serialize};

/// A pane of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Pane {
    /// Header and tensor tree.
    Model,
    /// The map.
    Map,
    /// One tensor.
    Inspector,
    /// Calibration and measurement.
    Measure,
    /// Budget and frontier.
    Allocate,
    /// Quantization.
    Run,
    /// Before against after.
    Compare,
    /// Writing the file.
    Export,
    /// Jobs and messages.
    Log,
}

impl Pane {
    /// Every pane, along the road.
    pub const ALL: [Self; 9] = [Self::Model, Self::Map, Self::Inspector, Self::Measure, Self::Allocate, Self::Run, Self::Compare, Self::Export, Self::Log];

    /// Title of its tab.
    pub fn title(self) -> &'static str {
        match self {
            Self::Model => "Model",
            Self::Map => "Map",
            Self::Inspector => "Inspector",
            Self::Measure => "Measure",
            Self::Allocate => "Allocate",
            Self::Run => "Quantize",
            Self::Compare => "Compare",
            Self::Export => "Export",
            Self::Log => "Jobs and log",
        }
    }

    /// What the palette says.
    pub fn show_text(self) -> &'static str {
        match self {
            Self::Model => "Show model",
            Self::Map => "Show map",
            Self::Inspector => "Show inspector",
            Self::Measure => "Show measure",
            Self::Allocate => "Show allocate",
            Self::Run => "Show quantize",
            Self::Compare => "Show compare",
            Self::Export => "Show export",
            Self::Log => "Show jobs and log",
        }
    }

    /// One sentence.
    pub fn tooltip(self) -> &'static str {
        match self {
            Self::Model => "What was opened, and every tensor of it",
            Self::Map => "Where the bits matter: a row for each block, a column for each role",
            Self::Inspector => "One tensor: its weights, the levels that will hold them, the error at every size",
            Self::Measure => "Run a text and measure every candidate format",
            Self::Allocate => "Choose a budget; the solver gives every tensor its format",
            Self::Run => "Carry the recipe out",
            Self::Compare => "How far the outputs moved on text neither model has seen",
            Self::Export => "Write a file that other programs load",
            Self::Log => "What runs, what ran, and what was said",
        }
    }

    /// Its icon.
    pub fn icon(self) -> MaterialIcon {
        match self {
            Self::Model => i::ICON_ACCOUNT_TREE,
            Self::Map => i::ICON_GRID_ON,
            Self::Inspector => i::ICON_INSIGHTS,
            Self::Measure => i::ICON_SPEED,
            Self::Allocate => i::ICON_TUNE,
            Self::Run => i::ICON_MEMORY,
            Self::Compare => i::ICON_COMPARE_ARROWS,
            Self::Export => i::ICON_OUTPUT,
            Self::Log => i::ICON_LIST_ALT,
        }
    }

    /// Alt and its place on the road.
    pub fn shortcut(self) -> Option<KeyboardShortcut> {
        const KEYS: [Key; 9] = [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5, Key::Num6, Key::Num7, Key::Num8, Key::Num9];
        let at = Self::ALL.iter().position(|p| *p == self)?;
        Some(KeyboardShortcut::new(Modifiers::ALT, KEYS[at]))
    }
}

/// The layout of a first start: model on the left, map and comparison in the middle over the inspector, the steps on the right.
pub fn default_layout() -> Tree<Pane> {
    let mut tiles = Tiles::default();
    let model = tiles.insert_pane(Pane::Model);
    let model = tiles.insert_tab_tile(vec![model]);
    let map = tiles.insert_pane(Pane::Map);
    let compare = tiles.insert_pane(Pane::Compare);
    let stage = tiles.insert_tab_tile(vec![map, compare]);
    let inspector = tiles.insert_pane(Pane::Inspector);
    let log = tiles.insert_pane(Pane::Log);
    let below = tiles.insert_tab_tile(vec![inspector, log]);
    let middle = tiles.insert_container(egui_tiles::Linear::new_binary(egui_tiles::LinearDir::Vertical, [stage, below], 0.62));
    let steps = [Pane::Measure, Pane::Allocate, Pane::Run, Pane::Export].map(|pane| tiles.insert_pane(pane));
    let steps = tiles.insert_tab_tile(steps.to_vec());
    let mut across = egui_tiles::Linear::new(egui_tiles::LinearDir::Horizontal, vec![model, middle, steps]);
    across.shares.set_share(model, 0.9);
    across.shares.set_share(middle, 2.7);
    across.shares.set_share(steps, 1.4);
    let root = tiles.insert_container(across);
    let mut tree = Tree::new(egui::Id::unique("studio layout"), root, tiles);
    for pane in [Pane::Map, Pane::Inspector, Pane::Measure] {
        show(&mut tree, pane);
    }
    tree
}

/// Brings a pane to the front.
pub fn show(tree: &mut Tree<Pane>, wanted: Pane) {
    tree.make_active(|_, tile| matches!(tile, egui_tiles::Tile::Pane(pane) if *pane == wanted));
}

/// Whether a remembered layout still has every pane once.
pub fn complete(tree: &Tree<Pane>) -> bool {
    Pane::ALL.iter().all(|pane| tree.tiles.find_pane(pane).is_some())
}

/// Draws the panes of a frame.
pub struct Dock<'a> {
    /// What they read.
    pub model: ViewModel<'a>,
    /// Their own state.
    pub panes: &'a mut Panes,
    /// Where their commands go.
    pub outbox: &'a mut Outbox,
}

impl egui_tiles::Behavior<Pane> for Dock<'_> {
    fn pane_ui(&mut self, ui: &mut Ui, _tile: TileId, pane: &mut Pane) -> UiResponse {
        let tokens = theme::tokens(ui);
        ui.painter().rect_filled(ui.max_rect(), 0.0, *tokens.surface);
        egui::Frame::new().inner_margin(Margin::symmetric(12, 8)).show(ui, |ui| self.panes.ui(*pane, &self.model, ui, self.outbox));
        UiResponse::None
    }

    fn tab_title_for_pane(&mut self, pane: &Pane) -> WidgetText {
        pane.title().into()
    }

    fn tab_bar_height(&self, _style: &egui::Style) -> f32 {
        28.0
    }

    fn gap_width(&self, _style: &egui::Style) -> f32 {
        1.0
    }

    fn min_size(&self) -> f32 {
        160.0
    }

    fn tab_title_spacing(&self, _visuals: &Visuals) -> f32 {
        12.0
    }

    fn tab_bar_color(&self, visuals: &Visuals) -> egui::Color32 {
        *theme::of(if visuals.dark_mode { egui::Theme::Dark } else { egui::Theme::Light }).bar
    }

    fn tab_outline_stroke(&self, _visuals: &Visuals, _tiles: &Tiles<Pane>, _tile: TileId, _state: &TabState) -> Stroke {
        Stroke::NONE
    }

    fn tab_text_color(&self, visuals: &Visuals, _tiles: &Tiles<Pane>, _tile: TileId, state: &TabState) -> egui::Color32 {
        if state.active { visuals.text_color() } else { visuals.weak_text_color() }
    }

    fn simplification_options(&self) -> SimplificationOptions {
        SimplificationOptions { all_panes_must_have_tabs: true, ..SimplificationOptions::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_layout_holds_every_pane_and_survives_saving() {
        let tree = default_layout();
        assert!(complete(&tree), "a pane is missing");
        let text = ron::to_string(&tree).expect("a layout can be written");
        let again: Tree<Pane> = ron::from_str(&text).expect("and read");
        assert!(complete(&again), "a pane was lost on the way");
    }
}
