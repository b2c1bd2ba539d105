//! What holds a pass to pictures.

use burn::tensor::Tensor;
use latent_diffusion::NoisePath;
use latent_models::ControlNet;

use super::{Drawing, padding};
use crate::control::{Control, Features, Span, Styled, When};
use crate::error::Result;
use crate::extension::Extension;
use crate::model::ControlNetwork;
use crate::request;

impl Drawing<'_> {
    fn when(&self, asked: &request::Control, path: &NoisePath) -> When {
        let part = [asked.start, asked.end];
        When::of(asked, Span::of(self.profile.control_span, part, path))
    }

    /// What ControlNets and T2I-Adapters add. `hints` are the pictures, one for each entry of the request.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub(super) fn controls(
        &self,
        hints: &[Tensor<4>],
        path: &NoisePath,
    ) -> Result<Vec<Box<dyn Extension>>> {
        let mut controls: Vec<Box<dyn Extension>> = Vec::new();
        for (i, (asked, hint)) in self.request.control.iter().zip(hints).enumerate() {
            let Some(control) = self.model.control(i) else {
                continue;
            };
            let when = self.when(asked, path);
            match &control.network {
                ControlNetwork::ControlNet(part) => {
                    let network = ControlNet::clone(&*part.get()?);
                    let network = network.with_padding(padding(self.request.tiling));
                    let network = network.with_kind(asked.kind.map_or(0, |kind| kind as usize));
                    controls.push(Box::new(Control::new(network, when, hint.clone())));
                }
                ControlNetwork::T2iAdapter(part) => {
                    controls.push(Box::new(Features::new(&*part.get()?, when, hint.clone())));
                }
                // Its tokens are in the prompts.
                ControlNetwork::Style(_) => {}
            }
        }
        Ok(controls)
    }

    /// Tokens of pictures, each of an entry of the request, as they stand behind the prompts.
    pub(super) fn styled(&self, styles: &[(usize, Tensor<3>)], path: &NoisePath) -> Vec<Styled> {
        let styled = styles.iter().filter_map(|(entry, tokens)| {
            let when = self.when(self.request.control.get(*entry)?, path);
            Some(Styled::new(
                tokens.clone(),
                when,
                self.profile.zeros_beside_style,
            ))
        });
        styled.collect()
    }
}
