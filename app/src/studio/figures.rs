//! Numbers as people read them: a figure and its unit, apart, so that units can be dimmed and columns aligned.

/// A number and its unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// The digits.
    pub value: String,
    /// The unit, may be empty.
    pub unit: &'static str,
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.unit.is_empty() { f.write_str(&self.value) } else { write!(f, "{} {}", self.value, self.unit) }
    }
}

fn scaled(value: f64, steps: &[(f64, &'static str)]) -> Figure {
    let (factor, unit) = steps.iter().copied().find(|(factor, _)| value.abs() >= *factor).unwrap_or(steps[steps.len() - 1]);
    let scaled = value / factor;
    let digits = if factor == 1.0 || scaled.abs() >= 100.0 { 0 } else { 1 + usize::from(scaled.abs() < 10.0) };
    Figure { value: format!("{scaled:.digits$}"), unit }
}

/// Decimal sizes: B, kB, MB = 10⁶ B, GB.
pub fn bytes(bytes: u64) -> Figure {
    scaled(bytes as f64, &[(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")])
}

/// All digits of a size, in groups of three.
pub fn exact_bytes(bytes: u64) -> Figure {
    Figure { value: grouped(bytes), unit: "B" }
}

/// 12345678 → "12,345,678".
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Counts: k, M = 10⁶, B = 10⁹.
pub fn count(value: u64) -> Figure {
    scaled(value as f64, &[(1e9, "B"), (1e6, "M"), (1e3, "k"), (1.0, "")])
}

/// Bytes a second and the like.
pub fn rate(per_sec: f64, unit: &str) -> Figure {
    if unit == "B" {
        scaled(per_sec, &[(1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s"), (1.0, "B/s")])
    } else {
        let unit = match unit {
            "tensor" => "tensors/s",
            "block" => "blocks/s",
            "token" => "tokens/s",
            _ => "/s",
        };
        Figure { value: format!("{per_sec:.1}"), unit }
    }
}

/// Seconds, minutes or hours.
pub fn duration(secs: f64) -> Figure {
    if secs < 60.0 {
        Figure { value: format!("{secs:.1}"), unit: "s" }
    } else if secs < 3600.0 {
        Figure { value: format!("{}:{:02}", secs as u64 / 60, secs as u64 % 60), unit: "min" }
    } else {
        Figure { value: format!("{}:{:02}", secs as u64 / 3600, secs as u64 % 3600 / 60), unit: "h" }
    }
}

/// An estimate of time, as precise as estimates are.
pub fn rough_duration(secs: f64) -> String {
    let whole = |value: f64, unit: &str| format!("{:.0} {unit}", value.max(1.0));
    match secs {
        s if s < 90.0 => whole(s, "s"),
        s if s < 5400.0 => whole(s / 60.0, "min"),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Small errors with three significant digits: 0.0123, 4.56e-5.
pub fn error(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        a if !a.is_finite() => "not finite".to_owned(),
        a if (0.001..1000.0).contains(&a) => {
            let digits = (2 - a.log10().floor() as i32).max(0) as usize;
            format!("{value:.digits$}")
        }
        _ => format!("{value:.2e}"),
    }
}

/// "32 × 64".
pub fn shape(dimensions: &[usize]) -> String {
    dimensions.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ")
}

/// A long path, cut in the middle to about `limit` characters.
pub fn short_path(path: &std::path::Path, limit: usize) -> String {
    let text = path.display().to_string();
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= limit {
        return text;
    }
    let head = limit / 3;
    let tail = limit - head - 1;
    chars[..head].iter().chain(&['…']).chain(&chars[chars.len() - tail..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_with_three_digits() {
        assert_eq!(bytes(90_100_000).to_string(), "90.1 MB", "megabytes are millions");
        assert_eq!(bytes(1_234).to_string(), "1.23 kB", "three digits");
        assert_eq!(exact_bytes(90_100_000).to_string(), "90,100,000 B", "groups of three");
        assert_eq!(bytes(0).to_string(), "0 B", "nothing");
    }

    #[test]
    fn paths_are_cut_in_the_middle() {
        let short = short_path(std::path::Path::new("/a/very/long/path/to/some/model.safetensors"), 20);
        assert_eq!(short.chars().count(), 20, "the limit holds");
        assert!(short.ends_with("safetensors"), "the end stays: {short}");
    }

    #[test]
    fn errors_keep_three_digits_at_any_scale() {
        assert_eq!(error(0.012345), "0.0123", "plain");
        assert_eq!(error(0.000012345), "1.23e-5", "scientific");
        assert_eq!(error(3.0), "3.00", "units");
    }
}
