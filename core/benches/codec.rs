//! Encoders and decoders on 4 Mi weights in rows of 4096; divan reports bytes of f32 a second.

use halftone_core::codec::Format;
use rand::{Rng, SeedableRng};

const COLUMNS: usize = 4096;
const FORMATS: &[&str] = &[
    "F16",
    "Q8_0",
    "Q4_0",
    "Q4_1",
    "Q5_0",
    "Q5_1",
    "IQ4_NL",
    "IQ4_XS",
    "Q2_K",
    "Q3_K",
    "Q4_K",
    "Q5_K",
    "Q6_K",
    "IQ3_S",
    "IQ3_XXS",
    "IQ2_S",
    "IQ2_XS",
    "IQ2_XXS",
    "IQ1_M",
    "IQ1_S",
    "TQ2_0",
    "TQ1_0",
    "Q2_0",
    "Q1_0",
    "MXFP4",
    "NVFP4",
    "INT4-g128",
    "INT4-g128-asym",
];

fn main() {
    divan::main();
}

fn weights() -> Vec<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    (0..1024 * COLUMNS).map(|_| 0.1 * rng.random_range(-1.0f32..1.0).powi(3)).collect()
}

fn format(name: &str) -> Format {
    name.parse().expect("a known format")
}

#[divan::bench(args = FORMATS, sample_count = 5)]
fn encode(bencher: divan::Bencher<'_, '_>, name: &str) {
    let (format, weights) = (format(name), weights());
    bencher.counter(divan::counter::BytesCount::of_slice(&weights)).bench(|| format.encode(&weights, COLUMNS, None));
}

#[divan::bench(args = FORMATS, sample_count = 5)]
fn encode_by_importance(bencher: divan::Bencher<'_, '_>, name: &str) {
    let (format, weights) = (format(name), weights());
    let importance: Vec<f32> = (0..COLUMNS).map(|i| 1.0 + (i % 17) as f32).collect();
    bencher.counter(divan::counter::BytesCount::of_slice(&weights)).bench(|| format.encode(&weights, COLUMNS, Some(&importance)));
}

#[divan::bench(args = FORMATS, sample_count = 5)]
fn decode(bencher: divan::Bencher<'_, '_>, name: &str) {
    let (format, mut values) = (format(name), weights());
    let bytes = format.encode(&values, COLUMNS, None).expect("encode");
    bencher.counter(divan::counter::BytesCount::of_slice(&values)).bench_local(|| format.decode(&bytes, &mut values));
}
