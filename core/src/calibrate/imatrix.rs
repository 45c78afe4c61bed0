//! llama.cpp's importance matrix files.

use super::Calibration;
use crate::error::Result;
use std::path::Path;

/// Writes a GGUF imatrix (`<tensor>.in_sum2`, `<tensor>.counts`) that llama-quantize loads.
///
/// # Errors
/// `Io`.
pub fn write_imatrix(calibration: &Calibration, path: &Path) -> Result<()> {
    let _ = (calibration, path);
    todo!("calibrate room")
}

/// Reads a GGUF or legacy .dat imatrix as a calibration without Gram matrices.
///
/// # Errors
/// `Io`, `Malformed`.
pub fn read_imatrix(path: &Path, model_fingerprint: &str) -> Result<Calibration> {
    let _ = (path, model_fingerprint);
    todo!("calibrate room")
}
