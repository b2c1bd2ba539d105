//! Pictures as prompts: what an encoder sees of them becomes tokens, and the tokens keys and values of every attention on the
//! context, once for the whole job. The negative prompt is beside what the adapter makes of nothing.

use burn::tensor::Tensor;
use latent_diffusion as diffusion;
use latent_models::Input;
use latent_models::ip_adapter::Sees;
use latent_models::unet::KeysValues;

use crate::control::Span;
use crate::error::{Error, Result};
use crate::extension::{Call, Extension};
use crate::guiders::Prompt;
use crate::model::{IpModel, Model};
use crate::passes::Made;
use crate::request::{Request, ShownPictures};
use crate::resources::Resources;

/// Pictures as one IP-Adapter shows them.
#[derive(Debug, Clone)]
pub struct Shown {
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
            Sees::States(_) => ip.encoder.states_of_zeros()?,
        };
        let nothing = adapter.tokens(nothing);
        let nothing = vec![nothing; seen.len()];
        let made = |tokens: Vec<Tensor<3>>| {
            let tokens = Tensor::cat(tokens, 1);
            adapter.keys_values(&tokens, unet, asked.weight)
        };
        Ok(Self {
            prompt: made(seen),
            negative: made(nothing),
            part: [asked.start, asked.end],
        })
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
    made: Made<Vec<KeysValues>>,
}

impl Show {
    /// Of these, in that part of the run.
    pub fn new(shown: Shown, span: Span) -> Self {
        Self {
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
                        let one = part(&beside(&seen.name.0)[i]).clone();
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
        input.extras.pictures.push(all.clone());
        Ok(())
    }
}
