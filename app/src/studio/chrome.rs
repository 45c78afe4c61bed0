//! The frame around the panes: keys, top bar with the road, status bar with the running job.

use super::command::{Action, Command, Outbox};
use super::dialogs::Purpose;
use super::dock::Pane;
use super::figures;
use super::help::Help;
use super::jobs::{Job, JobState};
use super::overlays;
use super::palette::Palette;
use super::prompt::Prompt;
use super::theme::{self, BODY, SMALL};
use super::view_model::ViewModel;
use super::widgets::buttons::{icon, icon_button, menu_item, named_icon};
use egui::{Align, Button, Frame, Layout, Margin, Panel, ProgressBar, RichText, Role, Ui, WidgetInfo, vec2};
use egui_material_icons::icons as i;
use egui_tiles::Tree;

/// What floats above the panes.
#[derive(Default)]
pub struct Chrome {
    palette: Palette,
    help: Help,
    prompt: Option<Prompt>,
    /// The window was asked to close while a job runs.
    pub asks_to_close: bool,
    /// The user said yes.
    pub may_close: bool,
}

impl Chrome {
    /// Opens or closes the palette.
    pub fn toggle_palette(&mut self) {
        self.palette.toggle();
    }

    /// Asks for a path in the window.
    pub fn ask_path(&mut self, purpose: Purpose, suggestion: String) {
        self.prompt = Some(Prompt::new(purpose, suggestion));
    }

    /// Opens or closes help.
    pub fn toggle_help(&mut self) {
        self.help.open = !self.help.open;
    }

    /// Draws what floats.
    pub fn overlays(&mut self, model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
        overlays::toasts(model, ui, outbox);
        self.help.ui(ui);
        self.palette.ui(model, ui, outbox);
        if self.prompt.as_mut().is_some_and(|prompt| !prompt.ui(ui, outbox)) {
            self.prompt = None;
        }
        if self.asks_to_close {
            overlays::close_question(ui, outbox);
        }
        overlays::drop_target(ui);
    }
}

/// Turns pressed shortcuts into commands. Keys without a modifier, and those that edit text, are left to text fields that have the focus.
pub fn keys(model: &ViewModel<'_>, ctx: &egui::Context, outbox: &mut Outbox) {
    let typing = ctx.egui_wants_keyboard_input() && ctx.memory(|m| m.focused().is_some()) && ctx.text_edit_focused();
    for action in Action::all() {
        let Some(shortcut) = action.spec().shortcut else { continue };
        let edits = matches!(action, Action::SelectAll | Action::Undo | Action::Redo);
        let plain = edits || (shortcut.modifiers.is_none() && shortcut.logical_key != egui::Key::F1);
        // Escape closes an open menu before it does anything else.
        let closes = action == Action::ClearSelection && egui::Popup::is_any_open(ctx);
        if closes || (plain && typing) || action.enabled(model).is_err() {
            continue;
        }
        if ctx.input_mut(|i| i.consume_shortcut(&shortcut)) {
            outbox.push(Command::Do(action));
        }
    }
}

fn bar(ui: &Ui) -> Frame {
    Frame::new().fill(*theme::tokens(ui).bar).inner_margin(Margin::symmetric(8, 4))
}

/// Menu, file and edit buttons, the road, palette, theme and help.
pub fn top_bar(model: &ViewModel<'_>, layout: &Tree<Pane>, ui: &mut Ui, outbox: &mut Outbox) {
    Panel::top("top bar").exact_size(38.0).frame(bar(ui)).show(ui, |ui| {
        ui.horizontal_centered(|ui| {
            ui.spacing_mut().item_spacing.x = 4.0;
            menu(model, ui, outbox);
            icon_button(ui, model, Action::OpenFile, outbox);
            icon_button(ui, model, Action::OpenFolder, outbox);
            ui.add_space(8.0);
            icon_button(ui, model, Action::Undo, outbox);
            icon_button(ui, model, Action::Redo, outbox);
            ui.add_space(16.0);
            if model.session.source.is_some() {
                road(model, layout, ui, outbox);
            }
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.spacing_mut().item_spacing.x = 4.0;
                icon_button(ui, model, Action::Help, outbox);
                let next = if ui.visuals().dark_mode { Action::ThemeLight } else { Action::ThemeDark };
                icon_button(ui, model, next, outbox);
                icon_button(ui, model, Action::Palette, outbox);
            });
        });
    });
}

fn menu(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    use Action as A;
    let groups: [(&str, Vec<Action>); 4] = [
        ("File", vec![A::OpenFile, A::OpenFolder, A::OpenPath, A::OpenDemo, A::CloseModel, A::LoadRecipe, A::SaveRecipe, A::Export, A::Write, A::Quit]),
        ("Edit", vec![A::Undo, A::Redo, A::SelectAll, A::ClearSelection, A::Pin, A::Unpin, A::HandBack]),
        ("Run", vec![A::Measure, A::Judge, A::Refine, A::Quantize, A::Compare, A::Generate, A::PauseJob, A::CancelJob]),
        (
            "View",
            Pane::ALL
                .map(A::Show)
                .into_iter()
                .chain([A::ResetLayout, A::ZoomIn, A::ZoomOut, A::ZoomReset, A::ThemeLight, A::ThemeDark, A::ThemeSystem])
                .collect(),
        ),
    ];
    let button = Button::new(icon(i::ICON_MENU)).frame_when_inactive(false).min_size(vec2(26.0, 26.0));
    let (response, _) = egui::containers::menu::MenuButton::from_button(button).ui(ui, |ui| {
        for (title, actions) in groups {
            ui.menu_button(title, |ui| {
                for action in actions {
                    menu_item(ui, model, action, outbox);
                }
            });
        }
        ui.separator();
        menu_item(ui, model, A::Palette, outbox);
        menu_item(ui, model, A::Help, outbox);
    });
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, "Menu"));
}

/// The steps from left to right; done ones are ticked, the next one carries the accent.
fn road(model: &ViewModel<'_>, layout: &Tree<Pane>, ui: &mut Ui, outbox: &mut Outbox) {
    let session = model.session;
    let steps = [
        (Pane::Model, "Open", session.source.is_some()),
        (Pane::Inspector, "Inspect", session.statistics.iter().any(Option::is_some)),
        (Pane::Measure, "Measure", session.table.is_some()),
        (Pane::Allocate, "Allocate", session.allocation.plan.is_some()),
        (Pane::Run, "Quantize", session.artifact.is_some()),
        (Pane::Compare, "Compare", session.comparison.is_some()),
        (Pane::Export, "Export", session.exported.is_some()),
    ];
    let tokens = theme::tokens(ui);
    // A resumed job skips steps; what comes next is behind the last one done.
    let next = steps.iter().rposition(|(.., done)| *done).map(|last| last + 1);
    let front: Vec<Pane> = layout.active_tiles().into_iter().filter_map(|tile| layout.tiles.get_pane(&tile).copied()).collect();
    for (at, (pane, name, done)) in steps.into_iter().enumerate() {
        if at > 0 {
            ui.label(RichText::new("›").color(*tokens.faint));
        }
        let ink = if Some(at) == next {
            *tokens.accent
        } else if done {
            *tokens.text
        } else {
            *tokens.dim
        };
        let text = RichText::new(name).color(ink);
        let button = if done { Button::new((RichText::from(i::ICON_CHECK).size(BODY).color(*tokens.good), text)) } else { Button::new(text) };
        let response = ui.add(button.frame_when_inactive(false).selected(false));
        response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Step: {name}")));
        if front.contains(&pane) {
            ui.painter().hline(response.rect.shrink(6.0).x_range(), response.rect.bottom(), egui::Stroke::new(1.0, *tokens.faint));
        }
        if response.on_hover_text(pane.tooltip()).clicked() {
            outbox.push(Command::Do(Action::Show(pane)));
        }
    }
}

/// What is open and selected on the left, the running job on the right.
pub fn status_bar(model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    Panel::bottom("status bar").exact_size(30.0).frame(bar(ui).inner_margin(Margin::symmetric(12, 2))).show(ui, |ui| {
        ui.horizontal_centered(|ui| {
            let tokens = theme::tokens(ui);
            let small = |text: String| RichText::new(text).size(SMALL).color(*tokens.dim);
            ui.label(small(summary(model)));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| match model.active_job() {
                Some(job) => job_ui(job, ui, outbox),
                None => {
                    ui.label(small("Idle".to_owned()));
                }
            });
        });
    });
}

fn summary(model: &ViewModel<'_>) -> String {
    let Some(source) = &model.session.source else { return "No model".to_owned() };
    let name = figures::short_path(&source.path, 56);
    match model.selection.tensors.len() {
        0 => name,
        count => {
            let weights: u64 = model.selection.tensors.iter().filter_map(|t| source.tensors.get(*t)).map(|t| t.elements() as u64).sum();
            let noun = if count == 1 { "tensor" } else { "tensors" };
            format!("{name}   ·   {count} {noun} selected, {} weights", figures::count(weights))
        }
    }
}

fn job_ui(job: &Job, ui: &mut Ui, outbox: &mut Outbox) {
    let tokens = theme::tokens(ui);
    if named_icon(ui, i::ICON_CLOSE, "Cancel the running job").clicked() {
        outbox.push(Command::Cancel(job.id));
    }
    let paused = job.state == JobState::Paused;
    let (glyph, name) = if paused { (i::ICON_PLAY_ARROW, "Resume the running job") } else { (i::ICON_PAUSE, "Pause the running job") };
    if named_icon(ui, glyph, name).clicked() {
        outbox.push(Command::Pause(job.id, !paused));
    }
    let Some(stage) = job.stage() else {
        ui.label(RichText::new(job.label).size(SMALL).color(*tokens.dim));
        return;
    };
    if let Some(fraction) = stage.fraction() {
        ui.add(ProgressBar::new(fraction).desired_width(140.0).desired_height(6.0).fill(*tokens.accent));
    }
    let mut text = stage.progress.stage.label().to_owned();
    if let Some(rate) = stage.rate() {
        text = format!("{text}   {}", figures::rate(rate, stage.progress.stage.unit()));
    }
    if let Some(left) = stage.remaining_secs() {
        text = format!("{text}   {} left", figures::duration(left));
    }
    ui.label(RichText::new(if paused { "Paused".to_owned() } else { text }).size(SMALL).color(*tokens.dim));
}
