//! A small llama in candle with gradients, and its files in Hugging Face's layout.
//!
//! Linears are kept transposed, `[in, out]`, while training: their gradients then come out contiguous, which halves the optimiser's time.
//! Files hold `[out, in]` in BF16. RoPE turns halves (`x[..d/2]`, `x[d/2..]`), as Hugging Face's llama does.
//! Absent on purpose: a key-value cache and anything but the CPU.

use anyhow::{Context, Result};
use candle_core::{CpuStorage, CustomOp1, D, DType, Device, Layout, Shape, Tensor, Var};
use candle_nn::rotary_emb::rope_slow;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Sizes of a model. Every width is a multiple of 256, so that k-quants apply.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Transformer blocks.
    pub blocks: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width between gate/up and down.
    pub ffn: usize,
    /// Longest context in tokens.
    pub context: usize,
}

/// The demo model's sizes: 3.4 million parameters.
pub const DEMO: Sizes = Sizes { vocab: 1024, hidden: 256, blocks: 4, heads: 4, kv_heads: 2, head_dim: 64, ffn: 768, context: 256 };

const EPS: f64 = 1e-5;
const ROPE_THETA: f32 = 10_000.0;

/// Parameters by Hugging Face name, linears transposed.
pub struct Model {
    sizes: Sizes,
    params: BTreeMap<String, Var>,
    cos: Tensor,
    sin: Tensor,
}

impl Model {
    /// A fresh model: normal weights of deviation 0.02, the outputs of a block smaller by √(2·blocks) as GPT-2 has it, norms at one.
    ///
    /// # Errors
    /// What candle reports.
    pub fn new(sizes: Sizes, seed: u64) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut params = BTreeMap::new();
        for (name, [rows, columns]) in shapes(sizes) {
            let residual = name.contains("o_proj") || name.contains("down_proj");
            let deviation = if residual { 0.02 / (2.0 * sizes.blocks as f32).sqrt() } else { 0.02 };
            // Twelve uniforms make a normal that is the same on every machine: no logarithm is involved.
            let mut normal = || ((0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0) * deviation;
            let var = match columns {
                0 => Var::ones(rows, DType::F32, &Device::Cpu)?,
                _ => Var::from_vec((0..rows * columns).map(|_| normal()).collect::<Vec<f32>>(), (rows, columns), &Device::Cpu)?,
            };
            params.insert(name, var);
        }
        Self::with(sizes, params)
    }

    /// Reads `model.safetensors` in Hugging Face's layout.
    ///
    /// # Errors
    /// When the file is missing, damaged or lacks a tensor of `sizes`.
    pub fn load(sizes: Sizes, path: &Path) -> Result<Self> {
        let mut tensors: HashMap<String, Tensor> = candle_core::safetensors::load(path, &Device::Cpu)?;
        let mut params = BTreeMap::new();
        for (name, _) in shapes(sizes) {
            let tensor = tensors.remove(&name).with_context(|| format!("{} lacks {name}", path.display()))?.to_dtype(DType::F32)?;
            params.insert(name.clone(), Var::from_tensor(&if is_linear(&name) { tensor.t()?.contiguous()? } else { tensor })?);
        }
        Self::with(sizes, params)
    }

    /// Writes Hugging Face's layout in `dtype`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path, dtype: DType) -> Result<()> {
        let mut tensors = BTreeMap::new();
        for (name, var) in &self.params {
            let tensor = if is_linear(name) { var.t()?.contiguous()? } else { var.as_detached_tensor() };
            tensors.insert(name.clone(), tensor.to_dtype(dtype)?);
        }
        // transformers refuses a file without this entry.
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize_to_file(&tensors, Some(metadata), path).with_context(|| format!("writing {}", path.display()))
    }

    fn with(sizes: Sizes, params: BTreeMap<String, Var>) -> Result<Self> {
        let half = sizes.head_dim / 2;
        let angles: Vec<f32> =
            (0..sizes.context).flat_map(|t| (0..half).map(move |i| t as f32 / ROPE_THETA.powf(2.0 * i as f32 / (2.0 * half as f32)))).collect();
        let angles = Tensor::from_vec(angles, (sizes.context, half), &Device::Cpu)?;
        Ok(Self { sizes, params, cos: angles.cos()?, sin: angles.sin()? })
    }

    /// Every parameter, in the order of names.
    #[must_use]
    pub fn vars(&self) -> Vec<Var> {
        self.params.values().cloned().collect()
    }

    /// Number of parameters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.params.values().map(|v| v.elem_count()).sum()
    }

    /// Replaces every linear (not the embedding, not the norms) by what `change` makes of its values, given as rows of `[out, in]`.
    ///
    /// # Errors
    /// What candle reports.
    pub fn map_linears(&self, mut change: impl FnMut(&mut [f32])) -> Result<()> {
        for (name, var) in self.params.iter().filter(|(name, _)| is_linear(name)) {
            let mut rows = var.t()?.contiguous()?.to_vec2::<f32>().with_context(|| name.clone())?;
            rows.iter_mut().for_each(|row| change(row));
            var.set(&Tensor::new(rows, &Device::Cpu)?.t()?.contiguous()?)?;
        }
        Ok(())
    }

    /// Logits `[batch · length, vocab]` of `tokens` `[batch, length]`.
    ///
    /// # Errors
    /// What candle reports.
    pub fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let Sizes { hidden, blocks, heads, kv_heads, head_dim, .. } = self.sizes;
        let (batch, length) = tokens.dims2()?;
        let embedding = self.get("model.embed_tokens");
        let (cos, sin) = (self.cos.narrow(0, 0, length)?, self.sin.narrow(0, 0, length)?);
        let mut x = embedding.embedding(&tokens.flatten_all()?)?;
        for block in 0..blocks {
            let get = |name: &str| self.get(&format!("model.layers.{block}.{name}"));
            let split = |t: Tensor, heads: usize| t.reshape((batch, length, heads, head_dim))?.transpose(1, 2)?.contiguous();
            let normed = rms_norm(&x, get("input_layernorm"))?;
            let q = rope_slow(&split(normed.matmul(get("self_attn.q_proj"))?, heads)?, &cos, &sin)?;
            let k = rope_slow(&split(normed.matmul(get("self_attn.k_proj"))?, kv_heads)?, &cos, &sin)?;
            let v = split(normed.matmul(get("self_attn.v_proj"))?, kv_heads)?;
            // Query heads of one group lie side by side, so a group is one matrix against its shared keys: nothing is repeated.
            let group = heads / kv_heads * length;
            let scores = q.reshape((batch, kv_heads, group, head_dim))?.matmul(&k.t()?)?;
            let weights = scores.apply_op1(CausalSoftmax { length, scale: 1.0 / (head_dim as f32).sqrt() })?;
            let mixed = weights.matmul(&v)?.reshape((batch, heads, length, head_dim))?.transpose(1, 2)?.reshape((batch * length, hidden))?;
            x = (x + mixed.matmul(get("self_attn.o_proj"))?)?;
            let normed = rms_norm(&x, get("post_attention_layernorm"))?;
            let gated = (normed.matmul(get("mlp.gate_proj"))?.silu()? * normed.matmul(get("mlp.up_proj"))?)?;
            x = (x + gated.matmul(get("mlp.down_proj"))?)?;
        }
        Ok(rms_norm(&x, self.get("model.norm"))?.matmul(&embedding.t()?)?)
    }

    fn get(&self, name: &str) -> &Tensor {
        self.params[&format!("{name}.weight")].as_tensor()
    }
}

fn rms_norm(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + EPS)?.sqrt()?.recip()?;
    Ok(x.broadcast_mul(&scale)?.broadcast_mul(weight)?)
}

fn is_linear(name: &str) -> bool {
    name.contains("_proj")
}

/// Names and shapes as trained: linears `[in, out]`, norms `[width, 0]`.
fn shapes(sizes: Sizes) -> Vec<(String, [usize; 2])> {
    let Sizes { vocab, hidden, heads, kv_heads, head_dim, ffn, .. } = sizes;
    let mut shapes = vec![("model.embed_tokens.weight".to_owned(), [vocab, hidden]), ("model.norm.weight".to_owned(), [hidden, 0])];
    for block in 0..sizes.blocks {
        for (name, shape) in [
            ("input_layernorm", [hidden, 0]),
            ("self_attn.q_proj", [hidden, heads * head_dim]),
            ("self_attn.k_proj", [hidden, kv_heads * head_dim]),
            ("self_attn.v_proj", [hidden, kv_heads * head_dim]),
            ("self_attn.o_proj", [heads * head_dim, hidden]),
            ("post_attention_layernorm", [hidden, 0]),
            ("mlp.gate_proj", [hidden, ffn]),
            ("mlp.up_proj", [hidden, ffn]),
            ("mlp.down_proj", [ffn, hidden]),
        ] {
            shapes.push((format!("model.layers.{block}.{name}.weight"), shape));
        }
    }
    shapes
}

/// Scale, causal mask and softmax of scores `[.., heads · length, length]` in one pass: half of the exponentials are never computed.
struct CausalSoftmax {
    length: usize,
    scale: f32,
}

impl CustomOp1 for CausalSoftmax {
    fn name(&self) -> &'static str {
        "causal-softmax"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (start, end) = layout.contiguous_offsets().ok_or(candle_core::Error::RequiresContiguous { op: "causal-softmax" }.bt())?;
        let mut out = storage.as_slice::<f32>()?[start..end].to_vec();
        for (row, scores) in out.chunks_exact_mut(self.length).enumerate() {
            let (seen, future) = scores.split_at_mut(row % self.length + 1);
            let max = seen.iter().fold(f32::NEG_INFINITY, |m, s| m.max(*s));
            seen.iter_mut().for_each(|s| *s = ((*s - max) * self.scale).exp());
            let sum: f32 = seen.iter().sum();
            seen.iter_mut().for_each(|s| *s /= sum);
            future.fill(0.0);
        }
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    /// `dx = scale · y · (dy − Σ y·dy)`.
    fn bwd(&self, _arg: &Tensor, res: &Tensor, grad_res: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let weighted = (grad_res * res)?;
        let mean = weighted.sum_keepdim(D::Minus1)?;
        let grad = ((weighted - res.broadcast_mul(&mean)?)? * f64::from(self.scale))?;
        Ok(Some(grad))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: Sizes = Sizes { vocab: 32, hidden: 16, blocks: 2, heads: 4, kv_heads: 2, head_dim: 4, ffn: 32, context: 8 };

    fn model() -> Model {
        let model = Model::new(TINY, 3).expect("sizes fit");
        // Weights of deviation 0.02 would make attention too weak to see.
        model.vars().iter().filter(|var| var.rank() == 2).for_each(|var| var.set(&(var.as_tensor() * 20.0).expect("product")).expect("same shape"));
        model
    }

    fn logits(model: &Model, tokens: [u32; 8]) -> Vec<Vec<f32>> {
        let tokens = Tensor::new(&tokens, &Device::Cpu).and_then(|t| t.unsqueeze(0)).expect("tokens");
        model.forward(&tokens).expect("forward").to_vec2().expect("logits")
    }

    #[test]
    fn a_token_changes_what_follows_it_and_nothing_before() {
        let model = model();
        let (a, b) = (logits(&model, [1, 2, 3, 4, 5, 6, 7, 8]), logits(&model, [1, 2, 3, 9, 5, 6, 7, 8]));
        assert_eq!(a[..3], b[..3]);
        for t in 4..8 {
            let change = a[t].iter().zip(&b[t]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(change > 1e-3, "position {t} does not see position 3: {change}");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let model = model();
        let windows = [vec![1, 2, 3, 4, 5, 6, 7, 8, 9], vec![3, 1, 3, 1, 3, 2, 3, 1, 0]];
        let loss = || crate::train::loss(&model, &windows).expect("loss");
        let grads = loss().backward().expect("backward");
        for (name, var) in &model.params {
            let grad = grads.get(var).expect("every parameter has a gradient").flatten_all().and_then(|g| g.to_vec1::<f32>()).expect("values");
            // Along the gradient itself the slope is its squared norm.
            let norm = grad.iter().map(|g| g * g).sum::<f32>().sqrt();
            let before = var.as_detached_tensor().copy().expect("copy");
            let direction = (grads.get(var).expect("gradient") * f64::from(1.0 / norm)).expect("scaled");
            let step = 2e-2;
            let value = |sign: f64| {
                var.set(&(&before + (&direction * (sign * step)).expect("scaled")).expect("sum")).expect("same shape");
                f64::from(loss().to_scalar::<f32>().expect("scalar"))
            };
            let slope = (value(1.0) - value(-1.0)) / (2.0 * step);
            var.set(&before).expect("same shape");
            assert!((slope - f64::from(norm)).abs() < 0.02 * f64::from(norm), "{name}: slope {slope}, gradient {norm}");
        }
    }
}
