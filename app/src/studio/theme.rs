//! Colours, type scale and spacing. The only file that makes a colour.
//!
//! Neutral surfaces and one accent come from `assets/themes/*.ron`; sequential data uses viridis, so that a picture reads the same in
//! print, in both themes and to colour-blind eyes. Five text sizes, none below 11 points; everything sits on a 4-point grid.

use egui::epaint::Shadow;
use egui::style::{ScrollStyle, WidgetVisuals};
use egui::{Color32, CornerRadius, FontFamily, FontId, Margin, Stroke, Style, TextStyle, Theme, Visuals, vec2};
use halftone_core::codec::Format;
use serde::Deserialize;
use std::sync::LazyLock;

/// Smallest text.
pub const SMALL: f32 = 11.0;
/// Body text.
pub const BODY: f32 = 13.0;
/// Section heads.
pub const HEADING: f32 = 15.0;
/// The figure of a pane.
pub const FIGURE: f32 = 18.0;
/// The name of the program on the empty window.
pub const TITLE: f32 = 26.0;
/// How long a changed cell is lit, seconds.
pub const FLASH_SECS: f64 = 0.15;

/// A colour written as `#rrggbb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Hex(pub Color32);

impl TryFrom<String> for Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Color32::from_hex(&text).map(Self).map_err(|_| format!("{text} is not a colour"))
    }
}

impl std::ops::Deref for Hex {
    type Target = Color32;

    fn deref(&self) -> &Color32 {
        &self.0
    }
}

/// The colours of one theme.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// Top and bottom bars, tab bars.
    pub bar: Hex,
    /// Panes.
    pub surface: Hex,
    /// Menus, tooltips, windows.
    pub raised: Hex,
    /// Text fields and plots.
    pub sunken: Hex,
    /// Buttons at rest.
    pub button: Hex,
    /// Under the pointer.
    pub hover: Hex,
    /// Held down.
    pub pressed: Hex,
    /// Separators.
    pub line: Hex,
    /// Text.
    pub text: Hex,
    /// Units and labels.
    pub dim: Hex,
    /// What is there but off.
    pub faint: Hex,
    /// The one accent.
    pub accent: Hex,
    /// Text on the accent.
    pub on_accent: Hex,
    /// Behind what is selected.
    pub selection: Hex,
    /// Went well.
    pub good: Hex,
    /// Needs a look.
    pub warn: Hex,
    /// Went wrong.
    pub bad: Hex,
    /// Data of the original.
    pub before: Hex,
    /// Data of the quantized model.
    pub after: Hex,
    /// (bits below which it is meant, colour), rising: a format has the same hue everywhere.
    formats: Vec<(f64, Hex)>,
}

static DARK: LazyLock<Tokens> = LazyLock::new(|| parse(include_str!("../../../assets/themes/dark.ron")));
static LIGHT: LazyLock<Tokens> = LazyLock::new(|| parse(include_str!("../../../assets/themes/light.ron")));

fn parse(text: &str) -> Tokens {
    ron::from_str(text).expect("the themes are part of the program and read by a test")
}

/// The colours of the theme this `Ui` is drawn in.
pub fn tokens(ui: &egui::Ui) -> &'static Tokens {
    of(if ui.visuals().dark_mode { Theme::Dark } else { Theme::Light })
}

/// The colours of a theme.
pub fn of(theme: Theme) -> &'static Tokens {
    match theme {
        Theme::Dark => &DARK,
        Theme::Light => &LIGHT,
    }
}

impl Tokens {
    /// The hue of a format.
    pub fn format(&self, format: Format) -> Color32 {
        let bits = format.bits();
        self.formats.iter().find(|(below, _)| bits < *below).map_or(*self.faint, |(_, hex)| hex.0)
    }

    /// `from` at 0, `to` at 1.
    pub fn blend(from: Color32, to: Color32, t: f32) -> Color32 {
        from.lerp_to_gamma(to, t.clamp(0.0, 1.0))
    }

    /// Warm highlight of text, 0 (none) … 1.
    pub fn heat(&self, t: f32) -> Color32 {
        Self::blend(*self.surface, *self.bad, t * 0.85)
    }
}

/// The sequential colour map of all data, 0 … 1.
pub fn sequential(t: f64) -> Color32 {
    let colorous::Color { r, g, b } = colorous::VIRIDIS.eval_continuous(t.clamp(0.0, 1.0));
    Color32::from_rgb(r, g, b)
}

/// Black or white, whichever reads better on a colour.
pub fn ink_on(background: Color32) -> Color32 {
    let [r, g, b, _] = background.to_array().map(f32::from);
    if 0.299 * r + 0.587 * g + 0.114 * b > 140.0 { Color32::from_rgb(20, 22, 24) } else { Color32::from_rgb(245, 246, 247) }
}

/// Installs fonts and both themes.
pub fn install(ctx: &egui::Context) {
    // The icon font hangs below the text's centre line by default.
    let mut icons = egui_material_icons::font_insert();
    icons.data.tweak.y_offset_factor = -0.04;
    ctx.add_font(icons);
    for theme in [Theme::Dark, Theme::Light] {
        ctx.set_style_of(theme, style(theme));
    }
}

fn style(theme: Theme) -> Style {
    let tokens = of(theme);
    let mut style = theme.default_style();
    let font = |size| FontId::new(size, FontFamily::Proportional);
    style.text_styles = [
        (TextStyle::Small, font(SMALL)),
        (TextStyle::Body, font(BODY)),
        (TextStyle::Button, font(BODY)),
        (TextStyle::Heading, font(HEADING)),
        (TextStyle::Monospace, FontId::new(12.0, FontFamily::Monospace)),
    ]
    .into();
    let spacing = &mut style.spacing;
    spacing.item_spacing = vec2(8.0, 4.0);
    spacing.button_padding = vec2(8.0, 3.0);
    spacing.interact_size = vec2(32.0, 24.0);
    spacing.menu_margin = Margin::same(8);
    spacing.window_margin = Margin::same(12);
    spacing.indent = 16.0;
    spacing.slider_width = 160.0;
    spacing.combo_width = 96.0;
    spacing.tooltip_width = 360.0;
    spacing.scroll = ScrollStyle::solid();
    spacing.scroll.bar_width = 6.0;
    style.animation_time = 0.1;
    style.visuals = visuals(theme, tokens);
    style
}

fn visuals(theme: Theme, tokens: &Tokens) -> Visuals {
    let mut visuals = theme.default_visuals();
    let radius = CornerRadius::same(4);
    let widget = |fill: Color32, weak: Color32, stroke: Stroke, ink: Color32| WidgetVisuals {
        bg_fill: fill,
        weak_bg_fill: weak,
        bg_stroke: stroke,
        corner_radius: radius,
        fg_stroke: Stroke::new(1.0, ink),
        expansion: 0.0,
    };
    let line = Stroke::new(1.0, *tokens.line);
    visuals.widgets.noninteractive = widget(*tokens.surface, *tokens.surface, line, *tokens.text);
    visuals.widgets.inactive = widget(*tokens.button, *tokens.button, Stroke::NONE, *tokens.text);
    visuals.widgets.hovered = widget(*tokens.hover, *tokens.hover, Stroke::NONE, *tokens.text);
    visuals.widgets.active = widget(*tokens.pressed, *tokens.pressed, Stroke::new(1.0, *tokens.accent), *tokens.text);
    visuals.widgets.open = widget(*tokens.hover, *tokens.hover, Stroke::NONE, *tokens.text);
    visuals.selection.bg_fill = *tokens.selection;
    visuals.selection.stroke = Stroke::new(1.0, *tokens.accent);
    visuals.hyperlink_color = *tokens.accent;
    visuals.weak_text_color = Some(*tokens.dim);
    visuals.warn_fg_color = *tokens.warn;
    visuals.error_fg_color = *tokens.bad;
    visuals.panel_fill = *tokens.surface;
    visuals.window_fill = *tokens.raised;
    visuals.window_stroke = line;
    visuals.faint_bg_color = Tokens::blend(*tokens.surface, *tokens.button, 0.5);
    visuals.extreme_bg_color = *tokens.sunken;
    visuals.code_bg_color = *tokens.sunken;
    visuals.window_corner_radius = CornerRadius::same(6);
    visuals.menu_corner_radius = CornerRadius::same(6);
    let shadow = Shadow { offset: [0, 4], blur: 16, spread: 0, color: Color32::from_black_alpha(if theme == Theme::Dark { 96 } else { 32 }) };
    visuals.popup_shadow = shadow;
    visuals.window_shadow = shadow;
    visuals.indent_has_left_vline = false;
    visuals.striped = false;
    visuals.slider_trailing_fill = true;
    visuals.collapsing_header_frame = false;
    visuals
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WCAG's relative luminance contrast.
    fn contrast(a: Color32, b: Color32) -> f32 {
        let luminance = |c: Color32| {
            let [r, g, b, _] = egui::Rgba::from(c).to_array();
            0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05
        };
        let (x, y) = (luminance(a), luminance(b));
        x.max(y) / x.min(y)
    }

    #[test]
    fn text_and_units_are_readable_on_every_surface_of_both_themes() {
        for theme in [Theme::Dark, Theme::Light] {
            let tokens = of(theme);
            for surface in [tokens.bar, tokens.surface, tokens.raised, tokens.sunken] {
                for (ink, least) in [(tokens.text, 7.0), (tokens.dim, 4.5), (tokens.bad, 4.0), (tokens.good, 4.0), (tokens.accent, 4.0)] {
                    let got = contrast(*ink, *surface);
                    assert!(got >= least, "{theme:?}: {:?} on {:?} has contrast {got:.1}, wanted {least}", ink.0, surface.0);
                }
            }
        }
    }

    #[test]
    fn a_format_keeps_its_hue_and_more_bits_change_it() {
        let tokens = of(Theme::Dark);
        let hue = |name: &str| tokens.format(name.parse().expect("a format"));
        assert_eq!(hue("Q4_0"), hue("Q4_K"), "both store four bits");
        assert_ne!(hue("Q4_K"), hue("Q8_0"), "four and eight bits differ");
    }
}
