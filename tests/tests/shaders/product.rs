//! Products, of plain and of stored weights, within the stated tolerance in the worst row.

use super::{extended_and_plain, gpu, normal};
use halftone_core::codec::Format;
use halftone_core::compute::gpu::forward::{Matrix, Product, Rows};
use halftone_core::error::Error;
use halftone_shaders::twin::matmul::{TOLERANCE, matmul};
use halftone_shaders::twin::matmul_quantized::{Stored, matmul_quantized};

/// The largest departure of a value, in units of the tolerance.
fn worst(x: &[f32], weight: &[f32], columns: usize, bias: &[f32], want: &[f32], got: &[f32]) -> f64 {
    let outputs = weight.len() / columns;
    assert_eq!(want.len(), got.len(), "as many values");
    let departure = |(at, (want, got)): (usize, (&f32, &f32))| {
        let (row, weight) = (&x[at / outputs * columns..][..columns], &weight[at % outputs * columns..][..columns]);
        let products: f64 = row.iter().zip(weight).map(|(a, b)| f64::from(a * b).abs()).sum();
        (f64::from(*want) - f64::from(*got)).abs() / (TOLERANCE * (products + bias.get(at % outputs).map_or(0.0, |b| f64::from(b.abs()))) + 1e-30)
    };
    want.iter().zip(got).enumerate().map(departure).fold(0.0, |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) })
}

#[test]
fn products_of_any_size_are_within_their_tolerance() {
    for (rows, outputs, columns, seed) in [(1, 1, 1, 1), (3, 130, 7, 2), (128, 128, 64, 3), (129, 257, 33, 4), (40, 96, 513, 5)] {
        let (x, weight, bias) = (normal(rows * columns, seed), normal(outputs * columns, seed + 50), normal(outputs, seed + 90));
        let (there, matrix) = (Rows::upload(gpu(), &x, columns).unwrap(), Matrix::upload(gpu(), &weight, columns).unwrap());
        for (bias, halved) in [(&bias[..0], false), (&bias[..], false), (&bias[..], true)] {
            let resident = (!bias.is_empty()).then(|| Rows::upload(gpu(), bias, outputs).unwrap());
            let mut want = vec![0.0; rows * outputs];
            matmul(&x, &weight, columns, bias, &mut want);
            let product = Product { rows: 0..rows, outputs: 0..outputs, halved };
            let mut got = there.times(&matrix, resident.as_ref(), &product).unwrap().read().unwrap();
            let departure = worst(&x, &weight, columns, bias, &want, &got);
            assert!(departure <= 1.0, "{rows} × {columns} · {outputs}, halved {halved}: {departure} tolerances");
            let last = got.len() - 1;
            got[last] += 1e-3 * (got[last].abs() + 1.0);
            assert!(worst(&x, &weight, columns, bias, &want, &got) > 1.0, "a changed value must be seen");
        }
    }
}

#[test]
fn a_part_of_a_product_is_that_part_of_the_whole() {
    let (x, weight, bias) = (normal(50 * 40, 7), normal(300 * 40, 8), normal(300, 9));
    let mut whole = vec![0.0; 50 * 300];
    matmul(&x, &weight, 40, &bias, &mut whole);
    let (x, weight) = (Rows::upload(gpu(), &x, 40).unwrap(), Matrix::upload(gpu(), &weight, 40).unwrap());
    let bias = Rows::upload(gpu(), &bias, 300).unwrap();
    let part = x.times(&weight, Some(&bias), &Product { rows: 11..42, outputs: 100..290, halved: false }).unwrap().read().unwrap();
    for (row, values) in part.chunks_exact(190).enumerate() {
        for (output, value) in values.iter().enumerate() {
            let want = whole[(row + 11) * 300 + output + 100];
            assert!((value - want).abs() < 1e-3, "row {row}, output {output}: {value} instead of {want}");
        }
    }
    let refused = x.times(&weight, None, &Product { rows: 0..51, outputs: 0..300, halved: false });
    assert!(matches!(refused, Err(Error::Mismatch { .. })), "more rows than there are");
}

/// The forms the kernel reads, and what the codecs call them.
fn stored() -> Vec<(Stored, Format)> {
    let int = |bits, group, symmetric| Stored::Int { bits, group, symmetric };
    [
        (Stored::F16, "F16"),
        (Stored::Bf16, "BF16"),
        (Stored::Q4_0, "Q4_0"),
        (Stored::Q8_0, "Q8_0"),
        (Stored::Q4K, "Q4_K"),
        (Stored::Q5K, "Q5_K"),
        (Stored::Q6K, "Q6_K"),
        (int(4, 128, true), "INT4-g128"),
        (int(3, 32, false), "INT3-g32-asym"),
        (int(8, 64, false), "INT8-g64-asym"),
        (int(5, 64, true), "INT5-g64"),
    ]
    .map(|(stored, name)| (stored, name.parse().unwrap()))
    .to_vec()
}

#[test]
fn stored_weights_decode_as_their_codecs_do_and_their_products_are_within_tolerance() {
    const COLUMNS: usize = 512;
    for ((stored, format), gpu) in stored().into_iter().flat_map(|case| extended_and_plain().map(|gpu| (case, gpu))) {
        let (rows, outputs) = (20, 140);
        let (x, values) = (normal(rows * COLUMNS, 21), normal(outputs * COLUMNS, 22));
        let bytes = format.encode(&values, COLUMNS, None).unwrap();
        let mut decoded = vec![0.0; values.len()];
        format.decode(&bytes, &mut decoded);
        let row_bytes = stored.row_bytes(COLUMNS);
        assert_eq!(bytes.len(), outputs * row_bytes, "{format}: bytes of a row");
        for (at, want) in decoded.iter().enumerate() {
            let got = stored.value(&bytes[at / COLUMNS * row_bytes..][..row_bytes], at % COLUMNS);
            assert_eq!(got.to_bits(), want.to_bits(), "{format}: column {} is {got} instead of {want}", at % COLUMNS);
        }

        let mut want = vec![0.0; rows * outputs];
        matmul_quantized(&x, stored, &bytes, COLUMNS, &[], &mut want);
        let (x_there, matrix) = (Rows::upload(gpu, &x, COLUMNS).unwrap(), Matrix::upload_stored(gpu, stored, &bytes, COLUMNS).unwrap());
        let product = Product { rows: 0..rows, outputs: 0..outputs, halved: false };
        let got = x_there.times(&matrix, None, &product).unwrap().read().unwrap();
        let departure = worst(&x, &decoded, COLUMNS, &[], &want, &got);
        assert!(departure <= 1.0, "{format}: {departure} tolerances");

        // One bit of one scale or code more, and it shows.
        let mut spoiled = bytes.to_vec();
        spoiled[row_bytes + 1] ^= 1;
        let matrix = Matrix::upload_stored(gpu, stored, &spoiled, COLUMNS).unwrap();
        let got = x_there.times(&matrix, None, &product).unwrap().read().unwrap();
        assert!(worst(&x, &decoded, COLUMNS, &[], &want, &got) > 1.0, "{format}: a changed bit must be seen");
    }
}

#[test]
fn halves_that_are_subnormal_or_infinite_are_exact() {
    let halves: Vec<u16> = vec![0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0xfbff, 0x3c01];
    let bytes: Vec<u8> = halves.iter().flat_map(|h| h.to_le_bytes()).collect();
    let unit: Vec<f32> = (0..64).map(|i| if i % 9 == 0 { 1.0 } else { 0.0 }).collect();
    for gpu in extended_and_plain() {
        let matrix = Matrix::upload_stored(gpu, Stored::F16, &bytes, 8).unwrap();
        let got = Rows::upload(gpu, &unit, 8).unwrap().times(&matrix, None, &Product { rows: 0..8, outputs: 0..1, halved: false }).unwrap().read().unwrap();
        let want: Vec<f32> = halves.iter().map(|h| half::f16::from_bits(*h).to_f32()).collect();
        assert_eq!(got, want, "each alone");
    }
}
