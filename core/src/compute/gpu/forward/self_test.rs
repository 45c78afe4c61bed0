//! Small cases of the kernels of the forward pass against their twins, for when each is first used.

use super::super::tiles::floats;
use super::super::{Gpu, Operand};
use crate::error::Result;
use bytemuck::{bytes_of, cast_slice};
use halftone_shaders::Kernel;
use halftone_shaders::twin::gate::Curve;
use halftone_shaders::twin::matmul_quantized::Stored;
use halftone_shaders::twin::round_inputs::Rounding;
use halftone_shaders::twin::{add, attention, embedding, gate, gram, hadamard, logits_compare, matmul, matmul_quantized, norm, rope, round_inputs};

const ROWS: usize = 5;
const COLUMNS: usize = 64;

/// Whether a kernel gives what its twin does, in each of its ways; None for one of other work.
pub(in crate::compute::gpu) fn check(gpu: &Gpu, kernel: Kernel) -> Result<Option<bool>> {
    let holds = match kernel {
        Kernel::Matmul => product(gpu)?,
        Kernel::MatmulQuantized => stored_products(gpu)?,
        Kernel::Gram => gram_matrix(gpu)?,
        Kernel::Norm => normalised(gpu, true)? && normalised(gpu, false)?,
        Kernel::Rope => turned(gpu, true)? && turned(gpu, false)?,
        Kernel::Attention => attended(gpu, 3, 20.0)? && attended(gpu, 0, 0.0)?,
        Kernel::Gate => {
            bent(gpu, Curve::Silu, true)? && bent(gpu, Curve::GeluTanh, true)? && bent(gpu, Curve::Gelu, false)? && bent(gpu, Curve::SoftCap(2.0), false)?
        }
        Kernel::Add => added(gpu)?,
        Kernel::Embedding => gathered(gpu)?,
        Kernel::RoundInputs => rounded(gpu, Rounding::F16)? && rounded(gpu, Rounding::Bf16)? && rounded(gpu, Rounding::Q8_0)? && rounded(gpu, Rounding::Q8K)?,
        Kernel::LogitsCompare => compared(gpu)?,
        Kernel::Hadamard => butterflies(gpu, 16, 4, true)? && butterflies(gpu, 64, 1, false)?,
        _ => return Ok(None),
    };
    Ok(Some(holds))
}

/// Whether the last thing that a dispatch writes is this.
fn gives(gpu: &Gpu, kernel: Kernel, params: &[u8], operands: &[Operand<'_>], workgroups: [u32; 3], want: &[f32]) -> Result<bool> {
    let got = gpu.run_once(kernel, params, operands, workgroups)?;
    let got: Vec<f32> = got.last().map(|bytes| floats(bytes).collect()).unwrap_or_default();
    Ok(got.len() >= want.len() && want.iter().zip(&got).all(|(&w, &g)| near(w, g)))
}

fn x() -> Vec<f32> {
    values(ROWS * COLUMNS, 1)
}

fn y() -> Vec<f32> {
    values(ROWS * COLUMNS, 2)
}

fn input(values: &[f32]) -> Operand<'_> {
    Operand::Input(cast_slice(values))
}

/// A workgroup a row.
const BY_ROW: [u32; 3] = [ROWS as u32, 1, 1];
const OUTPUT: Operand<'_> = Operand::Output(ROWS * COLUMNS * 4);

/// More than one workgroup each way, so that every place of a workgroup's piece is looked at.
fn product(gpu: &Gpu) -> Result<bool> {
    const INNER: usize = 19;
    let (x, y, bias, mut want) = (values(130 * INNER, 1), values(131 * INNER, 2), values(131, 3), vec![0.0; 130 * 131]);
    let params =
        matmul::Params { rows: 130, outputs: 131, y_columns: 131, inner: INNER as u32, columns: INNER as u32, mode: matmul::BIAS, ..Default::default() };
    matmul::matmul(&x, &y, INNER, &bias, &mut want);
    let operands = [input(&x), input(&y), input(&bias), Operand::Output(want.len() * 4)];
    gives(gpu, Kernel::Matmul, bytes_of(&params), &operands, [2, 2, 1], &want)
}

fn gram_matrix(gpu: &Gpu) -> Result<bool> {
    const WIDE: usize = 130;
    let (x, mut want) = (values(9 * WIDE, 1), vec![0.0; WIDE * WIDE]);
    gram::gram(&x, WIDE, 0, &mut want);
    let params = gram::Params { tokens: 9, columns: 130, rows: 130, ..Default::default() };
    gives(gpu, Kernel::Gram, bytes_of(&params), &[input(&x), Operand::Output(want.len() * 4)], [2, 2, 1], &want)
}

fn normalised(gpu: &Gpu, is_centred: bool) -> Result<bool> {
    let (x, y, mut want) = (x(), y(), vec![0.0; ROWS * COLUMNS]);
    let (gamma, beta) = (&y[..COLUMNS], &y[COLUMNS..2 * COLUMNS]);
    norm::norm(&x, gamma, if is_centred { beta } else { &[] }, 1e-5, &mut want);
    let params = norm::Params { rows: 5, columns: 64, centred: is_centred.into(), eps: 1e-5 };
    gives(gpu, Kernel::Norm, bytes_of(&params), &[input(&x), input(gamma), input(beta), OUTPUT], BY_ROW, &want)
}

fn turned(gpu: &Gpu, is_interleaved: bool) -> Result<bool> {
    let angles: Vec<[f32; 2]> = (0..ROWS * 8).map(|i| [(i as f32).cos(), (i as f32).sin()]).collect();
    let (positions, x) = ([4u32, 3, 2, 1, 0], x());
    let mut want = x.clone();
    rope::rope(&mut want, 4, 16, &angles, 8, &positions, is_interleaved);
    let params = rope::Params { tokens: 5, heads: 4, dim: 16, pairs: 8, interleaved: is_interleaved.into(), ..Default::default() };
    let [angles, positions] = [cast_slice(&angles), cast_slice(&positions)].map(Operand::Input);
    gives(gpu, Kernel::Rope, bytes_of(&params), &[angles, positions, Operand::Changed(cast_slice(&x))], BY_ROW, &want)
}

/// Two tiles of queries, two query heads of 40 channels a key head.
fn attended(gpu: &Gpu, window: u32, cap: f32) -> Result<bool> {
    let (q, k, v, mut want) = (values(40 * 80, 1), values(40 * 40, 2), values(40 * 40, 3), vec![0.0; 40 * 80]);
    let tile = |query, queries| attention::Tile { query, queries, key: 0, keys: 40, own: query, padding: [0; 3] };
    let tiles = [tile(0, 32), tile(32, 8)];
    let params = attention::Params { query_heads: 2, key_heads: 1, dim: 40, causal: u32::from(window > 0), window, scale: 0.25, cap, padding: 0 };
    attention::attention(&params, &q, &k, &v, &tiles, &mut want);
    let operands = [input(&q), input(&k), input(&v), Operand::Input(cast_slice(&tiles)), Operand::Output(want.len() * 4)];
    gives(gpu, Kernel::Attention, bytes_of(&params), &operands, [2, 2, 1], &want)
}

fn bent(gpu: &Gpu, curve: Curve, is_gated: bool) -> Result<bool> {
    let (x, y) = (x(), y());
    let mut want = x.clone();
    gate::gate(curve, &mut want, if is_gated { &y } else { &[] });
    let cap = if let Curve::SoftCap(cap) = curve { cap } else { 0.0 };
    let params = gate::Params { count: x.len() as u32, curve: curve.number(), gated: is_gated.into(), cap };
    gives(gpu, Kernel::Gate, bytes_of(&params), &[input(&y), Operand::Changed(cast_slice(&x))], BY_ROW, &want)
}

fn added(gpu: &Gpu) -> Result<bool> {
    let (x, y) = (x(), y());
    let mut want = x.clone();
    let list: Vec<add::Entry> = (0..ROWS as u32).map(|row| add::Entry { row: 4 - row, share: 0.5 }).collect();
    add::add(&mut want, &y, COLUMNS, &list);
    let params = add::Params { rows: 5, columns: 64, listed: 1, padding: 0 };
    gives(gpu, Kernel::Add, bytes_of(&params), &[input(&y), Operand::Input(cast_slice(&list)), Operand::Changed(cast_slice(&x))], BY_ROW, &want)
}

fn gathered(gpu: &Gpu) -> Result<bool> {
    let (x, numbers, mut want) = (x(), [3u32, 0, 4, 4, 1], vec![0.0; ROWS * COLUMNS]);
    embedding::embedding(&x, COLUMNS, &numbers, 0.5, &mut want);
    let params = embedding::Params { count: 5, columns: 64, rows: 5, scale: 0.5, ..Default::default() };
    gives(gpu, Kernel::Embedding, bytes_of(&params), &[input(&x), Operand::Input(cast_slice(&numbers)), OUTPUT], BY_ROW, &want)
}

/// Workgroups of three lines, the last of less.
fn butterflies(gpu: &Gpu, length: usize, stride: usize, is_signed: bool) -> Result<bool> {
    let (x, y) = (x(), y());
    let mut rows: Vec<f64> = x.iter().zip(&y).map(|(v, sign)| f64::from(*v) * if is_signed { f64::from(*sign) } else { 1.0 }).collect();
    hadamard::hadamard(&mut rows, length, stride, 0.25);
    let want: Vec<f32> = rows.iter().map(|v| *v as f32).collect();
    let (count, lines) = (x.len() as u32, 3);
    let (length, stride) = (length as u32, stride as u32);
    let params = hadamard::Params { count, size: count, length, stride, lines, signed: is_signed.into(), scale: 0.25, padding: 0 };
    let workgroups = [(count / length).div_ceil(lines), 1, 1];
    gives(gpu, Kernel::Hadamard, bytes_of(&params), &[input(&y), Operand::Changed(cast_slice(&x))], workgroups, &want)
}

/// Blocks of 256 are the longest. A step that falls otherwise on a tie is a difference of one part in 127 of the largest value.
fn rounded(gpu: &Gpu, rounding: Rounding) -> Result<bool> {
    let x = values(2 * 256, 1);
    let mut want = x.clone();
    round_inputs::round_inputs(rounding, &mut want, 256);
    let params = round_inputs::Params { rows: 2, columns: 256, rounding: rounding.number(), padding: 0 };
    gives(gpu, Kernel::RoundInputs, bytes_of(&params), &[input(&x), Operand::Output(x.len() * 4)], [2, 1, 1], &want)
}

/// Logits in halves, so that many are equal.
fn compared(gpu: &Gpu) -> Result<bool> {
    let ([x, y], targets) = ([x(), y()].map(|logits| logits.iter().map(|v| (2.0 * v).round() / 2.0).collect::<Vec<_>>()), [1u32, 2, 3, 4, 5]);
    let rows = logits_compare::logits_compare(&x, &y, COLUMNS, &targets, logits_compare::TOP);
    let params = logits_compare::Params { rows: 5, columns: 64, first_target: 0, top: logits_compare::TOP as u32 };
    let results = Operand::Output(ROWS * size_of::<logits_compare::Row>());
    let operands = [input(&x), input(&y), Operand::Input(cast_slice(&targets)), results];
    let got = gpu.run_once(Kernel::LogitsCompare, bytes_of(&params), &operands, BY_ROW)?;
    let got: Vec<logits_compare::Row> = got[0].chunks_exact(size_of::<logits_compare::Row>()).map(bytemuck::pod_read_unaligned).collect();
    let alike = |(w, g): (&logits_compare::Row, &logits_compare::Row)| {
        let floats = [(w.divergence, g.divergence), (w.nll_before, g.nll_before), (w.nll_after, g.nll_after)];
        floats.iter().all(|&(w, g)| near(w, g)) && (w.top_before, w.top_after) == (g.top_before, g.top_after)
    };
    Ok(got.len() >= ROWS && rows.iter().zip(&got).all(alike))
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
