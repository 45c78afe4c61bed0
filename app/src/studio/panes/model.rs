//! What was opened, and every tensor of it.

use crate::studio::command::{Command, Outbox};
use crate::studio::figures;
use crate::studio::selection::SelectMode;
use crate::studio::theme::{self, BODY, HEADING, SMALL};
use crate::studio::view_model::ViewModel;
use crate::studio::widgets::labels::{line, separator, text_line};
use egui::{Align2, FontId, RichText, Role, ScrollArea, Sense, TextEdit, Ui, WidgetInfo, pos2, vec2};
use halftone_core::source::{Source, SourceFormat, TensorEntry};
use std::collections::BTreeSet;

const ROW: f32 = 22.0;

/// Filter and folded groups.
#[derive(Default)]
pub struct ModelPane {
    filter: String,
    open: BTreeSet<Option<usize>>,
}

enum Item {
    Group { block: Option<usize>, count: usize, bytes: u64, open: bool },
    Tensor(usize),
}

impl ModelPane {
    /// Draws the pane.
    pub fn ui(&mut self, model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
        let Some(source) = &model.session.source else { return };
        header(source, ui);
        ui.add_space(4.0);
        separator(ui);
        ui.add_space(4.0);
        ui.add(TextEdit::singleline(&mut self.filter).hint_text("Filter tensors").desired_width(f32::INFINITY));
        ui.add_space(4.0);
        let items = self.items(source);
        ui.spacing_mut().item_spacing.y = 0.0;
        ScrollArea::vertical().auto_shrink([false, false]).show_rows(ui, ROW, items.len(), |ui, range| {
            for item in &items[range] {
                match item {
                    Item::Group { block, count, bytes, open } => self.group(*block, *count, *bytes, *open, ui),
                    Item::Tensor(tensor) => row(*tensor, &source.tensors[*tensor], model, ui, outbox),
                }
            }
        });
    }

    fn items(&self, source: &Source) -> Vec<Item> {
        let wanted = self.filter.to_lowercase();
        let mut blocks: BTreeSet<Option<usize>> = BTreeSet::new();
        let mut by_block: std::collections::BTreeMap<Option<usize>, Vec<usize>> = std::collections::BTreeMap::new();
        for (i, tensor) in source.tensors.iter().enumerate().filter(|(_, t)| wanted.is_empty() || t.name.to_lowercase().contains(&wanted)) {
            blocks.insert(tensor.block);
            by_block.entry(tensor.block).or_default().push(i);
        }
        let mut items = Vec::new();
        for block in blocks {
            let tensors = &by_block[&block];
            // What belongs to no block is short and stays open; a filter opens everything.
            let open = !wanted.is_empty() || self.open.contains(&block) != block.is_none();
            let bytes = tensors.iter().map(|t| source.tensors[*t].size_bytes).sum();
            items.push(Item::Group { block, count: tensors.len(), bytes, open });
            if open {
                items.extend(tensors.iter().map(|t| Item::Tensor(*t)));
            }
        }
        items
    }

    fn group(&mut self, block: Option<usize>, count: usize, bytes: u64, open: bool, ui: &mut Ui) {
        let tokens = theme::tokens(ui);
        let name = block.map_or("Outside blocks".to_owned(), |b| format!("Block {b}"));
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
        response.widget_info(|| WidgetInfo::selected(Role::Button, true, open, &name));
        if response.hovered() {
            ui.painter().rect_filled(rect, 3.0, *tokens.hover);
        }
        let glyph = if open { egui_material_icons::icons::ICON_EXPAND_MORE } else { egui_material_icons::icons::ICON_CHEVRON_RIGHT };
        ui.painter().text(
            pos2(rect.left() + 2.0, rect.center().y),
            Align2::LEFT_CENTER,
            glyph.codepoint,
            FontId::new(BODY + 2.0, glyph.font_family()),
            *tokens.dim,
        );
        ui.painter().text(pos2(rect.left() + 20.0, rect.center().y), Align2::LEFT_CENTER, name, FontId::proportional(BODY), *tokens.text);
        let right = format!("{count}  ·  {}", figures::bytes(bytes));
        ui.painter().text(pos2(rect.right() - 8.0, rect.center().y), Align2::RIGHT_CENTER, right, FontId::proportional(SMALL), *tokens.dim);
        if response.clicked() && !self.open.remove(&block) {
            self.open.insert(block);
        }
    }
}

fn header(source: &Source, ui: &mut Ui) {
    let config = &source.config;
    let name = config.name.clone().unwrap_or_else(|| source.path.file_stem().map_or("Model".to_owned(), |s| s.to_string_lossy().into_owned()));
    ui.add(egui::Label::new(RichText::new(name).size(HEADING)).truncate());
    ui.add_space(2.0);
    let format = match source.format {
        SourceFormat::Gguf(version) => format!("GGUF version {version}"),
        SourceFormat::Safetensors => "safetensors".to_owned(),
    };
    ui.spacing_mut().item_spacing.y = 2.0;
    text_line(ui, "Architecture", &config.architecture);
    line(ui, "Parameters", &figures::count(source.parameters()));
    line(ui, "Size", &figures::bytes(source.size_bytes()));
    text_line(ui, "Stored as", &dtypes(source));
    if config.block_count > 0 {
        text_line(ui, "Blocks × width", &format!("{} × {}", config.block_count, config.hidden_size));
    }
    if config.vocab_size > 0 {
        text_line(ui, "Vocabulary", &figures::grouped(config.vocab_size as u64));
    }
    if config.context_length > 0 {
        text_line(ui, "Context", &figures::grouped(config.context_length as u64));
    }
    if let Some(tokenizer) = source.metadata.get("tokenizer.ggml.model").and_then(|v| v.as_str()) {
        text_line(ui, "Tokenizer", tokenizer);
    }
    text_line(ui, "Licence", config.license.as_deref().unwrap_or("not stated"));
    text_line(ui, "File", &format).on_hover_text(source.path.display().to_string());
    ui.spacing_mut().item_spacing.y = 4.0;
}

/// The element types by falling bytes, the first two.
fn dtypes(source: &Source) -> String {
    let mut sums: std::collections::BTreeMap<_, u64> = std::collections::BTreeMap::new();
    for tensor in &source.tensors {
        *sums.entry(tensor.dtype).or_default() += tensor.size_bytes;
    }
    let mut types: Vec<_> = sums.into_iter().collect();
    types.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let more = if types.len() > 2 { " …" } else { "" };
    types.iter().take(2).map(|(t, _)| t.to_string()).collect::<Vec<_>>().join(", ") + more
}

fn row(tensor: usize, entry: &TensorEntry, model: &ViewModel<'_>, ui: &mut Ui, outbox: &mut Outbox) {
    let tokens = theme::tokens(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
    let selected = model.selection.tensors.contains(&tensor);
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, selected, &entry.name));
    if selected || response.hovered() {
        ui.painter().rect_filled(rect, 3.0, if selected { *tokens.selection } else { *tokens.hover });
    }
    let format = model.session.allocation.formats.get(tensor).copied().flatten();
    let right = format.map_or_else(|| entry.dtype.to_string(), |f| f.to_string());
    let ink = if entry.quantizable() { *tokens.text } else { *tokens.dim };
    let stored = ui.painter().text(pos2(rect.right() - 8.0, rect.center().y), Align2::RIGHT_CENTER, right, FontId::proportional(SMALL), *tokens.dim);
    if let Some(format) = format {
        ui.painter().circle_filled(pos2(stored.left() - 8.0, rect.center().y), 3.0, tokens.format(format));
    }
    let short = entry.block.and_then(|b| entry.name.split_once(&format!(".{b}."))).map_or(entry.name.as_str(), |(_, tail)| tail);
    let short = short.strip_suffix(".weight").unwrap_or(short);
    let room = egui::Rect::from_min_max(rect.min, pos2(stored.left() - 16.0, rect.bottom()));
    ui.painter().with_clip_rect(room.intersect(ui.clip_rect())).text(
        pos2(rect.left() + 20.0, rect.center().y),
        Align2::LEFT_CENTER,
        short,
        FontId::proportional(BODY),
        ink,
    );
    let response = response.on_hover_ui(|ui| {
        ui.label(&entry.name);
        text_line(ui, "Shape", &figures::shape(&entry.shape));
        text_line(ui, "Stored as", &format!("{}, {}", entry.dtype, figures::bytes(entry.size_bytes)));
        if entry.stored_name != entry.name {
            text_line(ui, "Name in the file", &entry.stored_name);
        }
    });
    if response.clicked() {
        let mode = if ui.input(|i| i.modifiers.command) { SelectMode::Toggle } else { SelectMode::Replace };
        outbox.push(Command::Select { tensors: vec![tensor], cursor: Some(tensor), mode });
    }
}
