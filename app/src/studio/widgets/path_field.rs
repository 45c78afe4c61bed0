//! A field for a path. What is typed lives here while it has the focus; at rest it shows what the caller says.

use egui::{Key, Response, TextEdit, Ui};

/// What happened in a field.
#[derive(Clone, Debug)]
pub struct Typed {
    /// What stands in it now.
    pub text: String,
    /// It was edited in this frame.
    pub changed: bool,
    /// Enter was pressed.
    pub entered: bool,
    /// The field itself.
    pub response: Response,
}

/// Draws a field `width` wide. With `current` it shows that while nobody types; without, it keeps what was typed.
pub fn path_field(ui: &mut Ui, name: &'static str, current: Option<&str>, hint: &str, width: f32) -> Typed {
    let id = ui.make_persistent_id(("path field", name));
    let typing = ui.memory(|m| m.has_focus(id));
    let draft = || ui.data(|d| d.get_temp::<String>(id));
    let mut text = match current {
        Some(current) if !typing => current.to_owned(),
        _ => draft().or_else(|| current.map(str::to_owned)).unwrap_or_default(),
    };
    let response = ui.add(TextEdit::singleline(&mut text).id(id).hint_text(hint).desired_width(width));
    response.widget_info(|| {
        let mut info = egui::WidgetInfo::labeled(egui::Role::TextInput, ui.is_enabled(), name);
        info.current_text_value = Some(text.clone());
        info
    });
    let entered = response.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter));
    ui.data_mut(|d| d.insert_temp(id, text.clone()));
    Typed { changed: response.changed(), entered, text, response }
}

/// Several paths in one line, parted by semicolons.
pub fn join(paths: &[std::path::PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join("; ")
}

/// The other way round.
pub fn split(text: &str) -> Vec<std::path::PathBuf> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(crate::locate::expand).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_paths_go_through_one_line_and_come_back() {
        let paths: Vec<std::path::PathBuf> = vec!["/a b/c.txt".into(), "d.txt".into()];
        assert_eq!(split(&join(&paths)), paths, "there and back");
        assert!(split(" ; ").is_empty(), "nothing");
    }
}
