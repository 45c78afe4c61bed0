//! Short pages about each step, from `assets/help`.

use super::theme::{self, HEADING};
use super::widgets::buttons::segmented;
use egui::{RichText, ScrollArea, Ui, Window};

const PAGES: [(&str, &str); 6] = [
    ("Start", include_str!("../../../assets/help/start.md")),
    ("Map", include_str!("../../../assets/help/map.md")),
    ("Measure", include_str!("../../../assets/help/measure.md")),
    ("Allocate", include_str!("../../../assets/help/allocate.md")),
    ("Compare", include_str!("../../../assets/help/compare.md")),
    ("Export", include_str!("../../../assets/help/export.md")),
];

/// The help window.
#[derive(Default)]
pub struct Help {
    /// Shown.
    pub open: bool,
    page: usize,
}

impl Help {
    /// Draws it.
    pub fn ui(&mut self, ui: &mut Ui) {
        if !self.open {
            return;
        }
        let mut open = true;
        Window::new("Help").open(&mut open).collapsible(false).default_pos([380.0, 120.0]).default_size([520.0, 420.0]).show(ui.ctx(), |ui| {
            let names: Vec<(usize, &str)> = PAGES.iter().enumerate().map(|(i, (name, _))| (i, *name)).collect();
            if let Some(page) = segmented(ui, "Help page", self.page, &names) {
                self.page = page;
            }
            ui.add_space(8.0);
            ScrollArea::vertical().show(ui, |ui| page(ui, PAGES[self.page].1));
        });
        self.open = open;
    }
}

/// Heads, paragraphs and lists: all that the pages use of Markdown.
fn page(ui: &mut Ui, text: &str) {
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# ") {
            ui.label(RichText::new(head).size(HEADING).strong());
        } else if let Some(item) = line.strip_prefix("- ") {
            ui.horizontal_top(|ui| {
                ui.label(RichText::new("•").color(*theme::tokens(ui).accent));
                ui.add(egui::Label::new(item).wrap());
            });
        } else if line.is_empty() {
            ui.add_space(6.0);
        } else {
            ui.add(egui::Label::new(line).wrap());
        }
    }
}
