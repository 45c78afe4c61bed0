//! Quiet plots: no frame, thin grid, no accidental zooming; a menu copies the data.

use crate::studio::theme;
use egui::{Color32, Ui};
use egui_plot::{Bar, BarChart, GridInput, GridMark, Line, Plot};

/// A plot in the house style.
pub fn plot<'a>(name: &'a str, height: f32) -> Plot<'a> {
    Plot::new(name)
        .height(height)
        .show_background(false)
        .allow_zoom(false)
        .allow_scroll(false)
        .allow_drag(false)
        .allow_boxed_zoom(false)
        .show_grid([false, true])
        .grid_fade(0.6)
        .show_crosshair(false)
        .set_margin_fraction(egui::vec2(0.01, 0.04))
}

/// Grid lines at whole numbers: decades of a logarithm, bits.
pub fn whole_numbers(input: GridInput) -> Vec<GridMark> {
    at_whole_numbers(input, 4.5)
}

/// The same with half as many lines: labels side by side need more room than labels one above the other.
pub fn few_whole_numbers(input: GridInput) -> Vec<GridMark> {
    at_whole_numbers(input, 2.2)
}

fn at_whole_numbers(input: GridInput, about: f64) -> Vec<GridMark> {
    let (low, high) = input.bounds;
    let step = ((high - low) / about).ceil().max(1.0);
    let first = (low / step).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|value| *value <= high).take(64).map(|value| GridMark { value, step_size: step }).collect()
}

/// Grid lines at round numbers, about five of them: 70, 80, 90 MB.
pub fn round_numbers(input: GridInput) -> Vec<GridMark> {
    let (low, high) = input.bounds;
    let rough = (high - low) / 5.0;
    let decade = 10f64.powf(rough.max(1e-12).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * decade).into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|value| *value <= high).take(64).map(|value| GridMark { value, step_size: step }).collect()
}

/// Bars of a histogram over `[−absmax, absmax]`; `log` shows log₁₀(1 + count).
pub fn histogram(name: &str, counts: &[u64], absmax: f32, log: bool, color: Color32) -> BarChart {
    let width = 2.0 * f64::from(absmax) / counts.len().max(1) as f64;
    let height = |count: u64| if log { (1.0 + count as f64).log10() } else { count as f64 };
    let bar =
        |(i, count): (usize, &u64)| Bar::new(-f64::from(absmax) + (i as f64 + 0.5) * width, height(*count)).width(width).fill(color).stroke(egui::Stroke::NONE);
    BarChart::new(name, counts.iter().enumerate().map(bar).collect()).color(color).allow_hover(false)
}

/// The same histogram as an outline.
pub fn outline(name: &str, counts: &[u64], absmax: f32, log: bool) -> Line<'static> {
    let width = 2.0 * f64::from(absmax) / counts.len().max(1) as f64;
    let height = |count: u64| if log { (1.0 + count as f64).log10() } else { count as f64 };
    let steps = counts.iter().enumerate().flat_map(|(i, count)| {
        let left = -f64::from(absmax) + i as f64 * width;
        [[left, height(*count)], [left + width, height(*count)]]
    });
    Line::new(name, steps.collect::<Vec<_>>()).allow_band(false).allow_hover(false)
}

/// Half-transparent, for one plot over another.
pub fn sheer(color: Color32) -> Color32 {
    color.gamma_multiply(0.55)
}

/// The colours of before and after in this theme.
pub fn pair(ui: &Ui) -> (Color32, Color32) {
    let tokens = theme::tokens(ui);
    (*tokens.before, *tokens.after)
}
