//! The table of cases: adding a kernel to the bench is a line and a function.

use super::{Case, Operands};
use crate::codec::Format;
use crate::compute::gpu::forward::{Attention, GramSum, LogitRows, Matrix, NormWeights, Product, Rows, Sequence, Turns};
use crate::compute::gpu::{Feedback, Gpu, Levels};
use crate::compute::{Backend, KernelCall};
use crate::error::Result;
use crate::numeric::rotation::Rotation;
use halftone_shaders::twin::gate::Curve;
use halftone_shaders::twin::lloyd_step::Tally;

/// Channels of a head in the cases of attention.
const HEAD: usize = 64;

pub(super) const CASES: &[Case] = &[
    Case { name: "weight statistics", run: statistics },
    Case { name: "Q4_0, scale search", run: |gpu, o| encode(gpu, o, "Q4_0") },
    Case { name: "Q8_0", run: |gpu, o| encode(gpu, o, "Q8_0") },
    Case { name: "IQ4_NL, scale search", run: |gpu, o| encode(gpu, o, "IQ4_NL") },
    Case { name: "Q4_1, scale search", run: |gpu, o| encode(gpu, o, "Q4_1") },
    Case { name: "Q3_K, scale search", run: |gpu, o| encode(gpu, o, "Q3_K") },
    Case { name: "Q6_K, scale search", run: |gpu, o| encode(gpu, o, "Q6_K") },
    Case { name: "IQ4_XS, scale search", run: |gpu, o| encode(gpu, o, "IQ4_XS") },
    Case { name: "Q2_K, scale search", run: |gpu, o| encode(gpu, o, "Q2_K") },
    Case { name: "Q4_K, scale search", run: |gpu, o| encode(gpu, o, "Q4_K") },
    Case { name: "Q5_K, scale search", run: |gpu, o| encode(gpu, o, "Q5_K") },
    Case { name: "IQ2_XS, scale and row search", run: |gpu, o| encode(gpu, o, "IQ2_XS") },
    Case { name: "IQ3_S, scale and row search", run: |gpu, o| encode(gpu, o, "IQ3_S") },
    Case { name: "MXFP4, scale search", run: |gpu, o| encode(gpu, o, "MXFP4") },
    Case { name: "NVFP4, scale search", run: |gpu, o| encode(gpu, o, "NVFP4") },
    Case { name: "INT4-g128, scale search", run: |gpu, o| encode(gpu, o, "INT4-g128") },
    Case { name: "INT4-g128-asym, scale search", run: |gpu, o| encode(gpu, o, "INT4-g128-asym") },
    Case { name: "FP8-E4M3-g128, scale search", run: |gpu, o| encode(gpu, o, "FP8-E4M3-g128") },
    Case { name: "layer error", run: layer_error },
    Case { name: "GPTQ INT4-g128, columns and updates", run: feedback },
    Case { name: "x·Wᵀ", run: |gpu, o| product(o, &Matrix::upload(gpu, &o.weights, o.side)?, gpu) },
    Case { name: "x·Wᵀ of stored Q4_K", run: |gpu, o| stored_product(gpu, o, "Q4_K") },
    Case { name: "x·Wᵀ of stored Q8_0", run: |gpu, o| stored_product(gpu, o, "Q8_0") },
    Case { name: "XᵀX", run: gram },
    Case { name: "rotation, 2^k channels", run: |gpu, o| rotation(gpu, o, o.side) },
    Case { name: "rotation, 28·2^k channels", run: |gpu, o| rotation(gpu, o, o.side / 8 * 7) },
    Case { name: "Lloyd step, 16 levels under scales of 64", run: lloyd_step },
    Case { name: "RMS norm", run: norm },
    Case { name: "rotary positions", run: rotary },
    Case { name: "attention, causal, four queries a key", run: attention },
    Case { name: "SiLU·mul", run: gate },
    Case { name: "KL of logits", run: logits },
];

fn statistics(gpu: &Gpu, o: &Operands) -> Result<()> {
    let (mut histogram, mut sums) = ([0u64; halftone_shaders::twin::statistics::BINS], [0.0f64; 6]);
    gpu.run(KernelCall::Statistics { values: &o.weights, absmax: 0.04, histogram: &mut histogram, sums: &mut sums }, &o.cancel)
}

fn encode(gpu: &Gpu, o: &Operands, name: &str) -> Result<()> {
    let format: Format = name.parse()?;
    let mut bytes = vec![0; format.tensor_bytes(o.weights.len() / o.side, o.side) as usize];
    gpu.run(KernelCall::Encode { format, weights: &o.weights, columns: o.side, importance: &o.importance, bytes: &mut bytes }, &o.cancel)
}

fn layer_error(gpu: &Gpu, o: &Operands) -> Result<()> {
    let mut row_errors = vec![0.0; o.side];
    gpu.run(KernelCall::LayerError { difference: &o.weights, columns: o.side, hessian: &o.hessian, row_errors: &mut row_errors }, &o.cancel)
}

fn rotation(gpu: &Gpu, o: &Operands, size: usize) -> Result<()> {
    let (rotation, rows) = (Rotation::new(size, 1, 0), &o.weights[..o.side * size]);
    gpu.run(KernelCall::Rotate { rotation: &rotation, rows, turned: &mut vec![0.0; rows.len()] }, &o.cancel)
}

fn lloyd_step(gpu: &Gpu, o: &Operands) -> Result<()> {
    const GROUP: usize = 64;
    let (scales, levels): (_, Vec<f32>) = (vec![0.03; o.weights.len() / GROUP], (0..16).map(|k| k as f32 / 7.5 - 1.0).collect());
    let call =
        KernelCall::LloydStep { values: &o.weights, group: GROUP, scales: &scales, importance: &o.importance, levels: &levels, tally: &mut Tally::default() };
    gpu.run(call, &o.cancel)
}

/// Scales are given, so that what is timed is the device's part alone.
fn feedback(gpu: &Gpu, o: &Operands) -> Result<()> {
    let call = Feedback { columns: o.side, block: 128, upper: &o.hessian, descent: (&[], 0), levels: Levels::Integers(-8, 7) };
    let mut choose = |_: std::ops::Range<usize>, _: usize, _: &[f32], scales: &mut [f32], offsets: &mut [f32]| {
        scales.fill(0.005);
        offsets.fill(0.0);
        Ok(())
    };
    gpu.feedback(&call, &o.weights, &mut choose, &mut vec![0; o.weights.len()], &o.cancel)
}

/// Activations: half as many tokens as channels.
fn activations(gpu: &Gpu, o: &Operands) -> Result<Rows> {
    Rows::upload(gpu, &o.weights[..o.side * o.side / 2], o.side)
}

fn product(o: &Operands, matrix: &Matrix, gpu: &Gpu) -> Result<()> {
    let x = activations(gpu, o)?;
    x.times(matrix, None, &Product { rows: 0..x.rows(), outputs: 0..matrix.outputs(), halved: false }).map(drop)
}

fn stored_product(gpu: &Gpu, o: &Operands, format: &str) -> Result<()> {
    let format: Format = format.parse()?;
    // What is in the blocks makes no difference to the time.
    let bytes = vec![0x11; format.tensor_bytes(o.side, o.side) as usize];
    product(o, &Matrix::upload_format(gpu, format, &bytes, o.side)?, gpu)
}

fn gram(gpu: &Gpu, o: &Operands) -> Result<()> {
    GramSum::new(gpu, o.side)?.add(&activations(gpu, o)?)
}

fn norm(gpu: &Gpu, o: &Operands) -> Result<()> {
    activations(gpu, o)?.normed(&NormWeights::upload(gpu, &o.importance, &[], 1e-5)?).map(drop)
}

fn rotary(gpu: &Gpu, o: &Operands) -> Result<()> {
    let mut x = activations(gpu, o)?;
    let positions: Vec<u32> = (0..x.rows() as u32).collect();
    let angles = vec![[1.0, 0.0]; x.rows() * HEAD / 2];
    x.turn(&Turns::upload(gpu, &angles, HEAD / 2, &positions, false)?, HEAD)
}

fn attention(gpu: &Gpu, o: &Operands) -> Result<()> {
    let q = activations(gpu, o)?;
    let (tokens, heads) = (q.rows(), o.side / HEAD);
    let k = Rows::upload(gpu, &o.weights[..tokens * o.side / 4], o.side / 4)?;
    let how = Attention { query_heads: heads, key_heads: heads / 4, dim: HEAD, scale: 0.125, cap: None, causal: true, window: None };
    how.run(&q, &k, &k, &[Sequence { queries: 0..tokens, keys: 0..tokens }]).map(drop)
}

fn gate(gpu: &Gpu, o: &Operands) -> Result<()> {
    let up = activations(gpu, o)?;
    activations(gpu, o)?.bend(Curve::Silu, Some(&up))
}

/// Rows of logits as long as a layer has columns: a vocabulary of 4096.
fn logits(gpu: &Gpu, o: &Operands) -> Result<()> {
    let (x, head) = (Rows::upload(gpu, &o.weights[..o.side * 16], o.side)?, Matrix::upload(gpu, &o.weights, o.side)?);
    let logits = LogitRows::of(&x, &head, None, false)?;
    logits.compare(&logits, &[], 0).map(drop)
}
