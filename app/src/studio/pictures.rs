//! Pictures of plots on their way to a file: the window's pixels come back a frame or two after they were asked for, then the user is asked
//! where they go, then the background worker writes them.

use super::app::Studio;
use super::command::Picture;
use super::dialogs::Purpose;
use super::widgets::picture::hidden;
use egui::mutex::Mutex;
use egui::{ColorImage, Rect};
use halftone_core::error::{Error, Result};
use std::path::Path;
use std::sync::Arc;

/// A picture that waits for its place.
#[derive(Clone, Debug)]
pub enum Photo {
    /// To be written as PNG.
    Pixels(ColorImage),
    /// SVG as it is.
    Drawing(String),
}

impl Photo {
    /// Writes it.
    ///
    /// # Errors
    /// `Io`; `Input` when the pixels cannot be encoded.
    pub fn save(&self, path: &Path) -> Result<()> {
        match self {
            Self::Drawing(svg) => halftone_core::job::write_atomically(path, svg.as_bytes()),
            Self::Pixels(image) => {
                let [width, height] = image.size.map(|n| n as u32);
                let rgba: Vec<u8> = image.pixels.iter().flat_map(|p| p.to_srgba_unmultiplied()).collect();
                let mut png = std::io::Cursor::new(Vec::new());
                image::write_buffer_with_format(&mut png, &rgba, width, height, image::ExtendedColorType::Rgba8, image::ImageFormat::Png)
                    .map_err(|e| Error::Input(format!("the picture cannot be encoded: {e}")))?;
                halftone_core::job::write_atomically(path, png.get_ref())
            }
        }
    }
}

/// What was asked for and what came back.
#[derive(Default)]
pub struct Camera {
    name: &'static str,
    /// The rectangle that is wanted, and frames until the window looks as it should.
    aim: Option<(Rect, u8)>,
    developed: Arc<Mutex<Option<ColorImage>>>,
    /// The picture, while the user chooses its place.
    pub photo: Option<Photo>,
}

impl Camera {
    /// A file name for the picture.
    pub fn suggested_name(&self) -> String {
        let extension = if matches!(self.photo, Some(Photo::Drawing(_))) { "svg" } else { "png" };
        format!("{}.{extension}", self.name.to_lowercase().replace(' ', "-"))
    }
}

/// Frames for the menu to close and the buttons in the corners to go.
const SETTLE: u8 = 3;

impl Studio {
    pub(super) fn take_picture(&mut self, name: &'static str, picture: Picture, ctx: &egui::Context) {
        self.camera.name = name;
        match picture {
            Picture::Drawing(svg) => {
                self.camera.photo = Some(Photo::Drawing(svg));
                self.ask(Purpose::Picture);
            }
            Picture::Pixels(rect) => {
                self.camera.aim = Some((rect, SETTLE));
                ctx.data_mut(|d| d.insert_temp(hidden(), true));
            }
        }
    }

    /// Moves a picture on by one frame.
    pub(super) fn develop(&mut self, ctx: &egui::Context) {
        if let Some((rect, frames)) = self.camera.aim.take() {
            ctx.request_repaint();
            if frames > 0 {
                self.camera.aim = Some((rect, frames - 1));
            } else {
                let (developed, scale, wake) = (Arc::clone(&self.camera.developed), ctx.pixels_per_point(), ctx.clone());
                ctx.request_screenshot(move |image| {
                    // The window may have shrunk meanwhile.
                    let seen = rect.intersect(whole(&image, scale));
                    *developed.lock() = Some(if seen.is_positive() { image.region(&seen, Some(scale)) } else { (*image).clone() });
                    wake.request_repaint();
                });
            }
        }
        let developed = self.camera.developed.lock().take();
        if let Some(image) = developed {
            ctx.data_mut(|d| d.insert_temp(hidden(), false));
            self.camera.photo = Some(Photo::Pixels(image));
            self.ask(Purpose::Picture);
        }
    }
}

/// The rectangle of a picture, in points.
fn whole(image: &ColorImage, scale: f32) -> Rect {
    let [width, height] = image.size.map(|n| n as f32 / scale);
    Rect::from_min_size(egui::Pos2::ZERO, egui::vec2(width, height))
}
