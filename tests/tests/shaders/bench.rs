//! The table of `bench-device`.

use super::gpu;
use halftone_core::bench::{BenchSize, bench_device, case_names};
use halftone_core::job::CancelToken;

#[test]
fn every_case_is_timed_and_none_beats_its_floor() {
    let report = bench_device(gpu(), BenchSize::Small, &CancelToken::default()).expect("bench");
    for name in case_names() {
        let rows: Vec<_> = report.kernels.iter().filter(|row| row.case == name).collect();
        assert!(!rows.is_empty() && rows.iter().all(|row| row.seconds > 0.0 && row.ratio > 0.7), "{name}: {rows:?}");
    }
    assert!(report.peaks.bytes_per_second > 1e8 && report.peaks.operations_per_second > 1e8, "{:?}", report.peaks);
}
