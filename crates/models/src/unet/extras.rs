//! What other networks add inside of a U-Net in one call.

use burn::tensor::Tensor;

use super::cross::KeysValues;
use super::freeu::FreeU;
use super::part::Part;
use super::reference::References;

/// What is added to the states of a U-Net in one call, by networks beside it. By default nothing.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// What a ControlNet found (Zhang et al., "Adding Conditional Control to Text-to-Image Diffusion Models", 2023).
    pub residuals: Option<Residuals>,
    /// What a T2I-Adapter found ([`crate::t2i`]): what is added to the states at the end of each level of the way down, before
    /// they are kept, and where there is one more, to those of the middle; `[batch, channels, h, w]` each, in order.
    pub features: Vec<Tensor<4>>,
    /// What IP-Adapters show ([`crate::ip_adapter`]).
    pub pictures: Vec<Pictures>,
    /// What counts more and less on the way up.
    pub freeu: Option<FreeU>,
    /// Whether [`Output::remembered`](crate::denoiser::Output::remembered) is asked for.
    pub remember: bool,
    /// What self-attention looks at beside its own pixels.
    pub references: Option<References>,
}

/// What one IP-Adapter shows.
#[derive(Debug, Clone)]
pub struct Pictures {
    /// Keys and values for every attention on the context that stands beside one on the pixels, in the order in which they are
    /// computed.
    pub seen: Vec<KeysValues>,
    /// Where it is seen, 0 to 1: `[1, 1, height, width]`, of any size. `None`: everywhere.
    pub mask: Option<Tensor<4>>,
}

/// Sums to be added to what a U-Net keeps on its way down and to what its middle makes.
#[derive(Debug, Clone)]
pub struct Residuals {
    /// One for each tensor kept on the way down, in order: `[batch, channels, h, w]` of its level.
    pub kept: Vec<Tensor<4>>,
    /// `[batch, channels, h, w]` of the coarsest level.
    pub middle: Option<Tensor<4>>,
}

impl Extras {
    /// Whether nothing is added or asked for.
    pub fn is_empty(&self) -> bool {
        let Self {
            residuals,
            features,
            pictures,
            freeu,
            remember,
            references,
        } = self;
        residuals.is_none()
            && features.is_empty()
            && pictures.is_empty()
            && freeu.is_none()
            && !remember
            && references.is_none()
    }

    /// What a part made, with what is added to it: `ends` says whether it is the end of a level or of the middle.
    pub(super) fn ended(&mut self, ends: bool, h: Tensor<4>) -> Tensor<4> {
        if !ends || self.features.is_empty() {
            return h;
        }
        let dtype = h.dtype();
        h + self.features.remove(0).cast(dtype)
    }

    /// Adds another network's features.
    pub fn add_features(&mut self, features: Vec<Tensor<4>>) {
        let before = std::mem::take(&mut self.features);
        self.features = match before.is_empty() {
            true => features,
            false => before
                .into_iter()
                .zip(features)
                .map(|(a, b)| a + b)
                .collect(),
        };
    }

    /// What a part on the way up of a network of so many model channels is given of the part before it and of what was kept,
    /// with what is added to them.
    pub(super) fn joined(
        &mut self,
        part: Part,
        h: Tensor<4>,
        skip: Option<Tensor<4>>,
        model_channels: usize,
    ) -> (Tensor<4>, Option<Tensor<4>>) {
        let Part::Up(level, _) = part else {
            return (h, skip);
        };
        let plus = |x: Tensor<4>, more: Option<Tensor<4>>| match more {
            Some(more) => {
                let dtype = x.dtype();
                x + more.cast(dtype)
            }
            None => x,
        };
        let (mut h, mut skip) = (h, skip);
        if let Some(added) = &mut self.residuals {
            // The middle's is taken by the first, and what was kept last comes first.
            h = plus(h, added.middle.take());
            skip = skip.map(|skip| plus(skip, added.kept.pop()));
        }
        let below = h.dims()[1];
        let stage = |freeu: &FreeU| freeu.stage(level, below, model_channels);
        match self
            .freeu
            .as_ref()
            .and_then(|freeu| Some((freeu, stage(freeu)?)))
        {
            Some((freeu, stage)) => (
                freeu.below(stage, h),
                skip.map(|skip| freeu.kept(stage, skip)),
            ),
            None => (h, skip),
        }
    }
}

impl Residuals {
    /// Each times its factor, that of the middle last.
    pub fn scaled(self, factors: &[f64]) -> Self {
        let mut factors = factors.iter();
        self.map(|x| match factors.next() {
            None | Some(1.0) => x,
            Some(factor) => x * *factor,
        })
    }

    /// The mean of each over its pixels, at every one of them.
    pub fn pooled(self) -> Self {
        self.map(|x| {
            let shape = x.shape();
            x.mean_dim(2).mean_dim(3).expand(shape)
        })
    }

    /// The same with zeros for so many pictures before and after.
    pub fn between(self, before: usize, after: usize) -> Self {
        self.map(|x| between(x, before, after))
    }

    /// The sums with those of another network.
    pub fn plus(self, other: Self) -> Self {
        let kept = self.kept.into_iter().zip(other.kept);
        let middle = self.middle.into_iter().chain(other.middle);
        Self {
            kept: kept.map(|(a, b)| a + b).collect(),
            middle: middle.reduce(|a, b| a + b),
        }
    }

    fn map(self, mut change: impl FnMut(Tensor<4>) -> Tensor<4>) -> Self {
        Self {
            kept: self.kept.into_iter().map(&mut change).collect(),
            middle: self.middle.map(change),
        }
    }
}

/// With zeros for so many pictures before and after.
pub fn between(x: Tensor<4>, before: usize, after: usize) -> Tensor<4> {
    let [_, c, h, w] = x.dims();
    let zeros = |batch: usize| {
        let zeros = || Tensor::zeros([batch, c, h, w], (&x.device(), x.dtype()));
        (batch > 0).then(zeros)
    };
    let all = [zeros(before), Some(x.clone()), zeros(after)];
    let all: Vec<_> = all.into_iter().flatten().collect();
    match all.len() {
        1 => x,
        _ => Tensor::cat(all, 0),
    }
}
