//! `bench-device`.

use super::print;
use super::session::Session;
use clap::Args;
use halftone_core::bench::{BenchSize, DeviceReport, bench_device, bench_roads};
use halftone_core::compute::DeviceChoice;
use halftone_core::compute::gpu::Gpu;

/// A count, 4e9 being one too.
fn parse_count(text: &str) -> Result<u64, String> {
    text.parse::<f64>().ok().filter(|n| (1.0..1e15).contains(n)).map(|n| n as u64).ok_or_else(|| format!("{text} is no count"))
}

/// Options of `bench-device`.
#[derive(Clone, Debug, Args)]
pub struct BenchDeviceArgs {
    /// gpu (the first there is), or part of an adapter's name
    #[arg(long, default_value = "gpu")]
    pub device: DeviceChoice,
    /// Layers of 4096 on a software device too
    #[arg(long)]
    pub full: bool,
    /// Also quantize layers of a Llama of 8 billion parameters, until about so many weights are done (4e9 is half of it): Q4_K, IQ4_XS, INT4 and GPTQ INT4
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub weights: Option<u64>,
}

/// Times every kernel of a device.
pub fn run(session: &Session, args: &BenchDeviceArgs) -> anyhow::Result<()> {
    if args.device == DeviceChoice::Cpu {
        anyhow::bail!("bench-device times a GPU against its own memory and arithmetic: name one, or none for the first there is");
    }
    let gpu = Gpu::open(&args.device)?;
    let is_software = halftone_core::compute::Backend::capabilities(&gpu).is_software;
    let size = if is_software && !args.full { BenchSize::Small } else { BenchSize::Full };
    let mut report = bench_device(&gpu, size, &session.cx.cancel)?;
    if let Some(weights) = args.weights {
        report.roads = bench_roads(&gpu, &report.peaks, weights, &session.cx.cancel)?;
    }
    print::result(session.global.json, &report, || text(&report) + &roads(&report))
}

/// What a model's worth of layers took, and where the device's time went.
fn roads(report: &DeviceReport) -> String {
    if report.roads.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = report
        .roads
        .iter()
        .map(|road| {
            let kernels: Vec<String> = road.kernels.iter().map(|used| format!("{} {:.2}", used.kernel, used.seconds)).collect();
            vec![
                format!("{} {}", road.format, road.rounding),
                format!("{:.2}", road.weights as f64 / 1e9),
                format!("{:.2}", road.seconds),
                format!("{:.2}", road.factor_seconds),
                format!("{:.2}", road.device_seconds),
                format!("{:.3}", road.floor_seconds),
                kernels.join(", "),
            ]
        })
        .collect();
    format!(
        "\n\nfrom weights to packed bytes, in seconds\n{}",
        print::table(&["road", "1e9 weights", "wall", "factoring H", "device", "memory floor", "kernels"], &rows)
    )
}

fn text(report: &DeviceReport) -> String {
    let rows: Vec<Vec<String>> = report
        .kernels
        .iter()
        .map(|row| {
            vec![
                row.case.to_owned(),
                row.kernel.to_owned(),
                format!("{:.3}", row.seconds * 1e3),
                format!("{:.1}", row.bytes_per_second / 1e9),
                format!("{:.1}", row.operations_per_second / 1e9),
                format!("{:.3}", row.floor_seconds * 1e3),
                format!("{:.1}", row.ratio),
            ]
        })
        .collect();
    format!(
        "{}, {}\nextensions: {}\ntimes: {}\nmemory {:.1} GB/s by a copy, arithmetic {:.1} GFLOP/s in registers\n\n{}",
        report.device.name,
        report.device.driver,
        if report.device.extensions.is_empty() { "none".to_owned() } else { report.device.extensions.join(", ") },
        if report.timestamps { "the device's own" } else { "of whole submits (the device has no timestamps)" },
        report.peaks.bytes_per_second / 1e9,
        report.peaks.operations_per_second / 1e9,
        print::table(&["case", "kernel", "ms", "GB/s", "GFLOP/s", "floor ms", "x floor"], &rows)
    )
}
