//! What a denoiser takes beside the latent, as further channels: a mask and the masked picture, a depth map, a small
//! picture.

use burn::tensor::{Tensor, TensorData};
use latent_diffusion::{NoiseSchedule, NoiseStreams};
use latent_models::hypernetwork::Bend;
use latent_ops::{self as ops, Filter};

use crate::control::{Held, Style};
use crate::draw::{Canvas, Drawing, Start, padding};
use crate::error::{Error, Result};
use crate::family::Beside;
use crate::model::Model;
use crate::reference::Referred;
use crate::request::{Name, Request};
use crate::resources::Resources;
use crate::seen::Seen;
use crate::shown::Shown;

/// The noise level at which an upscaler is given the small picture where a request says none.
pub(crate) const NOISE_LEVEL: u32 = 20;
/// The highest level that the ×4 upscaler was trained with.
const MAX_NOISE_LEVEL: usize = 350;

/// Pictures that a model takes beside the one that is drawn.
#[derive(Debug, Default)]
pub struct Hints {
    /// Depths in any unit, larger is nearer: `[1, 1, height, width]` at its own size.
    pub depth: Option<Tensor<4>>,
    /// The small picture, −1..=1: `[1, 3, h, w]`, of the latent's size.
    pub small: Option<Tensor<4>>,
    /// What the image encoder makes of pictures.
    pub seen: Vec<Seen>,
    /// Pictures that the drawing is held to.
    pub held: Vec<Held>,
    /// Those of them that are tokens behind the prompt's.
    pub styles: Vec<Style>,
    /// Pictures as prompts.
    pub shown: Vec<Shown>,
    /// Pictures that the denoiser's own attention looks at.
    pub referred: Vec<Referred>,
    /// Hypernetworks that bend what the denoiser's attention reads.
    pub bends: Vec<Bend>,
}

impl Hints {
    /// Reads the pictures that the model's family takes as channels.
    ///
    /// # Errors
    /// One that is missing or cannot be read, or that the model does not take; a depth map that is the same everywhere.
    pub fn of(request: &Request, model: &Model, resources: &dyn Resources) -> Result<Self> {
        let beside = model.family.beside;
        let takes = |field: &'static str, set: bool, wanted: bool, what: &str| match (set, wanted) {
            (true, false) => Err(Error::field(
                field,
                "set",
                format!("nothing: {} takes none", model.family.name),
            )),
            (false, true) => Err(Error::field(field, "not set", what)),
            _ => Ok(()),
        };
        // Models that were trained here read their small picture by themselves.
        let own = model.conditioner().is_some();
        let small = beside == Beside::Small && !own;
        takes(
            "condition.depth",
            request.condition.depth.is_some(),
            beside == Beside::Depth,
            "a depth map, which this model needs: a grey picture, nearer is lighter",
        )?;
        takes(
            "condition.upscale",
            request.condition.upscale.is_some() && !own,
            small,
            "the small picture, which this model makes four times as large",
        )?;
        let highest = match &model.augmentor {
            Some(augmentor) => Some(augmentor.highest()),
            None => small.then(|| MAX_NOISE_LEVEL.min(of_small(model).steps() - 1)),
        };
        takes(
            "condition.noise_level",
            request.condition.noise_level.is_some() && highest.is_none(),
            false,
            "",
        )?;
        if let (Some(level), Some(highest)) = (request.condition.noise_level, highest)
            && level as usize > highest
        {
            let expected = format!("0 to {highest}, the levels that this model knows");
            return Err(Error::field("condition.noise_level", level, expected));
        }
        let read = |name: &Name| -> Result<Tensor<4>> {
            let picture = resources.picture(name)?.opaque();
            let data = TensorData::new(
                picture.to_planes(),
                [1, 3, picture.height(), picture.width()],
            );
            Ok(Tensor::from_data(data, &model.device))
        };
        let depth = request.condition.depth.as_ref().map(read).transpose()?;
        // Grey: the mean of the colours.
        let depth = depth.map(|planes| planes.mean_dim(1));
        if let Some(depth) = &depth {
            check_depth(depth, request.condition.depth.as_ref())?;
        }
        let small = request.condition.upscale.as_ref().filter(|_| small);
        Ok(Self {
            depth,
            small: small.map(read).transpose()?,
            seen: Vec::new(),
            held: Vec::new(),
            styles: Vec::new(),
            shown: Vec::new(),
            referred: Vec::new(),
            bends: Vec::new(),
        })
    }
}

/// The noise that the small picture gets, which the denoiser is told the level of.
fn of_small(model: &Model) -> &NoiseSchedule {
    model.low_resolution.as_ref().unwrap_or(&model.schedule)
}

/// Whether there is more than one depth in a map, without which nothing is nearer than the rest; `name` is its file's.
fn check_depth(depth: &Tensor<4>, name: Option<&Name>) -> Result<()> {
    let [low, high] = [depth.clone().min(), depth.clone().max()].map(|t| t.into_scalar::<f32>());
    if low < high {
        return Ok(());
    }
    let value = name.map_or_else(|| "flat".to_owned(), ToString::to_string);
    let expected = "a depth map with more than one depth: every depth of this one is the same";
    Err(Error::field("condition.depth", value, expected))
}

impl Drawing<'_> {
    /// Channels of the pictures that the family takes, for every picture of the batch: `[batch, c, h, w]`.
    ///
    /// # Errors
    /// A small picture of another size than the latent; a depth map that is the same everywhere at that size.
    pub(crate) fn hint_channels(
        &self,
        start: &Start<'_>,
        streams: &mut NoiseStreams,
        [_, h, w]: [usize; 3],
    ) -> Result<Option<Tensor<4>>> {
        let Some(hints) = start.hints else {
            return Ok(None);
        };
        let batch = streams.pictures();
        if let Some(depth) = &hints.depth {
            let depth = ops::resize(depth.clone(), [h, w], Filter::Bicubic);
            check_depth(&depth, self.request.condition.depth.as_ref())?;
            let (low, high) = (depth.clone().min(), depth.clone().max());
            let span = (high - low.clone()).reshape([1, 1, 1, 1]);
            let low = low.reshape([1, 1, 1, 1]);
            let depth = (depth - low) * 2.0 / span - 1.0;
            return Ok(Some(depth.expand([batch, 1, h, w])));
        }
        let Some(small) = &hints.small else {
            return Ok(None);
        };
        let [_, _, height, width] = small.dims();
        if [height, width] != [h, w] {
            let by = self.model.latent.downsample;
            return Err(Error::field(
                "width and height",
                format!("{}×{}", w * by, h * by),
                format!(
                    "{}×{}, {by} times the small picture",
                    width * by,
                    height * by
                ),
            ));
        }
        let level = self.request.condition.noise_level.unwrap_or(NOISE_LEVEL) as usize;
        let alphas = of_small(self.model).alphas_cumprod();
        let alpha = alphas.get(level).copied().unwrap_or(1.0);
        let noise = streams.draw([3, h, w], &self.model.device);
        let small = small.clone().expand([batch, 3, h, w]);
        Ok(Some(small * alpha.sqrt() + noise * (1.0 - alpha).sqrt()))
    }

    /// Mask and masked picture of an inpainting network: `[batch, 1 + channels, h, w]`. Without a mask everything is
    /// repainted, and what it sees is grey.
    ///
    /// # Errors
    /// An autoencoder whose weights cannot be read.
    pub(crate) fn masked_channels(
        &self,
        start: &Start<'_>,
        streams: &mut NoiseStreams,
        shape: [usize; 3],
    ) -> Result<Tensor<4>> {
        let [_, h, w] = shape;
        let device = &self.model.device;
        let down = self.model.latent.downsample;
        let batch = streams.pictures();
        if self.model.condition.is_some() {
            // The paper's model: a hole is black.
            let (image, mask) = match start.canvas {
                Some(Canvas {
                    image,
                    mask: Some(mask),
                }) => {
                    let hole = mask.pixels.clone().greater_equal_elem(0.5);
                    let hole = hole.expand(image.shape());
                    (image.clone().mask_fill(hole, -1.0), mask.channel.clone())
                }
                _ => (
                    Tensor::full([1, 3, h * down, w * down], -1.0, device),
                    Tensor::ones([1, 1, h, w], device),
                ),
            };
            let encoded = self.model.encode(image, padding(self.request.tiling))?;
            let seen = self.model.scale_in(encoded.mean);
            let both = latent_conditions::masked_channels(seen, mask);
            let channels = both.dims()[1];
            return Ok(both.expand([batch, channels, h, w]));
        }
        let (latent, seen) = match start.canvas {
            Some(Canvas {
                image,
                mask: Some(mask),
            }) => {
                let kept = mask.pixels.clone().lower_elem(0.5).float();
                (
                    mask.channel.clone(),
                    image.clone() * kept.expand(image.shape()),
                )
            }
            _ => (
                Tensor::ones([1, 1, h, w], device),
                Tensor::zeros([1, 3, h * down, w * down], device),
            ),
        };
        let seen = self.encode(seen, streams, shape)?;
        let latent = latent.expand([batch, 1, h, w]);
        Ok(Tensor::cat(vec![latent, seen], 1))
    }
}
