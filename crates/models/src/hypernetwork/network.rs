//! The whole network, and its use.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::{Curve, HypernetworkConfig};
use crate::layers::{LayerNorm, Linear};
use crate::walk::layers;

/// A hypernetwork, built by [`HypernetworkConfig::init`].
#[derive(Module, Debug)]
pub struct Hypernetwork {
    /// One for each width.
    pub pairs: Vec<Pair>,
    #[module(skip)]
    config: HypernetworkConfig,
}

/// The networks for what has one width.
#[derive(Module, Debug)]
pub struct Pair {
    /// Of what keys are made of.
    pub keys: Stack,
    /// Of what values are made of.
    pub values: Stack,
    #[module(skip)]
    width: usize,
}

/// Layers one after another.
#[derive(Module, Debug)]
pub struct Stack {
    /// In order.
    pub layers: Vec<HyperLayer>,
}

/// A linear layer with what follows it.
#[derive(Module, Debug)]
pub struct HyperLayer {
    /// The layer.
    pub linear: Linear,
    /// After the activation.
    pub norm: Option<LayerNorm>,
    #[module(skip)]
    curve: Option<Curve>,
}

impl Hypernetwork {
    pub(super) fn new(config: &HypernetworkConfig, device: &Device) -> Self {
        let stack = |width: usize, sizes: &[usize]| {
            let inputs = std::iter::once(&width).chain(sizes);
            let layers = inputs.zip(sizes).enumerate();
            let layers = layers.map(|(i, (input, output))| HyperLayer {
                linear: Linear::new(device, *input, *output, true),
                norm: config.norms.then(|| LayerNorm::new(device, *output)),
                curve: config
                    .curve
                    .filter(|_| config.curve_at_end || i + 1 < sizes.len()),
            });
            Stack {
                layers: layers.collect(),
            }
        };
        let pairs = config.widths.iter().map(|bent| Pair {
            keys: stack(bent.width, &bent.layers),
            values: stack(bent.width, &bent.layers),
            width: bent.width,
        });
        Self {
            pairs: pairs.collect(),
            config: config.clone(),
        }
    }

    /// What the network is made of.
    pub fn config(&self) -> &HypernetworkConfig {
        &self.config
    }
}

impl Stack {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.layers.iter().fold(x, |x, layer| {
            let x = layer.linear.forward(x);
            let x = match layer.curve {
                Some(curve) => curve.of(x),
                None => x,
            };
            match &layer.norm {
                Some(norm) => norm.forward(x),
                None => x,
            }
        })
    }
}

/// A hypernetwork in use, by a network that computes in the same type.
#[derive(Debug, Clone)]
pub struct Bend {
    /// The network.
    pub network: Hypernetwork,
    /// The factor on what it adds.
    pub strength: f64,
}

impl Bend {
    /// What keys and what values are made of, plus what its networks for that width make of it.
    fn of(&self, sources: [Tensor<3>; 2]) -> [Tensor<3>; 2] {
        let [keys, values] = sources;
        let [_, _, width] = keys.dims();
        let mut pairs = self.network.pairs.iter();
        let Some(pair) = pairs.find(|pair| pair.width == width) else {
            return [keys, values];
        };
        let plus = |x: Tensor<3>, stack: &Stack| x.clone() + stack.forward(x) * self.strength;
        [plus(keys, &pair.keys), plus(values, &pair.values)]
    }
}

/// What an attention makes its keys and its values of, where these networks bend what it reads one after the other:
/// `[batch, tokens, width]`.
pub fn bent(bends: &[Bend], x: Tensor<3>) -> [Tensor<3>; 2] {
    bends
        .iter()
        .fold([x.clone(), x], |sources, bend| bend.of(sources))
}

layers!(Hypernetwork { pairs; config });
layers!(Pair { keys, values; width });
layers!(Stack { layers });
layers!(HyperLayer { linear, norm; curve });
