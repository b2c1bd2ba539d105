//! Pictures as prompts: what an encoder sees of them becomes tokens, and the tokens keys and values of every attention on the
//! context, once for the whole job. The negative prompt is beside what the adapter makes of nothing.

use burn::tensor::{Device, Tensor, TensorData};
use latent_diffusion as diffusion;
use latent_models::clip::Sees;
use latent_models::unet::{KeysValues, Pictures, Side};
use latent_models::{Input, UNetConfig};

use crate::control::Span;
use crate::error::{Error, Result};
use crate::extension::{Call, Extension};
use crate::guiders::Prompt;
use crate::model::{IpModel, Model};
use crate::passes::Made;
use crate::picture::resize::Filter;
use crate::picture::{Grey, mask};
use crate::request::{Request, ResizeMode, ShownPictures, Size, WeightType};
use crate::resources::Resources;

/// Pictures as one IP-Adapter shows them.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Where they are seen, of the mask's own size.
    mask: Option<Grey>,
    /// For each attention on the context, in the order in which they are computed, `[1, tokens, channels]`.
    prompt: Vec<KeysValues>,
    /// The same beside the negative prompt.
    negative: Vec<KeysValues>,
    /// The part of the run.
    part: [f64; 2],
}

impl Shown {
    /// The pictures of a request.
    ///
    /// # Errors
    /// A model that was opened without the adapters; a picture or a weight that cannot be read.
    pub fn all(request: &Request, model: &Model, resources: &dyn Resources) -> Result<Vec<Self>> {
        if request.ip_adapter.len() != model.shows() {
            return Err(Error::field(
                "ip_adapter",
                format!("{} adapters", request.ip_adapter.len()),
                "a model that was opened with them (`ModelFiles::ip_adapters`)",
            ));
        }
        let entries = request.ip_adapter.iter().enumerate();
        let shown = entries.filter_map(|(i, asked)| Some((asked, model.ip_adapter(i)?)));
        let shown = shown.map(|(asked, ip)| Self::of(asked, ip, model, resources));
        shown.collect()
    }

    fn of(
        asked: &ShownPictures,
        ip: &IpModel,
        model: &Model,
        resources: &dyn Resources,
    ) -> Result<Self> {
        let unet = model.denoiser.config().unet().ok_or_else(|| {
            let expected = "nothing, since this model's denoiser is no U-Net";
            Error::field("ip_adapter", &ip.name, expected)
        })?;
        let adapter = ip.adapter.get()?;
        let sees = adapter.config().projection.sees();
        let seen = asked.images.iter().map(|name| {
            let picture = resources.picture(name)?.opaque();
            let seen = ip.encoder.seen(&picture, sees)?;
            Ok(adapter.tokens(seen))
        });
        let seen = seen.collect::<Result<Vec<_>>>()?;
        let nothing = match sees {
            Sees::Embedding(width) => Tensor::zeros([1, 1, width], &model.device),
            sees => ip.encoder.seen_of_zeros(sees)?,
        };
        let nothing = adapter.tokens(nothing);
        let nothing = vec![nothing; seen.len()];
        let factors = factors(asked.weight_type, unet)?;
        let made = |tokens: Vec<Tensor<3>>| {
            let tokens = Tensor::cat(tokens, 1);
            let all = adapter.keys_values(&tokens, unet, asked.weight);
            let all = all.into_iter().zip(&factors);
            let weighted = all.map(|(one, factor)| KeysValues {
                values: match factor {
                    1.0 => one.values,
                    factor => one.values * *factor,
                },
                ..one
            });
            weighted.collect()
        };
        let mask = asked.mask.as_ref();
        let mask = mask.map(|name| Ok::<_, Error>(mask::of(&resources.picture(name)?)));
        Ok(Self {
            mask: mask.transpose()?,
            prompt: made(seen),
            negative: made(nothing),
            part: [asked.start, asked.end],
        })
    }

    /// Where they are seen in a drawing of `size`, 0 or 1; `None`: everywhere. `[1, 1, height, width]`.
    fn mask(&self, size: Size, device: &Device) -> Option<Tensor<4>> {
        let mask = self.mask.as_ref()?;
        let fitted = mask.fit(size, ResizeMode::Stretch, Filter::Lanczos);
        let values = fitted.values().iter();
        let values: Vec<f32> = values.map(|v| f32::from(u8::from(*v > 127))).collect();
        let data = TensorData::new(values, [1, 1, size.height, size.width]);
        Some(Tensor::from_data(data, device))
    }

    /// The fractions of a run between which they are shown.
    pub fn part(&self) -> [f64; 2] {
        self.part
    }
}

/// Shows pictures before each call.
pub struct Show {
    shown: Shown,
    span: Span,
    mask: Option<Tensor<4>>,
    made: Made<Vec<KeysValues>>,
}

impl Show {
    /// Of these, in that part of a run that draws pictures of `size`.
    pub fn new(shown: Shown, span: Span, size: Size, device: &Device) -> Self {
        Self {
            mask: shown.mask(size, device),
            shown,
            span,
            made: Made::default(),
        }
    }
}

impl Extension for Show {
    fn before(&mut self, call: &Call<'_>, input: &mut Input<'_>) -> Result<(), diffusion::Error> {
        if !self.span.contains(call.at) {
            return Ok(());
        }
        let shown = &self.shown;
        let all = self.made.of(call.names(), || {
            let beside = |prompt: &Prompt| match prompt {
                Prompt::Positive(_) => &shown.prompt,
                Prompt::Negative | Prompt::Empty => &shown.negative,
            };
            let attentions = (0..shown.prompt.len()).map(|i| {
                let rows = |part: fn(&KeysValues) -> &Tensor<3>| {
                    let rows = call.seen.iter().map(|seen| {
                        let one = part(&beside(&seen.name.prompt)[i]).clone();
                        let [_, tokens, channels] = one.dims();
                        one.expand([call.batch, tokens, channels])
                    });
                    Tensor::cat(rows.collect(), 0)
                };
                KeysValues {
                    keys: rows(|one| &one.keys),
                    values: rows(|one| &one.values),
                }
            });
            Ok::<_, diffusion::Error>(attentions.collect())
        })?;
        input.extras.pictures.push(Pictures {
            seen: all.clone(),
            mask: self.mask.clone(),
        });
        Ok(())
    }
}

/// The share of the weight that is everywhere left where it eases.
const LEAST: f64 = 0.05;
/// The share of the weight where a part is weak.
const WEAK: f64 = 0.2;
/// Transformers of SDXL's denoiser.
const OF_XL: usize = 11;
/// Those of Stable Diffusion 1.x's and 2.x's.
const OF_SD: usize = 16;

/// The factor on the weight for each attention on the context, in the order in which they are computed.
///
/// # Errors
/// Style or layout in a network of which nobody has found where they are made.
fn factors(kind: WeightType, unet: &UNetConfig) -> Result<Vec<f64>> {
    let transformers = unet.transformers();
    let count = transformers.len();
    let half = count as f64 / 2.0;
    let away = |i: usize| (i as f64 - half).abs() / half;
    let eased = |share: f64| LEAST + (1.0 - LEAST) * share;
    let weak = |is: bool| if is { WEAK } else { 1.0 };
    let only = |is: bool| if is { 1.0 } else { 0.0 };
    let xl = count == OF_XL;
    let by_place = matches!(
        kind,
        WeightType::Style | WeightType::Composition | WeightType::StrongStyle
    );
    if by_place && !xl && count != OF_SD {
        return Err(Error::field(
            "ip_adapter.weight_type",
            kind,
            format!(
                "another type: where style and layout are made is known of networks with {OF_SD} transformers (Stable Diffusion \
                 1.x and 2.x) and with {OF_XL} (SDXL), and this one has {count}"
            ),
        ));
    }
    let each = transformers.into_iter().enumerate();
    let each = each.flat_map(|(i, (side, depth))| {
        let factor = match kind {
            WeightType::Linear => 1.0,
            WeightType::EaseIn => eased(1.0 - i as f64 / count as f64),
            WeightType::EaseOut => eased(i as f64 / count as f64),
            WeightType::EaseInOut => eased(1.0 - away(i)),
            WeightType::ReverseInOut => eased(away(i)),
            WeightType::WeakInput => weak(side == Side::Down),
            WeightType::WeakOutput => weak(side == Side::Up),
            WeightType::WeakMiddle => weak(side == Side::Middle),
            WeightType::StrongMiddle => weak(side != Side::Middle),
            WeightType::Style if xl => only(i == 6),
            WeightType::Style => only(!(4..=8).contains(&i)),
            WeightType::Composition if xl => only(i == 3),
            // The coarsest two of the way down.
            WeightType::Composition if i == 4 => 0.25,
            WeightType::Composition => only(i == 5),
            WeightType::StrongStyle if xl => only(i != 3),
            WeightType::StrongStyle => only(i != 4 && i != 5),
        };
        std::iter::repeat_n(factor, depth)
    });
    Ok(each.collect())
}

#[cfg(test)]
mod tests {
    use latent_models::named;

    use super::*;

    /// As ComfyUI_IPAdapter_plus counts transformers.
    #[test]
    fn factors_are_by_transformer() {
        let sd = |kind| factors(kind, &named::unet_sd1()).unwrap();
        let xl = |kind| factors(kind, &named::unet_sdxl_base()).unwrap();
        assert_eq!(
            (sd(WeightType::Linear).len(), xl(WeightType::Linear).len()),
            (16, 70)
        );
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(sd(WeightType::EaseIn)[4], 0.05 + 0.95 * 0.75);
        near(sd(WeightType::EaseOut)[15], 0.05 + 0.95 * 15.0 / 16.0);
        near(sd(WeightType::EaseInOut)[8], 1.0);
        near(sd(WeightType::ReverseInOut)[0], 1.0);
        let weak = sd(WeightType::WeakOutput);
        assert_eq!((weak[6], weak[7], weak[15]), (1.0, 0.2, 0.2));
        assert_eq!(sd(WeightType::StrongMiddle)[6], 1.0);
        assert_eq!(sd(WeightType::Composition)[3..7], [0.0, 0.25, 1.0, 0.0]);
        let style = sd(WeightType::Style);
        assert_eq!(style.iter().sum::<f64>(), 11.0);
        // Of SDXL the transformers before 6 have 2, 2, 10, 10, then 10 in the middle, and 10 for the first of the way up.
        let style = xl(WeightType::Style);
        assert_eq!(
            style.iter().position(|f| *f == 1.0),
            Some(2 + 2 + 10 + 10 + 10 + 10)
        );
        assert_eq!(style.iter().sum::<f64>(), 10.0);
        assert_eq!(xl(WeightType::StrongStyle).iter().sum::<f64>(), 60.0);
        let small = UNetConfig {
            levels: named::unet_sd1().levels[2..].to_vec(),
            ..named::unet_sd1()
        };
        let words = factors(WeightType::Style, &small).unwrap_err().to_string();
        assert!(words.contains("ip_adapter.weight_type"), "{words}");
    }
}
