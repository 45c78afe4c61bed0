//! `bench-device`.

use super::args::BenchDeviceArgs;
use super::print;
use super::session::Session;
use halftone_core::compute::bench::{BenchSize, DeviceReport, bench_device, bench_roads};
use halftone_core::compute::gpu::Gpu;

/// Times every kernel of a device.
pub fn run(session: &Session, args: &BenchDeviceArgs) -> anyhow::Result<()> {
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
        "{}, {}\ntimes: {}\nmemory {:.1} GB/s by a copy, arithmetic {:.1} GFLOP/s in registers\n\n{}",
        report.device.name,
        report.device.driver,
        if report.timestamps { "the device's own" } else { "of whole submits (the device has no timestamps)" },
        report.peaks.bytes_per_second / 1e9,
        report.peaks.operations_per_second / 1e9,
        print::table(&["case", "kernel", "ms", "GB/s", "GFLOP/s", "floor ms", "x floor"], &rows)
    )
}
