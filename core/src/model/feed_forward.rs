//! The feed-forward of a block: one network, or several of which a router chooses for every token (Shazeer et al. 2017).

use super::activation::{activate, gate};
use super::linear::{Linear, load_shaped};
use super::taps::{Readers, Taps, reborrow};
use super::values::{Input, Values, apart};
use super::vector::exp;
use super::weights::Weights;
use crate::compute::gpu::Gpu;
use crate::compute::gpu::forward::Rows;
use crate::error::Result;
use crate::job::Accelerator;
use crate::source::{Activation, Anatomy, Experts};
use halftone_shaders::twin::add::Entry;
use halftone_shaders::twin::gate::Curve;
use std::sync::Arc;

/// What follows attention in a block.
pub(super) enum FeedForward {
    Dense(Box<Network>),
    Mixture(Box<Mixture>),
}

impl FeedForward {
    /// A mixture where the block has a router, else one network.
    pub(super) fn load(weights: &dyn Weights, anatomy: &Anatomy, block: usize, device: Option<&Arc<Accelerator>>) -> Result<Self> {
        let router = format!("blk.{block}.ffn_gate_inp.weight");
        match &anatomy.experts {
            Some(experts) if weights.has(&router)? => Ok(Self::Mixture(Box::new(Mixture::load(weights, anatomy, experts, block, device)?))),
            _ => Ok(Self::Dense(Box::new(Network::load(weights, anatomy, block, ("", None), weights.config().intermediate_size, device)?))),
        }
    }

    /// tokens × hidden → tokens × hidden.
    pub(super) fn run(&self, x: Values, taps: Option<&mut dyn Taps>) -> Result<Values> {
        match self {
            Self::Dense(network) => network.run(x, taps),
            Self::Mixture(mixture) => mixture.run(x, taps),
        }
    }
}

/// down(f(gate(x))·up(x)), or down(f(up(x))).
pub(super) struct Network {
    activation: Activation,
    entrance: Entrance,
    down: Linear,
    input_readers: Readers,
    down_readers: Readers,
}

enum Entrance {
    Gated(Linear, Linear),
    /// Gate above up in one matrix.
    Fused(Linear),
    Plain(Linear),
}

impl Network {
    /// The linears `ffn_gate`, `ffn_up` and `ffn_down` with this suffix, `inner` wide.
    fn load(
        weights: &dyn Weights,
        anatomy: &Anatomy,
        block: usize,
        (suffix, expert): (&str, Option<usize>),
        inner: usize,
        device: Option<&Arc<Accelerator>>,
    ) -> Result<Self> {
        let hidden = weights.config().hidden_size;
        let stem = |part: &str| format!("blk.{block}.{part}{suffix}");
        let linear = |part: &str, outputs, inputs| Linear::load(weights, &stem(part), outputs, inputs, device);
        let (entrance, readers): (_, &[&str]) = if anatomy.fused_gate_up {
            (Entrance::Fused(linear("ffn_up", 2 * inner, hidden)?), &["ffn_up"])
        } else if anatomy.gated {
            (Entrance::Gated(linear("ffn_gate", inner, hidden)?, linear("ffn_up", inner, hidden)?), &["ffn_gate", "ffn_up"])
        } else {
            (Entrance::Plain(linear("ffn_up", inner, hidden)?), &["ffn_up"])
        };
        Ok(Self {
            activation: anatomy.activation,
            entrance,
            down: linear("ffn_down", hidden, inner)?,
            input_readers: Readers::new(readers.iter().map(|part| format!("{}.weight", stem(part))).collect(), expert),
            down_readers: Readers::new(vec![format!("{}.weight", stem("ffn_down"))], expert),
        })
    }

    fn run(&self, x: Values, mut taps: Option<&mut dyn Taps>) -> Result<Values> {
        let width = self.entrance.first().inputs();
        if let Values::Device(rows) = &x {
            // Tokens whose widest values a binding holds.
            let at_once = rows.gpu().rows_of(self.down.inputs().max(self.down.outputs()));
            if rows.rows() > at_once {
                let (gpu, rows) = (rows.gpu().clone(), rows.rows());
                return self.run_in_parts(x, &gpu, rows, at_once, taps);
            }
        }
        let activated = self.input_readers.show(x, width, reborrow(&mut taps), |input| self.enter(input))?;
        self.down_readers.show(activated, self.down.inputs(), taps, |input| self.down.run(input))
    }

    /// What enters the last linear.
    fn enter(&self, input: Input<'_>) -> Result<Values> {
        let inner = self.down.inputs();
        let (mut gated, up) = match &self.entrance {
            Entrance::Gated(gate, up) => (gate.run(input)?, Some(up.run(input)?)),
            Entrance::Fused(both) => {
                let [gated, up] = both.run_parts(input, [inner, inner])?;
                (gated, Some(up))
            }
            Entrance::Plain(up) => (up.run(input)?, None),
        };
        match (&mut gated, &up) {
            (Values::Host(gated), Some(Values::Host(up))) => gate(self.activation, gated, up),
            (Values::Host(values), None) => activate(self.activation, values),
            (Values::Device(gated), Some(Values::Device(up))) => gated.bend(curve(self.activation), Some(up))?,
            (Values::Device(values), None) => values.bend(curve(self.activation), None)?,
            _ => return Err(apart("gate")),
        }
        Ok(gated)
    }

    /// As [`Self::run`] on a device, for more tokens than go through together.
    fn run_in_parts(&self, x: Values, gpu: &Gpu, rows: usize, at_once: usize, mut taps: Option<&mut dyn Taps>) -> Result<Values> {
        let numbers: Vec<u32> = (0..rows as u32).collect();
        let activated = self.input_readers.show(x, self.entrance.first().inputs(), reborrow(&mut taps), |input| {
            let enter = |part: &[u32]| match input {
                Input::Device(x) => self.enter(Input::Device(&x.gather(part, 1.0)?)),
                Input::Host(_) => Err(apart("feed-forward in parts")),
            };
            numbers.chunks(at_once).map(enter).collect::<Result<Vec<Values>>>()
        })?;
        if taps.is_some() {
            let mut all = Vec::new();
            for values in &activated {
                all.extend_from_slice(&values.input().on_host()?);
            }
            self.down_readers.show(Values::Host(all), self.down.inputs(), taps, |_| Ok(()))?;
        }
        let mut out = Rows::zeroed(gpu, rows, self.down.outputs())?;
        for (part, values) in numbers.chunks(at_once).zip(activated) {
            let Values::Device(y) = self.down.run(values.input())? else { return Err(apart("feed-forward in parts")) };
            out.add_shares(&y, &part.iter().map(|&row| Entry { row, share: 1.0 }).collect::<Vec<_>>())?;
        }
        Ok(Values::Device(out))
    }
}

impl Entrance {
    fn first(&self) -> &Linear {
        match self {
            Self::Gated(linear, _) | Self::Fused(linear) | Self::Plain(linear) => linear,
        }
    }
}

/// What the device calls it.
fn curve(activation: Activation) -> Curve {
    match activation {
        Activation::Silu => Curve::Silu,
        Activation::GeluTanh => Curve::GeluTanh,
        Activation::Gelu => Curve::Gelu,
    }
}

/// A router, its experts, and one expert that every token goes through.
pub(super) struct Mixture {
    router: Linear,
    /// Experts of a token.
    used: usize,
    normalized: bool,
    experts: Vec<Network>,
    shared: Option<(Network, Linear)>,
}

/// How a file keeps its experts.
#[derive(Clone, Copy)]
enum Kept {
    /// `ffn_gate.7.weight`, and so on.
    Apart,
    /// `ffn_gate_exps.weight` and `ffn_up_exps.weight`.
    Stacked,
    /// `ffn_gate_up_exps.weight`.
    Fused,
}

impl Mixture {
    fn load(weights: &dyn Weights, anatomy: &Anatomy, experts: &Experts, block: usize, device: Option<&Arc<Accelerator>>) -> Result<Self> {
        let hidden = weights.config().hidden_size;
        let router = Linear::load(weights, &format!("blk.{block}.ffn_gate_inp"), experts.count, hidden, device)?;
        let shared_gate = format!("blk.{block}.ffn_gate_inp_shexp.weight");
        let shared = match weights.load(&shared_gate)? {
            None => None,
            Some((_, shape)) => {
                let gate = Linear::of(load_shaped(weights, &shared_gate, &shape)?, hidden, weights.arithmetic(&shared_gate), device)?;
                Some((Network::load(weights, anatomy, block, ("_shexp", None), experts.shared_size, device)?, gate))
            }
        };
        let networks = Self::experts(weights, anatomy, experts, block, device)?;
        Ok(Self { router, used: experts.used, normalized: experts.normalized, experts: networks, shared })
    }

    fn experts(weights: &dyn Weights, anatomy: &Anatomy, experts: &Experts, block: usize, device: Option<&Arc<Accelerator>>) -> Result<Vec<Network>> {
        let (hidden, inner, count) = (weights.config().hidden_size, experts.size, experts.count);
        let name = |part: &str| format!("blk.{block}.{part}.weight");
        let kept = if weights.has(&name("ffn_gate_up_exps"))? {
            Kept::Fused
        } else if weights.has(&name("ffn_gate_exps"))? {
            Kept::Stacked
        } else {
            Kept::Apart
        };
        let stack = |part: &str, outputs, inputs| Linear::load_stack(weights, &name(part), [count, outputs, inputs], device);
        let (entrances, readers): (Vec<Entrance>, &[&str]) = match kept {
            Kept::Apart => {
                let network = |expert| Network::load(weights, anatomy, block, (&format!(".{expert}"), Some(expert)), inner, device);
                return (0..count).map(network).collect();
            }
            Kept::Stacked => {
                let (gates, ups) = (stack("ffn_gate_exps", inner, hidden)?, stack("ffn_up_exps", inner, hidden)?);
                (gates.into_iter().zip(ups).map(|(gate, up)| Entrance::Gated(gate, up)).collect(), &["ffn_gate_exps", "ffn_up_exps"])
            }
            Kept::Fused => (stack("ffn_gate_up_exps", 2 * inner, hidden)?.into_iter().map(Entrance::Fused).collect(), &["ffn_gate_up_exps"]),
        };
        let downs = stack("ffn_down_exps", hidden, inner)?;
        let network = |(expert, (entrance, down))| Network {
            activation: anatomy.activation,
            entrance,
            down,
            input_readers: Readers::new(readers.iter().map(|part| name(part)).collect(), Some(expert)),
            down_readers: Readers::new(vec![name("ffn_down_exps")], Some(expert)),
        };
        Ok(entrances.into_iter().zip(downs).enumerate().map(network).collect())
    }

    /// Every token through its experts, in the order of the experts, so that sums do not depend on the number of threads.
    fn run(&self, x: Values, mut taps: Option<&mut dyn Taps>) -> Result<Values> {
        let chosen = self.route(&self.router.run(x.input())?.into_host()?);
        let mut out = match &x {
            Values::Host(x) => Values::Host(vec![0.0; x.len()]),
            Values::Device(x) => Values::Device(Rows::zeroed(x.gpu(), x.rows(), x.columns())?),
        };
        for (expert, network) in self.experts.iter().enumerate() {
            let of_expert = |(token, picks): (usize, &Vec<(usize, f32)>)| {
                picks.iter().find(|(e, _)| *e == expert).map(|(_, share)| Entry { row: token as u32, share: *share })
            };
            let tokens: Vec<Entry> = chosen.iter().enumerate().filter_map(of_expert).collect();
            if tokens.is_empty() {
                continue;
            }
            let result = network.run(self.gather(&x, &tokens)?, reborrow(&mut taps))?;
            self.add(&mut out, &result, &tokens)?;
        }
        if let Some((network, gate)) = &self.shared {
            let shares = gate.run(x.input())?.into_host()?;
            let share = |(row, share): (usize, f32)| Entry { row: row as u32, share: 1.0 / (1.0 + exp(-share)) };
            let shares: Vec<Entry> = shares.into_iter().enumerate().map(share).collect();
            let result = network.run(x, taps)?;
            self.add(&mut out, &result, &shares)?;
        }
        Ok(out)
    }

    /// The rows of some tokens.
    fn gather(&self, x: &Values, tokens: &[Entry]) -> Result<Values> {
        Ok(match x {
            Values::Host(x) => {
                let hidden = self.router.inputs();
                let row = |token: &Entry| &x[token.row as usize * hidden..(token.row as usize + 1) * hidden];
                Values::Host(tokens.iter().flat_map(row).copied().collect())
            }
            Values::Device(x) => Values::Device(x.gather(&tokens.iter().map(|token| token.row).collect::<Vec<_>>(), 1.0)?),
        })
    }

    /// Adds what a network made of some tokens.
    fn add(&self, out: &mut Values, result: &Values, tokens: &[Entry]) -> Result<()> {
        let hidden = self.router.inputs();
        match (out, result) {
            (Values::Device(out), Values::Device(result)) => out.add_shares(result, tokens)?,
            (Values::Host(out), Values::Host(result)) => {
                for (token, row) in tokens.iter().zip(result.chunks_exact(hidden)) {
                    for (sum, value) in out[token.row as usize * hidden..][..hidden].iter_mut().zip(row) {
                        *sum += token.share * value;
                    }
                }
            }
            _ => return Err(apart("sum of experts")),
        }
        Ok(())
    }

    /// The experts of each token and their shares: the largest of the softmax over all experts; of equals the first.
    fn route(&self, scores: &[f32]) -> Vec<Vec<(usize, f32)>> {
        let count = self.experts.len();
        let choose = |scores: &[f32]| {
            let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut shares: Vec<(usize, f32)> = scores.iter().map(|s| exp(s - highest)).enumerate().collect();
            let total: f32 = shares.iter().map(|(_, share)| share).sum();
            shares.sort_by(|a, b| b.1.total_cmp(&a.1));
            shares.truncate(self.used);
            let sum = if self.normalized { shares.iter().map(|(_, share)| share).sum() } else { total };
            shares.iter_mut().for_each(|(_, share)| *share /= sum);
            shares
        };
        scores.chunks_exact(count).map(choose).collect()
    }
}
