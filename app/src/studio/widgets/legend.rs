//! The legend of a colour: a gradient with numbers at its ends and middle.

use crate::studio::figures;
use crate::studio::theme::{self, SMALL};
use egui::epaint::{Mesh, Vertex, WHITE_UV};
use egui::{Align2, FontId, Sense, Ui, pos2, vec2};

/// The range of some values on a log scale; linear when there are values at or below zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    /// The scale that holds all values; `None` when there are none.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|v| v.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        (low <= high).then_some(Self { low, high, log: low > 0.0 && high / low > 4.0 })
    }

    /// Where a value stands, 0 … 1.
    pub fn position(&self, value: f64) -> f64 {
        let (low, high, value) = if self.log { (self.low.ln(), self.high.ln(), value.max(self.low).ln()) } else { (self.low, self.high, value) };
        if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 }
    }

    /// The value at a position.
    pub fn value(&self, position: f64) -> f64 {
        if self.log { (self.low.ln() + position * (self.high.ln() - self.low.ln())).exp() } else { self.low + position * (self.high - self.low) }
    }
}

/// Draws the legend: lowest and highest number beside a gradient, the middle one under the pointer.
pub fn legend(ui: &mut Ui, scale: Scale, unit: &str) {
    const WIDTH: f32 = 120.0;
    let tokens = theme::tokens(ui);
    let number = |ui: &mut Ui, value: f64| ui.label(egui::RichText::new(figures::error(value)).size(SMALL).color(*tokens.dim));
    number(ui, scale.low);
    let (rect, response) = ui.allocate_exact_size(vec2(WIDTH, 10.0), Sense::hover());
    let mut mesh = Mesh::default();
    const STEPS: u32 = 24;
    for step in 0..=STEPS {
        let t = f64::from(step) / f64::from(STEPS);
        let x = rect.left() + rect.width() * t as f32;
        let color = theme::sequential(t);
        for y in [rect.top(), rect.bottom()] {
            mesh.vertices.push(Vertex { pos: pos2(x, y), uv: WHITE_UV, color });
        }
        if step > 0 {
            let i = step * 2;
            mesh.indices.extend([i - 2, i - 1, i, i, i - 1, i + 1]);
        }
    }
    ui.painter().add(mesh);
    if let Some(pointer) = response.hover_pos() {
        let t = f64::from((pointer.x - rect.left()) / rect.width());
        let text = format!("{} {unit}", figures::error(scale.value(t)));
        ui.painter().text(pos2(pointer.x, rect.bottom() + 2.0), Align2::CENTER_TOP, text, FontId::proportional(SMALL), *tokens.text);
    }
    number(ui, scale.high);
    if !unit.is_empty() {
        ui.label(egui::RichText::new(unit).size(SMALL).color(*tokens.dim));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_range_is_logarithmic_and_position_and_value_are_inverse() {
        let scale = Scale::of([1e-6, 1e-2, 1e-4].into_iter()).expect("values");
        assert!((scale.position(1e-4) - 0.5).abs() < 1e-9, "the middle of four decades");
        assert!((scale.value(scale.position(3e-5)) - 3e-5).abs() < 1e-12, "inverse");
        assert_eq!(Scale::of(std::iter::empty()), None, "nothing to scale");
        let same = Scale::of([2.0, 2.0].into_iter()).expect("values");
        assert!((same.position(2.0) - 0.5).abs() < f64::EPSILON, "one value stands in the middle");
    }
}
