//! Pixels before and after sampling: fitting the given picture to the canvas, and putting the result back into it.

use burn::tensor::{Device, Tensor, TensorData};

use crate::draw::{Canvas, Mask};
use crate::error::{Error, Result};
use crate::picture::resize::Filter;
use crate::picture::{Grey, Picture, Region, blur, fill, mask};
use crate::profile::Profile;
use crate::request::{Compat, InpaintFill, Name, Request, ResizeMode, Size};
use crate::resources::Resources;

/// A given picture made ready for sampling, and what is needed to put the result back.
#[derive(Debug)]
pub struct Prepared {
    /// The picture at the size that is sampled.
    picture: Picture,
    /// Its mask, of the same size.
    mask: Option<Grey>,
    paste: Option<Paste>,
}

/// How a result is laid over the original.
#[derive(Debug)]
struct Paste {
    original: Picture,
    /// White where the result shows, of the original's size.
    mask: Grey,
    region: Option<Region>,
}

impl Prepared {
    /// Reads and fits everything a request says of its picture; `None` for a request without one.
    ///
    /// # Errors
    /// Files that cannot be read, a mask of another size, a mask that selects nothing.
    pub fn of(
        request: &Request,
        profile: &Profile,
        resources: &dyn Resources,
    ) -> Result<Option<Self>> {
        let Some(name) = &request.start.image else {
            return Ok(None);
        };
        let picture = resources.picture(name)?;
        let mut picture = match profile.background {
            Some(background) => picture.flatten(background),
            None => picture.opaque(),
        };
        let mut selected = match &request.start.mask {
            Some(name) => {
                let given = resources.picture(name)?;
                Some(fitted_mask(&given, picture.size(), request))
            }
            None => None,
        };
        if let Some(edges) = request.start.outpaint {
            let overlap = request.start.mask_blur as usize * 2;
            let (wider, border) = fill::outpaint(&picture, edges, overlap).ok_or_else(|| {
                Error::field(
                    "start.outpaint",
                    format!("{edges:?}"),
                    "a canvas that fits into memory",
                )
            })?;
            selected = Some(match selected {
                Some(inner) => union(&border, &inner, edges.left, edges.top),
                None => border,
            });
            picture = wider;
        }
        let canvas = request.canvas();
        let Some(selected) = selected else {
            let picture = picture.fit(canvas, request.start.resize_mode, Filter::Lanczos);
            return Ok(Some(Self {
                picture,
                mask: None,
                paste: None,
            }));
        };
        let sharp = selected.clone();
        let selected = blur::mask_blur(&selected, request.start.mask_blur);
        let nothing = || {
            let which = request
                .start
                .mask
                .as_ref()
                .map_or("the outpainting border".to_owned(), Name::to_string);
            Error::field(
                "start.mask",
                which,
                "a mask with white in it, since white is repainted; `start.mask_invert` (--mask-invert) repaints the black instead",
            )
        };
        let bounds = mask::bounds(&sharp, 0).ok_or_else(nothing)?;
        let region = request.start.only_masked.then(|| {
            let padded = mask::bounds(&selected, request.start.padding).unwrap_or(bounds);
            mask::expand(padded, canvas, picture.size())
        });
        let (mut part, mut part_mask) = match region {
            Some(region) => (
                picture
                    .crop(region)
                    .ok_or_else(nothing)?
                    .resize(canvas, Filter::Lanczos),
                selected
                    .crop(region)
                    .ok_or_else(nothing)?
                    .resize(canvas, Filter::Lanczos),
            ),
            None => (
                picture.fit(canvas, request.start.resize_mode, Filter::Lanczos),
                selected.fit(canvas, request.start.resize_mode, Filter::Lanczos),
            ),
        };
        if request.start.fill == InpaintFill::Fill {
            part = fill::fill(&part, &part_mask).unwrap_or(part);
        }
        if profile.compat == Compat::Diffusers {
            part_mask = mask::binarize(&part_mask);
        }
        // A part that was cut out must go back whatever the profile says.
        let paste = (profile.paste || region.is_some()).then(|| match region {
            Some(_) => Paste {
                original: picture,
                mask: selected,
                region,
            },
            None => {
                let original = picture.fit(canvas, request.start.resize_mode, Filter::Lanczos);
                let mask =
                    mask::double(&selected.fit(canvas, request.start.resize_mode, Filter::Lanczos));
                Paste {
                    original,
                    mask,
                    region: None,
                }
            }
        });
        Ok(Some(Self {
            picture: part,
            mask: Some(part_mask),
            paste,
        }))
    }

    /// The picture at the size that is sampled.
    pub fn picture(&self) -> &Picture {
        &self.picture
    }

    /// The networks' form of it.
    pub fn canvas(&self, device: &Device, downsample: usize, profile: &Profile) -> Canvas {
        let (width, height) = (self.picture.width(), self.picture.height());
        let image = TensorData::new(self.picture.to_planes(), [1, 3, height, width]);
        let mask = self.mask.as_ref().map(|grey| {
            let values: Vec<f32> = grey
                .values()
                .iter()
                .map(|v| f32::from(*v) / 255.0)
                .collect();
            let small = Size {
                width: width / downsample,
                height: height / downsample,
            };
            let latent = mask::to_latent(grey, small, profile.compat);
            // ComfyUI rounds its own; the others take the nearest pixel.
            let channel = match profile.compat {
                Compat::ComfyUi => latent.iter().map(|v| v.round_ties_even()).collect(),
                _ => mask::to_latent(grey, small, Compat::Diffusers),
            };
            let tensor = |values, height, width| {
                Tensor::from_data(TensorData::new(values, [1, 1, height, width]), device)
            };
            Mask {
                pixels: tensor(values, height, width),
                latent: tensor(latent, small.height, small.width),
                channel: tensor(channel, small.height, small.width),
            }
        });
        Canvas {
            image: Tensor::from_data(image, device),
            mask,
        }
    }

    /// The finished picture: the result, or the result within the original.
    pub fn finish(&self, drawn: Picture) -> Picture {
        match &self.paste {
            None => drawn,
            Some(paste) => {
                fill::overlay(&drawn, &paste.original, &paste.mask, paste.region).unwrap_or(drawn)
            }
        }
    }

    /// Whether the result goes back into a larger original, whose size is then kept.
    pub fn keeps_original_size(&self) -> bool {
        self.paste.as_ref().is_some_and(|p| p.region.is_some())
    }
}

fn fitted_mask(given: &Picture, size: Size, request: &Request) -> Grey {
    let given = mask::of(given);
    let given = if given.size() == size {
        given
    } else {
        given.fit(size, ResizeMode::Stretch, Filter::Nearest)
    };
    if request.start.mask_invert {
        mask::invert(&given)
    } else {
        given
    }
}

/// `border` with `inner` laid into it at (`left`, `top`), white where either is.
fn union(border: &Grey, inner: &Grey, left: usize, top: usize) -> Grey {
    let (width, inner_width) = (border.width(), inner.width());
    let mut values = border.values().to_vec();
    for (y, row) in inner.values().chunks_exact(inner_width).enumerate() {
        for (x, value) in row.iter().enumerate() {
            let at = &mut values[(top + y) * width + left + x];
            *at = (*at).max(*value);
        }
    }
    Grey::new(width, border.height(), values).unwrap_or_else(|| border.clone())
}
