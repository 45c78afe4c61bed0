//! What every plot offers besides looking at it: its data as CSV, its picture as PNG or SVG, from a button in its corner or the right
//! mouse button.

use super::buttons::icon;
use crate::studio::command::{Command, Outbox, Picture};
use crate::studio::svg;
use crate::studio::theme;
use egui::{Button, Id, Rect, Response, Role, Ui, WidgetInfo, pos2, vec2};
use egui_material_icons::icons as i;

/// Where a plot begins, on the page and among the painted shapes.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    min: egui::Pos2,
    shapes: usize,
}

/// To be called before a plot is drawn.
pub fn begin(ui: &Ui) -> Begun {
    let shapes = ui.ctx().graphics(|g| g.get(ui.layer_id()).map_or(0, |list| list.next_idx().0));
    Begun { min: ui.cursor().min, shapes }
}

/// To be called when a plot and its legend are drawn: puts the menu on it. `name` is part of the suggested file name.
pub fn end(begun: Begun, response: &Response, name: &'static str, ui: &mut Ui, outbox: &mut Outbox, csv: impl Fn() -> String) {
    let end = if ui.layout().main_dir().is_horizontal() {
        pos2(ui.cursor().left(), ui.min_rect().bottom())
    } else {
        pos2(ui.min_rect().right().max(response.rect.right()), ui.cursor().top())
    };
    let rect = Rect::from_min_max(begun.min, end).expand(4.0).intersect(ui.clip_rect());
    let mut items = |ui: &mut Ui| {
        if ui.button("Copy data as CSV").clicked() {
            outbox.push(Command::Copy(csv()));
            ui.close();
        }
        if ui.button("Save picture as PNG…").clicked() {
            outbox.push(Command::TakePicture { name, picture: Picture::Pixels(rect) });
            ui.close();
        }
        if ui.button("Save picture as SVG…").clicked() {
            outbox.push(Command::TakePicture { name, picture: Picture::Drawing(drawing(begun, response, rect, ui)) });
            ui.close();
        }
    };
    response.context_menu(&mut items);
    if ui.ctx().data(|d| d.get_temp(hidden())).unwrap_or(false) {
        return; // the picture is being taken
    }
    let corner = Rect::from_min_size(response.rect.right_top() + vec2(-24.0, 0.0), vec2(24.0, 20.0));
    // Data may lie under it.
    ui.painter().rect_filled(corner, 3.0, theme::tokens(ui).surface.gamma_multiply(0.8));
    let mut child = ui.new_child(egui::UiBuilder::new().max_rect(corner).id_salt(("picture menu", name)));
    let button = Button::new(icon(i::ICON_MORE_HORIZ).color(*theme::tokens(ui).dim)).frame_when_inactive(false).min_size(corner.size());
    let (button, _) = egui::containers::menu::MenuButton::from_button(button).ui(&mut child, items);
    button.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Save or copy: {name}")));
}

/// Where it is remembered that the corners' buttons are not to be drawn.
pub fn hidden() -> Id {
    Id::unique("plots without their buttons")
}

/// The shapes that were painted between the beginning of the plot and now.
fn drawing(begun: Begun, response: &Response, rect: Rect, ui: &Ui) -> String {
    let background = *theme::tokens(ui).surface;
    ui.ctx().graphics(|g| {
        let shapes = g.get(response.layer_id).map(|list| list.all_entries().skip(begun.shapes));
        svg::document(shapes.into_iter().flatten(), rect, background)
    })
}
