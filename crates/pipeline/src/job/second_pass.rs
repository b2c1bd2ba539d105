//! The second pass of a job: what was drawn, enlarged as a latent or as a picture, and drawn again ("hires fix").

use burn::tensor::{Tensor, TensorData};
use latent_diffusion::PictureSeed;
use latent_models::Padding;
use latent_ops as ops;

use super::{Job, Told};
use crate::draw::{Drawing, Drawn, Start};
use crate::error::Result;
use crate::hooks::Hooks;
use crate::model::Stage;
use crate::picture::resize::Filter;
use crate::ready::Second;
use crate::request::{Size, Upscaler};

impl Job<'_> {
    /// Draws the pictures of a first pass again, larger. `first` is the number of the first of them.
    ///
    /// # Errors
    /// As [`Drawing::draw`]'s.
    pub(super) fn second_pass(
        &self,
        first_drawing: &Drawing<'_>,
        (second, told): (&Second, Told<'_>),
        drawn: Drawn,
        seeds: &[PictureSeed],
        first: usize,
        hooks: &mut dyn Hooks,
    ) -> Result<Drawn> {
        let hires = &second.hires;
        let request = self.request;
        let (enlarged, cut) = hires.target(request.size());
        let round = |v: usize| v.next_multiple_of(self.model.multiple());
        let size = Size {
            width: round(enlarged.width),
            height: round(enlarged.height),
        };
        let [h, w] = self.latent_size(size);
        let latent = match latent_filter(hires.upscaler) {
            Some(filter) => ops::resize(drawn.latent, [h, w], filter),
            None => {
                self.model.load(Stage::Compressing, hooks)?;
                self.enlarge_pixels(drawn.latent, size, pixel_filter(hires.upscaler), hooks)?
            }
        };
        let target = Size {
            width: round(cut.width),
            height: round(cut.height),
        };
        let [target_h, target_w] = self.latent_size(target);
        let latent =
            latent
                .narrow(2, (h - target_h) / 2, target_h)
                .narrow(3, (w - target_w) / 2, target_w);
        let drawing = Drawing {
            sampler: second.resolved.sampler,
            scheduler: second.resolved.scheduler,
            steps: second.steps,
            strength: hires.denoising_strength,
            rule: self.ready.profile.hires_strength,
            ..*first_drawing
        };
        let start = Start {
            size: [target_h, target_w],
            canvas: None,
            latent: Some(latent),
            hints: Some(&self.ready.hints),
        };
        let name = "second pass";
        self.pass(&drawing, &start, told, seeds, name, first, hooks)
    }

    fn enlarge_pixels(
        &self,
        latent: Tensor<4>,
        size: Size,
        filter: Filter,
        hooks: &mut dyn Hooks,
    ) -> Result<Tensor<4>> {
        let batch = latent.dims()[0];
        let enlarged = latent.chunk(batch, 0).into_iter().map(|latent| {
            let picture = self.ready.decoding.picture(
                self.model,
                self.request,
                &self.ready.profile,
                latent,
                hooks,
            )?;
            let planes = picture.resize(size, filter).to_planes();
            let data = TensorData::new(planes, [1, 3, size.height, size.width]);
            let pixels = Tensor::from_data(data, &self.model.device);
            let encoded = self.model.encode(pixels, Padding::Zero)?;
            Ok(self.model.scale_in(encoded.mean))
        });
        Ok(Tensor::cat(enlarged.collect::<Result<_>>()?, 0))
    }
}

fn latent_filter(upscaler: Upscaler) -> Option<ops::Filter> {
    Some(match upscaler {
        Upscaler::Latent => ops::Filter::Bilinear,
        Upscaler::LatentAntialiased => ops::Filter::BilinearAntialias,
        Upscaler::LatentBicubic => ops::Filter::Bicubic,
        Upscaler::LatentBicubicAntialiased => ops::Filter::BicubicAntialias,
        Upscaler::LatentNearest => ops::Filter::Nearest,
        Upscaler::LatentNearestExact => ops::Filter::NearestExact,
        _ => return None,
    })
}

fn pixel_filter(upscaler: Upscaler) -> Filter {
    match upscaler {
        Upscaler::Nearest => Filter::Nearest,
        Upscaler::Bicubic => Filter::Bicubic,
        Upscaler::Bilinear => Filter::Bilinear,
        Upscaler::Area => Filter::Area,
        _ => Filter::Lanczos,
    }
}
