//! Budgets in the user's words.

use serde::{Deserialize, Serialize};

/// How large, or how wrong, the file may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// At most this many bytes in the file.
    FileBytes(u64),
    /// At most this many bits per quantizable weight, scales included.
    BitsPerWeight(f64),
    /// The smallest file whose predicted cost (KL, where measured) is at most this.
    MaxCost(f64),
}

/// Parses `90MB`, `1.5GiB`, `90000000B`: B, kB, MB = 10⁶, GB, KiB, MiB = 2²⁰, GiB.
///
/// # Errors
/// `Input` naming what was not understood.
pub fn parse_size(text: &str) -> crate::Result<u64> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: f64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(crate::Error::Input(format!("unknown unit {unit} in the size {text}; use B, kB, MB, GB, KiB, MiB or GiB"))),
    };
    let value: f64 = number.trim().parse().map_err(|_| crate::Error::Input(format!("{text} is not a size; write for example 90MB")))?;
    if !(value.is_finite() && value > 0.0) {
        return Err(crate::Error::Input(format!("the size {text} is not above zero")));
    }
    Ok((value * factor).floor() as u64)
}
