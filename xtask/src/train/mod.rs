//! `cargo xtask train-demo`: makes the demo model and its texts from nothing but a seed.
//!
//! The texts come from a story grammar, the tokenizer and the model are trained on them here. Interrupted, it goes on from its checkpoint in
//! `target/train-demo`. Two shards of every batch run on two threads, each single-threaded inside, and are summed in a fixed order, so
//! the same machine makes the same file.

mod evaluate;
mod grammar;
mod lexicon;
mod model;
mod plots;
mod tokenizer;

use anyhow::{Context, Result, anyhow, bail};
use candle_core::{DType, Device, Tensor, Var, backprop::GradStore};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};
use grammar::Stories;
use model::{DEMO, Model};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fs;
use std::path::Path;
use std::time::Instant;

const TRAIN_SEED: u64 = 1;
const CALIBRATION_SEED: u64 = 2;
const HELDOUT_SEED: u64 = 3;
const STORIES: usize = 12_000;
const BATCH: usize = 4;
const SHARDS: usize = 2;
/// The rate falls over this many steps; the assets were made with the first `STEPS` of them.
const SCHEDULE: usize = 1600;
const STEPS: usize = 1400;
const WARM_UP: usize = 100;
const PEAK_RATE: f64 = 2.5e-3;
const CHECKPOINT_STEPS: usize = 100;

/// Runs the command. `--steps N` trains shorter or longer, `--samples` only prints stories of the grammar.
///
/// # Errors
/// When a file cannot be read or written, or candle fails.
pub fn run(root: &Path, args: &[String]) -> Result<()> {
    let mut steps = STEPS;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--steps" => steps = args.next().context("--steps needs a number")?.parse()?,
            "--samples" => {
                println!("{}", Stories::new(CALIBRATION_SEED).text(4000));
                return Ok(());
            }
            other => bail!("train-demo does not know {other}"),
        }
    }
    let (out, work) = (root.join("assets/demo"), root.join("target/train-demo"));
    fs::create_dir_all(&out)?;
    fs::create_dir_all(&work)?;

    fs::write(out.join("calibration.txt"), Stories::new(CALIBRATION_SEED).text(200_000))?;
    let heldout = Stories::new(HELDOUT_SEED).text(60_000);
    fs::write(out.join("heldout.txt"), &heldout)?;
    let mut stories = Stories::new(TRAIN_SEED);
    let texts: Vec<String> = (0..STORIES).map(|_| stories.story()).collect();
    let tokenizer = tokenizer::train(&texts[..texts.len() / 4], DEMO.vocab)?;
    tokenizer::save(&tokenizer, &out, DEMO.context)?;
    write_config(&out)?;
    let end = tokenizer.token_to_id(tokenizer::END_OF_TEXT).context("the tokenizer has no end of text")?;
    let stream = token_stream(&tokenizer, &texts, end)?;
    let heldout = tokenizer::encode(&tokenizer, &heldout)?;
    println!("{} stories, {} training tokens, {} held out", texts.len(), stream.len(), heldout.len());

    let model = train(&work, &stream, &heldout, end, steps)?;
    model.save(&out.join("model.safetensors"), DType::BF16)?;
    let report = evaluate::report(&out, &tokenizer, &heldout, end, steps)?;
    println!("{report}");
    fs::write(out.join("README.md"), report)?;
    Ok(())
}

/// Stories one after the other. Half of them end in `<|endoftext|>`, half in a blank line, as in the text files.
fn token_stream(tokenizer: &tokenizers::Tokenizer, texts: &[String], end: u32) -> Result<Vec<u32>> {
    let separated: Vec<String> = texts.iter().enumerate().map(|(i, text)| if i % 2 == 0 { text.clone() } else { format!("{text}\n\n") }).collect();
    let encodings = tokenizer.encode_batch(separated, false).map_err(|e| anyhow!("encoding: {e}"))?;
    let mut stream = Vec::new();
    for (i, encoding) in encodings.iter().enumerate() {
        stream.extend_from_slice(encoding.get_ids());
        if i % 2 == 0 {
            stream.push(end);
        }
    }
    Ok(stream)
}

fn write_config(out: &Path) -> Result<()> {
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": DEMO.hidden,
        "intermediate_size": DEMO.ffn,
        "num_hidden_layers": DEMO.blocks,
        "num_attention_heads": DEMO.heads,
        "num_key_value_heads": DEMO.kv_heads,
        "head_dim": DEMO.head_dim,
        "max_position_embeddings": DEMO.context,
        "vocab_size": DEMO.vocab,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": true,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "torch_dtype": "bfloat16",
    });
    fs::write(out.join("config.json"), format!("{config:#}\n"))?;
    Ok(())
}

/// Trains from the last checkpoint in `work`, or from the start.
fn train(work: &Path, stream: &[u32], heldout: &[u32], end: u32, steps: usize) -> Result<Model> {
    let (weights, position) = (work.join("checkpoint.safetensors"), work.join("checkpoint.step"));
    let done: usize = fs::read_to_string(&position).ok().and_then(|s| s.trim().parse().ok()).unwrap_or(0);
    let model = if done > 0 { Model::load(DEMO, &weights)? } else { Model::new(DEMO, TRAIN_SEED)? };
    println!("{} parameters, {steps} steps, starting at {done}", model.len());
    let vars = model.vars();
    let params = ParamsAdamW { lr: 0.0, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: 0.05 };
    let mut optimizer = AdamW::new(vars.clone(), params)?;
    let started = Instant::now();
    let mut recent = 0.0;
    for step in done..steps {
        // The moments are not in the checkpoint: after going on, the rate warms up again.
        optimizer.set_learning_rate(rate(step, SCHEDULE.max(steps)) * ((step - done + 1) as f64 / WARM_UP as f64).min(1.0));
        let (loss, mut grads) = loss_and_gradients(&model, &vars, &batch(stream, end, step))?;
        clip(&vars, &mut grads, 1.0)?;
        optimizer.step(&grads)?;
        recent += loss;
        if (step + 1) % 10 == 0 {
            let speed = ((step + 1 - done) * BATCH * DEMO.context) as f64 / started.elapsed().as_secs_f64();
            println!("step {:5}  loss {:.4}  {speed:.0} tokens/s  {:.0} s", step + 1, recent / 10.0, started.elapsed().as_secs_f64());
            recent = 0.0;
        }
        if (step + 1) % CHECKPOINT_STEPS == 0 || step + 1 == steps {
            model.save(&weights, DType::F32)?;
            fs::write(&position, format!("{}\n", step + 1))?;
            println!("held-out loss {:.4}", evaluate::mean_loss(&model, heldout, end)?);
        }
    }
    Ok(model)
}

/// Cosine from the peak to a hundredth of it.
fn rate(step: usize, steps: usize) -> f64 {
    let progress = step as f64 / steps as f64;
    PEAK_RATE * (0.01 + 0.99 * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()))
}

/// Windows of `context + 1` tokens, drawn by the step's own seed. Half of them begin with end of text, as evaluators begin their chunks.
fn batch(stream: &[u32], end: u32, step: usize) -> Vec<Vec<u32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(step as u64);
    (0..BATCH)
        .map(|i| {
            let at = rng.random_range(0..stream.len() - DEMO.context - 1);
            let mut window = stream[at..=at + DEMO.context].to_vec();
            if i % 2 == 0 {
                window[0] = end;
            }
            window
        })
        .collect()
}

/// Mean loss over the windows and its gradients, each shard on a thread of its own.
fn loss_and_gradients(model: &Model, vars: &[Var], windows: &[Vec<u32>]) -> Result<(f64, GradStore)> {
    let mut shards = std::thread::scope(|scope| {
        let threads: Vec<_> = windows
            .chunks(BATCH / SHARDS)
            .map(|windows| {
                scope.spawn(move || -> Result<(f64, GradStore)> {
                    let loss = loss(model, windows)?;
                    Ok((f64::from(loss.to_scalar::<f32>()?), loss.backward()?))
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().map_err(|_| anyhow!("a training thread panicked"))?).collect::<Result<Vec<_>>>()
    })?;
    let (mut loss, mut total) = shards.remove(0);
    for (other_loss, other) in shards {
        loss += other_loss;
        for var in vars {
            let (Some(a), Some(b)) = (total.get(var), other.get(var)) else { bail!("a parameter has no gradient") };
            let sum = ((a + b)? * (1.0 / SHARDS as f64))?;
            total.insert(var, sum);
        }
    }
    Ok((loss / SHARDS as f64, total))
}

/// Mean cross-entropy of the next token, in nats.
fn loss(model: &Model, windows: &[Vec<u32>]) -> Result<Tensor> {
    let length = windows[0].len() - 1;
    let inputs: Vec<u32> = windows.iter().flat_map(|w| w[..length].iter().copied()).collect();
    let targets: Vec<u32> = windows.iter().flat_map(|w| w[1..].iter().copied()).collect();
    let inputs = Tensor::from_vec(inputs, (windows.len(), length), &Device::Cpu)?;
    let targets = Tensor::from_vec(targets, windows.len() * length, &Device::Cpu)?;
    Ok(candle_nn::loss::cross_entropy(&model.forward(&inputs)?, &targets)?)
}

/// Scales all gradients so that their joint norm is at most `limit`.
fn clip(vars: &[Var], grads: &mut GradStore, limit: f64) -> Result<()> {
    let mut squares = 0.0;
    for var in vars {
        if let Some(grad) = grads.get(var) {
            squares += f64::from(grad.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
    }
    let norm = squares.sqrt();
    if norm > limit {
        for var in vars {
            if let Some(grad) = grads.remove(var) {
                grads.insert(var, (grad * (limit / norm))?);
            }
        }
    }
    Ok(())
}
