//! What is computed of one part of a step: losses and their gradients.

use burn::tensor::{Device, Tensor};
use latent_models::{Conditioned, Denoiser, Outline};

use super::{FITS, LatentModel, Stage2, contrast, mean};
use crate::learner::GradientList;
use crate::objective::chosen;
use crate::{Error, Example, Level, Report, Step};

/// A part of a step that is done.
#[derive(Debug)]
pub(super) struct Done {
    /// `loss`, the denoiser's own, and the other terms by their names, without their weights.
    pub report: Report,
    /// Of the networks.
    pub gradients: GradientList,
    /// Of the projection that aligns them.
    pub projection: Option<GradientList>,
}

/// A pass of the denoiser that gradients go back through.
struct Pass<'a> {
    answer: Tensor<4>,
    /// What the block that was asked for gave.
    states: Option<Tensor<4>>,
    /// What goes on with the backward pass, where only the outline of this one was kept.
    outline: Option<Outline<'a>>,
}

impl LatentModel {
    /// The denoiser's answer, and the states after the block of that number, counted from 1: `[batch, channels, h, w]`.
    /// `recompute`: with little memory, see [`latent_models::UNet::outline`]; [`Stage2::on`] refuses it for a transformer.
    fn pass(
        &self,
        x: Tensor<4>,
        t: Tensor<1>,
        given: &Conditioned,
        block: Option<usize>,
        recompute: bool,
    ) -> Pass<'_> {
        let (x, given) = (given.beside(x), given.given());
        if let (true, Denoiser::UNet(unet)) = (recompute, &self.unet) {
            let outline = unet.outline(x, t, given, block).expect(FITS);
            return Pass {
                answer: outline.output(),
                states: outline.states(),
                outline: Some(outline),
            };
        }
        let (answer, states) = self.unet.forward_seen(x, t, given, block).expect(FITS);
        Pass {
            answer,
            states,
            outline: None,
        }
    }
}

impl Stage2 {
    /// Forward and backward on a replica of the networks on one of the devices.
    pub(super) fn gradients(
        &self,
        batch: &[Example],
        step: Step,
        device: &Device,
    ) -> Result<Done, Error> {
        let latents = self.latents(batch, step)?;
        let align = self.align.as_ref().filter(|align| align.acts(step.number));
        let features = align.map(|align| align.features(batch)).transpose()?;
        let indices = 0..batch.len();
        let levels: Vec<Level> = indices
            .clone()
            .map(|i| self.objective.draw(&mut step.random("time", i)))
            .collect();
        let dropout = self.config.objective.dropout;
        let left_out: Vec<bool> = indices
            .map(|i| step.random("dropout", i).uniform() < dropout)
            .collect();
        let contrasted = match &self.config.contrast {
            Some(config) => Some((config, config.pairs(batch, &left_out, step)?)),
            None => None,
        };
        let condition = self.condition(batch, &left_out, step)?;
        let noise = self.noise(&latents, step).to_device(device);
        let latents = latents.to_device(device);
        let (leaves, network) = self.learner.replica(device);
        let given = network.given(condition.map(|condition| condition.moved_to(device)));
        let noisy = self.objective.noisy(latents.clone(), noise, &levels)?;
        let block = align.map(|align| align.block);
        let recompute = self.learner.settings().activation_checkpointing;
        let pass = network.pass(
            noisy.x.clone(),
            noisy.times.clone(),
            &given,
            block,
            recompute,
        );
        let (answer, target) = (pass.answer.clone(), noisy.target.clone());
        let each = self.objective.judge(answer, target, &noisy.sigmas);
        let mut report = Report::new().with("loss", mean(each.clone().detach()));
        let mut whole = each.mean();
        let mut projection = None;
        if let (Some(align), Some(states), Some(features)) = (align, pass.states, features) {
            let (leaves, network) = align.learner.replica(device);
            let apart = network.apart(states, features.to_device(device));
            report = report.with("align", mean(apart.clone().detach()));
            whole = whole + apart.mean() * align.weight;
            projection = Some(leaves);
        }
        if let Some((config, pairs)) = contrasted.filter(|(_, pairs)| !pairs.is_empty()) {
            let apart = contrast::apart(&self.objective, pass.answer.clone(), &noisy, &pairs);
            report = report.with("contrast", mean(apart.clone().detach()));
            whole = whole - apart.sum() * (config.weight / batch.len() as f64);
        }
        let perceptual = self.config.perceptual.as_ref();
        let looked_at = perceptual.map(|p| p.rows(&levels, &self.objective, step.number));
        if let (Some(config), Some(rows)) = (perceptual, looked_at.filter(|r| !r.is_empty())) {
            let (noisy, answer) = (noisy.rows(&rows), chosen(pass.answer.clone(), &rows));
            let made = self.objective.clean(&noisy, answer);
            let apart = config.apart(&self.first, made, chosen(latents, &rows));
            report = report.with("perceptual", mean(apart.clone().detach()));
            whole = whole + apart.sum() * (config.weight / batch.len() as f64);
        }
        let mut gradients = vec![whole.backward()];
        if let Some(outline) = pass.outline {
            let more = outline.backward(&mut gradients[0]);
            gradients.extend(more);
        }
        let moved = |list: GradientList| list.moved_to(&self.device);
        Ok(Done {
            report,
            projection: projection.map(|leaves| moved(GradientList::of(&leaves, &mut gradients))),
            gradients: moved(GradientList::of(&leaves, &mut gradients)),
        })
    }
}
