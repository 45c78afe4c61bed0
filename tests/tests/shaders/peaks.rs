//! The kernels that measure a device.

use super::{gpu, normal};
use bytemuck::{bytes_of, cast_slice};
use halftone_core::compute::gpu::Operand;
use halftone_shaders::Kernel;
use halftone_shaders::twin::{multiply_add, stream_copy};

#[test]
fn a_copy_is_the_original_and_ends_where_it_should() {
    let values: Vec<[u32; 4]> = (0..1000u32).map(|i| [i, i * 7, !i, i << 20]).collect();
    let params = stream_copy::Params { count: 900, stride: 512, ..Default::default() };
    let mut want = vec![[0u32; 4]; 1000];
    stream_copy::stream_copy(&params, &values, &mut want);
    let operands = [Operand::Input(cast_slice(&values)), Operand::Output(16_000)];
    let outputs = gpu().run_once(Kernel::StreamCopy, bytes_of(&params), &operands, [2, 1, 1]).expect("copy");
    assert_eq!(outputs[0], cast_slice::<_, u8>(&want), "900 fours, then zeros");
}

#[test]
fn chains_of_multiplications_come_near_the_twin() {
    let values = normal(300, 21);
    let params = multiply_add::Params { threads: 300, rounds: 200, factor: 0.99, addend: 0.25 };
    let mut want = vec![0.0f32; 300];
    multiply_add::multiply_add(&params, &values, &mut want);
    let operands = [Operand::Input(cast_slice(&values)), Operand::Output(1200)];
    let outputs = gpu().run_once(Kernel::MultiplyAdd, bytes_of(&params), &operands, [2, 1, 1]).expect("arithmetic");
    let got: Vec<f32> = outputs[0].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let near = |want: &[f32]| want.iter().zip(&got).all(|(w, g)| f64::from((w - g).abs()) <= multiply_add::TOLERANCE * f64::from(w.abs()));
    assert!(near(&want), "within the tolerance");
    want[299] *= 1.001;
    assert!(!near(&want), "a changed value must be seen");
}
