//! GPT-2's safetensors keep their linears as inputs × outputs (transformers' Conv1D). They are seen here as every other linear, outputs ×
//! inputs, so that a row is one output and blocks of quantized weights lie along the inputs, as in GGUF.

use super::stored::StoredTensor;

/// Modules that are a Conv1D.
const MODULES: [&str; 3] = [".c_attn.weight", ".c_proj.weight", ".c_fc.weight"];

/// Turns the linears of a GPT-2 round; other models are left alone. GPT-BigCode has the same names and linears that lie right: what makes
/// queries, keys and values is then wider than it is high only in a Conv1D.
pub(super) fn turn_round(tensors: &mut [StoredTensor]) {
    let lying = |t: &StoredTensor| t.name.ends_with(".attn.c_attn.weight") && matches!(*t.shape, [inputs, outputs] if inputs.checked_mul(3) == Some(outputs));
    if !tensors.iter().any(lying) {
        return;
    }
    for tensor in tensors.iter_mut().filter(|t| t.shape.len() == 2 && MODULES.iter().any(|module| t.name.ends_with(module))) {
        tensor.shape.reverse();
        tensor.transposed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    #[test]
    fn only_conv1d_is_turned_round() {
        let tensors = |shape: [usize; 2]| {
            let of = |name: &str, shape: Vec<usize>| StoredTensor { name: name.into(), dtype: DType::F32, shape, transposed: false, file: 0, range: 0..0 };
            let mut all = vec![of("h.0.attn.c_attn.weight", shape.to_vec()), of("h.0.mlp.c_fc.weight", vec![4, 16]), of("wte.weight", vec![9, 4])];
            turn_round(&mut all);
            all.into_iter().map(|t| (t.shape, t.transposed)).collect::<Vec<_>>()
        };
        assert_eq!(tensors([4, 12]), [(vec![12, 4], true), (vec![16, 4], true), (vec![9, 4], false)]);
        assert_eq!(tensors([12, 4]), [(vec![12, 4], false), (vec![4, 16], false), (vec![9, 4], false)], "GPT-BigCode");
    }
}
