//! A picture of what was just painted, as SVG: the painter's own shapes written down, so that every plot can be saved without being drawn
//! a second time. Text stays text.
//!
//! Left out: icons (their font is the program's own), images and callbacks; none of them is in a plot.

use egui::epaint::{BandShape, CircleShape, ClippedShape, ColorMode, Mesh, PathShape, RectShape, TextShape};
use egui::{Color32, Pos2, Rect, Shape, Stroke};
use std::fmt::Write as _;

/// The shapes as an SVG document that shows `view` on a background.
pub fn document<'a>(shapes: impl Iterator<Item = &'a ClippedShape>, view: Rect, background: Color32) -> String {
    let mut body = String::new();
    let mut clips: Vec<Rect> = Vec::new();
    for ClippedShape { clip_rect, shape, .. } in shapes {
        let clip = clip_rect.intersect(view);
        if !clip.is_positive() || !clip.intersects(shape.visual_bounding_rect()) {
            continue;
        }
        let mut part = String::new();
        write_shape(&mut part, shape);
        if part.is_empty() {
            continue;
        }
        if clip.contains_rect(shape.visual_bounding_rect()) {
            body.push_str(&part);
        } else {
            let id = clips.iter().position(|known| *known == clip).unwrap_or_else(|| {
                clips.push(clip);
                clips.len() - 1
            });
            let _ = writeln!(body, "<g clip-path=\"url(#c{id})\">{part}</g>");
        }
    }
    let mut definitions = String::new();
    for (id, clip) in clips.iter().enumerate() {
        let _ = write!(definitions, "<clipPath id=\"c{id}\"><rect {}/></clipPath>", rectangle(*clip));
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"{:.1} {:.1} {:.1} {:.1}\" width=\"{:.0}\" height=\"{:.0}\" font-family=\"sans-serif\">\n\
         <defs>{definitions}</defs>\n<rect {} {}/>\n{body}</svg>\n",
        view.left(),
        view.top(),
        view.width(),
        view.height(),
        view.width(),
        view.height(),
        rectangle(view),
        paint("fill", background),
    )
}

fn write_shape(out: &mut String, shape: &Shape) {
    match shape {
        Shape::Vec(shapes) => shapes.iter().for_each(|s| write_shape(out, s)),
        Shape::Circle(circle) => write_circle(out, circle),
        Shape::LineSegment { points: [a, b], stroke } if visible(stroke.width, stroke.color) => {
            let _ = writeln!(out, "<line x1=\"{:.2}\" y1=\"{:.2}\" x2=\"{:.2}\" y2=\"{:.2}\" {}/>", a.x, a.y, b.x, b.y, line(*stroke));
        }
        Shape::Path(path) => write_path(out, path),
        Shape::Band(band) => write_band(out, band),
        Shape::Rect(rect) => write_rect(out, rect),
        Shape::Text(text) => write_text(out, text),
        Shape::Mesh(mesh) => write_mesh(out, mesh),
        _ => {}
    }
}

fn visible(width: f32, color: Color32) -> bool {
    width > 0.0 && color.a() > 0
}

/// `fill="#rrggbb"`, with an opacity where there is one.
fn paint(what: &str, color: Color32) -> String {
    let [r, g, b, a] = color.to_srgba_unmultiplied();
    match a {
        0 => format!("{what}=\"none\""),
        255 => format!("{what}=\"#{r:02x}{g:02x}{b:02x}\""),
        _ => format!("{what}=\"#{r:02x}{g:02x}{b:02x}\" {what}-opacity=\"{:.3}\"", f32::from(a) / 255.0),
    }
}

fn line(stroke: Stroke) -> String {
    format!("{} stroke-width=\"{:.2}\"", paint("stroke", stroke.color), stroke.width)
}

/// Fill, and the stroke where there is one.
fn surface(fill: Color32, stroke: Stroke) -> String {
    let outline = if visible(stroke.width, stroke.color) { line(stroke) } else { String::new() };
    format!("{} {outline}", paint("fill", fill))
}

fn rectangle(rect: Rect) -> String {
    format!("x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{:.2}\"", rect.left(), rect.top(), rect.width(), rect.height())
}

fn write_circle(out: &mut String, circle: &CircleShape) {
    let CircleShape { center, radius, fill, stroke } = circle;
    let _ = writeln!(out, "<circle cx=\"{:.2}\" cy=\"{:.2}\" r=\"{radius:.2}\" {}/>", center.x, center.y, surface(*fill, *stroke));
}

fn write_rect(out: &mut String, shape: &RectShape) {
    if shape.fill.a() > 0 || visible(shape.stroke.width, shape.stroke.color) {
        let radius = shape.corner_radius.average();
        let _ = writeln!(out, "<rect {} rx=\"{radius:.1}\" {}/>", rectangle(shape.rect), surface(shape.fill, shape.stroke));
    }
}

fn write_path(out: &mut String, path: &PathShape) {
    let color = match &path.stroke.color {
        ColorMode::Solid(color) => *color,
        // Gradients along a line occur nowhere in the studio; their first colour stands for them.
        ColorMode::UV(colors) => path.points.first().map_or(Color32::TRANSPARENT, |p| colors(Rect::from_points(&path.points), *p)),
    };
    let stroke = Stroke::new(path.stroke.width, color);
    if path.points.len() < 2 || (path.fill.a() == 0 && !visible(stroke.width, color)) {
        return;
    }
    let points: Vec<String> = path.points.iter().map(|Pos2 { x, y }| format!("{x:.2},{y:.2}")).collect();
    let element = if path.closed { "polygon" } else { "polyline" };
    let _ = writeln!(out, "<{element} points=\"{}\" {}/>", points.join(" "), surface(path.fill, stroke));
}

/// A line of varying width: out along its lower edge, back along the upper one.
fn write_band(out: &mut String, band: &BandShape) {
    if band.points.len() < 2 || band.fill.a() == 0 {
        return;
    }
    let there = band.points.iter().map(|p| (p.x, p.y.min));
    let back = band.points.iter().rev().map(|p| (p.x, p.y.max));
    let points: Vec<String> = there.chain(back).map(|(x, y)| format!("{x:.2},{y:.2}")).collect();
    let turn = if band.angle == 0.0 { String::new() } else { format!(" transform=\"rotate({:.2})\"", band.angle.to_degrees()) };
    let _ = writeln!(out, "<polygon points=\"{}\" {}{turn}/>", points.join(" "), surface(band.fill, band.stroke));
}

/// Each triangle in the mean colour of its corners.
fn write_mesh(out: &mut String, mesh: &Mesh) {
    for triangle in mesh.indices.chunks_exact(3) {
        let corners = [0, 1, 2].map(|i| mesh.vertices[triangle[i] as usize]);
        let color = corners[0].color.lerp_to_gamma(corners[1].color, 0.5).lerp_to_gamma(corners[2].color, 1.0 / 3.0);
        let [a, b, c] = corners.map(|v| v.pos);
        let fill = paint("fill", color);
        let _ = writeln!(out, "<path d=\"M{:.2} {:.2}L{:.2} {:.2}L{:.2} {:.2}Z\" shape-rendering=\"crispEdges\" {fill}/>", a.x, a.y, b.x, b.y, c.x, c.y);
    }
}

fn write_text(out: &mut String, shape: &TextShape) {
    let Some(section) = shape.galley.job.sections.first() else { return };
    let own = if section.format.color == Color32::PLACEHOLDER { shape.fallback_color } else { section.format.color };
    let color = shape.override_text_color.unwrap_or(own).gamma_multiply(shape.opacity_factor);
    for placed in &shape.galley.rows {
        // The icons' font lies in the private use area.
        let text: String = placed.row.glyphs.iter().map(|g| g.chr).filter(|c| !('\u{e000}'..='\u{f8ff}').contains(c)).collect();
        let Some(first) = placed.row.glyphs.first().filter(|_| !text.trim().is_empty()) else { continue };
        let at = shape.pos + placed.pos.to_vec2() + first.pos.to_vec2();
        let turn = match shape.angle {
            0.0 => String::new(),
            angle => format!(" transform=\"rotate({:.2} {:.2} {:.2})\"", angle.to_degrees(), shape.pos.x, shape.pos.y),
        };
        let size = section.format.font_id.size;
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(out, "<text x=\"{:.2}\" y=\"{:.2}\" font-size=\"{size:.1}\" {}{turn}>{escaped}</text>", at.x, at.y, paint("fill", color));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studio::theme;
    use egui::{pos2, vec2};

    #[test]
    fn what_lies_outside_is_left_out_and_what_reaches_out_is_clipped() {
        let tokens = theme::of(egui::Theme::Light);
        let view = Rect::from_min_size(pos2(10.0, 10.0), vec2(100.0, 50.0));
        let line = |y: f32, to: f32| ClippedShape::new(view, Shape::line_segment([pos2(20.0, y), pos2(to, y)], Stroke::new(1.0, *tokens.bad)));
        let shapes = [line(20.0, 50.0), line(30.0, 500.0), line(900.0, 50.0)];
        let svg = document(shapes.iter(), view, *tokens.surface);
        assert_eq!(svg.matches("<line ").count(), 2, "the third lies outside: {svg}");
        assert_eq!(svg.matches("<g clip-path").count(), 1, "the second reaches out: {svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains(&paint("fill", *tokens.surface)), "{svg}");
    }
}
