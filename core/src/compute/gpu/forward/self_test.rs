//! Small cases of the kernels of the forward pass against their twins, for when each is first used.

use super::super::tiles::floats;
use super::super::{Gpu, Operand};
use crate::error::Result;
use bytemuck::{bytes_of, cast_slice};
use halftone_shaders::Kernel;
use halftone_shaders::twin::matmul_quantized::Stored;
use halftone_shaders::twin::{add, attention, embedding, gate, gram, hadamard, logits_compare, matmul, matmul_quantized, norm, rope, round_inputs};

const ROWS: usize = 5;
const COLUMNS: usize = 64;

/// Whether a kernel gives what its twin does; None for one of other work.
pub(in crate::compute::gpu) fn check(gpu: &Gpu, kernel: Kernel) -> Result<Option<bool>> {
    let (x, y) = (values(ROWS * COLUMNS, 1), values(ROWS * COLUMNS, 2));
    let (bits, other) = (Operand::Input(cast_slice(&x)), Operand::Input(cast_slice(&y)));
    let size = x.len();
    let mut want = vec![0.0; size];
    let run = |params: &[u8], operands: &[Operand<'_>]| gpu.run_once(kernel, params, operands, [ROWS as u32, 1, 1]);
    let got = match kernel {
        Kernel::Matmul => {
            want = vec![0.0; ROWS * ROWS];
            let params = matmul::Params { rows: 5, outputs: 5, y_columns: 5, inner: 64, columns: 64, ..Default::default() };
            matmul::matmul(&x, &y, COLUMNS, &[], &mut want);
            gpu.run_once(kernel, bytes_of(&params), &[bits, other, other, Operand::Output(100)], [1, 1, 1])?
        }
        Kernel::MatmulQuantized => return stored_products(gpu).map(Some),
        Kernel::Gram => {
            want = vec![0.0; COLUMNS * COLUMNS];
            gram::gram(&x, COLUMNS, 0, &mut want);
            let params = gram::Params { tokens: 5, columns: 64, rows: 64, ..Default::default() };
            gpu.run_once(kernel, bytes_of(&params), &[bits, Operand::Output(want.len() * 4)], [1, 1, 1])?
        }
        Kernel::Norm => {
            norm::norm(&x, &y[..COLUMNS], &y[COLUMNS..2 * COLUMNS], 1e-5, &mut want);
            let params = norm::Params { rows: 5, columns: 64, centred: 1, eps: 1e-5 };
            run(bytes_of(&params), &[bits, other, Operand::Input(cast_slice(&y[COLUMNS..])), Operand::Output(size * 4)])?
        }
        Kernel::Rope => {
            let angles: Vec<[f32; 2]> = (0..ROWS * 8).map(|i| [(i as f32).cos(), (i as f32).sin()]).collect();
            let positions = [4u32, 3, 2, 1, 0];
            want.clone_from(&x);
            rope::rope(&mut want, 4, 16, &angles, 8, &positions, false);
            let params = rope::Params { tokens: 5, heads: 4, dim: 16, pairs: 8, ..Default::default() };
            let [angles, positions] = [cast_slice(&angles), cast_slice(&positions)].map(Operand::Input);
            run(bytes_of(&params), &[angles, positions, Operand::Changed(cast_slice(&x))])?
        }
        Kernel::Attention => {
            let tiles = [attention::Tile { query: 0, queries: 5, key: 0, keys: 5, own: 0, padding: [0; 3] }];
            let params = attention::Params { query_heads: 4, key_heads: 4, dim: 16, causal: 1, window: 3, scale: 0.25, cap: 20.0, padding: 0 };
            attention::attention(&params, &x, &y, &x, &tiles, &mut want);
            let tiles = Operand::Input(cast_slice(&tiles));
            gpu.run_once(kernel, bytes_of(&params), &[bits, other, bits, tiles, Operand::Output(size * 4)], [1, 4, 1])?
        }
        Kernel::Gate => {
            want.clone_from(&x);
            gate::gate(gate::Curve::Silu, &mut want, &y);
            let params = gate::Params { count: size as u32, curve: gate::Curve::Silu.number(), gated: 1, cap: 0.0 };
            run(bytes_of(&params), &[other, Operand::Changed(cast_slice(&x))])?
        }
        Kernel::Add => {
            want.clone_from(&x);
            let list: Vec<add::Entry> = (0..ROWS as u32).map(|row| add::Entry { row: 4 - row, share: 0.5 }).collect();
            add::add(&mut want, &y, COLUMNS, &list);
            let params = add::Params { rows: 5, columns: 64, listed: 1, padding: 0 };
            run(bytes_of(&params), &[other, Operand::Input(cast_slice(&list)), Operand::Changed(cast_slice(&x))])?
        }
        Kernel::Embedding => {
            let numbers = [3u32, 0, 4, 4, 1];
            embedding::embedding(&x, COLUMNS, &numbers, 0.5, &mut want);
            let params = embedding::Params { count: 5, columns: 64, rows: 5, scale: 0.5, ..Default::default() };
            run(bytes_of(&params), &[bits, Operand::Input(cast_slice(&numbers)), Operand::Output(size * 4)])?
        }
        Kernel::RoundInputs => {
            want.clone_from(&x);
            round_inputs::round_inputs(round_inputs::Rounding::F16, &mut want, COLUMNS);
            let params = round_inputs::Params { rows: 5, columns: 64, rounding: round_inputs::Rounding::F16.number(), padding: 0 };
            run(bytes_of(&params), &[bits, Operand::Output(size * 4)])?
        }
        Kernel::LogitsCompare => {
            let targets = [1u32, 2, 3, 4, 5];
            let rows = logits_compare::logits_compare(&x, &y, COLUMNS, &targets, logits_compare::TOP);
            let params = logits_compare::Params { rows: 5, columns: 64, first_target: 0, top: logits_compare::TOP as u32 };
            let results = Operand::Output(ROWS * size_of::<logits_compare::Row>());
            let got = run(bytes_of(&params), &[bits, other, Operand::Input(cast_slice(&targets)), results])?;
            let got: Vec<logits_compare::Row> = got[0].chunks_exact(size_of::<logits_compare::Row>()).map(bytemuck::pod_read_unaligned).collect();
            let alike = |(w, g): (&logits_compare::Row, &logits_compare::Row)| {
                let floats = [(w.divergence, g.divergence), (w.nll_before, g.nll_before), (w.nll_after, g.nll_after)];
                floats.iter().all(|&(w, g)| near(w, g)) && (w.top_before, w.top_after) == (g.top_before, g.top_after)
            };
            return Ok(Some(got.len() >= ROWS && rows.iter().zip(&got).all(alike)));
        }
        Kernel::Hadamard => {
            let mut rows: Vec<f64> = x.iter().zip(y.iter().cycle()).map(|(v, sign)| f64::from(*v) * f64::from(*sign)).collect();
            hadamard::hadamard(&mut rows, 16, 4, 0.25);
            want = rows.iter().map(|v| *v as f32).collect();
            let params = hadamard::Params { count: size as u32, size: size as u32, signed: 1, ..hadamard::passes(16, 4)[0] };
            run(bytes_of(&params), &[other, Operand::Changed(cast_slice(&x))])?
        }
        _ => return Ok(None),
    };
    let got: Vec<f32> = got.last().map(|bytes| floats(bytes).collect()).unwrap_or_default();
    Ok(Some(got.len() >= want.len() && want.iter().zip(&got).all(|(&w, &g)| near(w, g))))
}

/// One row of weights in every stored form. No half that a byte pattern makes is infinite; one row of them is subnormal, under inputs that
/// make up for it.
fn stored_products(gpu: &Gpu) -> Result<bool> {
    const WIDE: usize = 256;
    let (three, eight) = (Stored::Int { bits: 3, group: 32, symmetric: false }, Stored::Int { bits: 8, group: 64, symmetric: true });
    let others = [Stored::F16, Stored::Bf16, Stored::Q4_0, Stored::Q8_0, Stored::Q4K, Stored::Q5K, Stored::Q6K, three, eight];
    for (stored, mask, size) in std::iter::once((Stored::F16, 0x03, 1e7)).chain(others.map(|stored| (stored, 0x3f, 1.0))) {
        let row: Vec<u8> = (0..stored.row_bytes(WIDE)).map(|i| (i * 37 % 251) as u8 & mask).collect();
        let x: Vec<f32> = values(ROWS * WIDE, 1).iter().map(|x| x * size).collect();
        let mut want = [0.0; ROWS];
        matmul_quantized::matmul_quantized(&x, stored, &row, WIDE, &[], &mut want);
        let (group, bits) = if let Stored::Int { bits, group, .. } = stored { (group, bits) } else { (0, 0) };
        let (format, row_bytes) = (stored.number(), row.len() as u32);
        let params = matmul::Params { rows: 5, outputs: 1, y_columns: 1, inner: 256, columns: 256, format, row_bytes, group, bits, ..Default::default() };
        // The kernel reads whole words.
        let row: Vec<u8> = row.iter().copied().chain([0; 16]).take(row.len().next_multiple_of(16)).collect();
        let operands = [Operand::Input(cast_slice(&x)), Operand::Input(&row), Operand::Input(&row), Operand::Output(ROWS * 4)];
        let got = gpu.run_once(Kernel::MatmulQuantized, bytes_of(&params), &operands, [1, 1, 1])?;
        if !want.iter().zip(floats(&got[0])).all(|(&w, g)| near(w, g)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Far wider than any kernel's tolerance, far narrower than what a broken one gives.
fn near(want: f32, got: f32) -> bool {
    (want - got).abs() <= 1e-3 * (1.0 + want.abs())
}

fn values(count: usize, salt: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 2_654_435_761 + salt * 7919) % 1013) as f32 / 300.0 - 1.6).collect()
}
