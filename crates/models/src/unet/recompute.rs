//! Training with little memory: what a part of the network computed inside is forgotten and computed again when
//! the backward pass comes to it (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016).

use burn::module::Module;
use burn::tensor::{DType, Gradients, Tensor};

use super::network::UNet;
use super::part::Part;
use crate::denoiser::{Given, GivenError};

/// A forward pass of a U-Net of which only what lies between its parts is left.
#[derive(Debug)]
pub struct Outline<'a> {
    network: &'a UNet,
    x: Tensor<4>,
    time: Tensor<2>,
    context: Option<Tensor<3>>,
    /// The parts in their order, with what each was given.
    parts: Vec<(Part, Tensor<4>, Option<Tensor<4>>)>,
    output: Tensor<4>,
    /// What the block that was asked for gave, and the number of its part.
    states: Option<(usize, Tensor<4>)>,
}

/// The numbers of a tensor, from which gradients go no further.
fn leaf<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    let leaf = Tensor::from_inner(x.clone().inner());
    leaf.set_require_grad(x.is_tracked())
}

/// The sum; an absent one is zero.
fn add<const D: usize>(a: Option<Tensor<D>>, b: Option<Tensor<D>>) -> Option<Tensor<D>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

/// A number whose gradient in `x` is `gradient`.
fn along<const D: usize>(x: Tensor<D>, gradient: Tensor<D>) -> Tensor<1> {
    (x * Tensor::from_inner(gradient)).sum()
}

impl UNet {
    /// [`forward`](Self::forward) of a network that records gradients, with an output that knows nothing of how
    /// it was made. When the loss's backward pass has been, [`Outline::backward`] goes on with it, one part
    /// of the network after the other. `states` asks for [`Outline::states`] as
    /// [`Input::states`](crate::denoiser::Input::states) does.
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward).
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    pub fn outline(
        &self,
        x: Tensor<4>,
        t: Tensor<1>,
        given: Given,
        states: Option<usize>,
    ) -> Result<Outline<'_>, GivenError> {
        given.check(&self.config().interface())?;
        let time = self.embed(t, &self.shifts(&given));
        let context = given.context.map(|context| context.cast(self.dtype()));
        let plain = self.clone().valid();
        let (inner_time, inner_context) =
            (time.clone().inner(), context.clone().map(Tensor::inner));
        let mut h = x.clone().inner();
        let mut kept = Vec::new();
        let mut parts = Vec::new();
        let (mut block, mut seen) = (0, None);
        for part in plain.parts() {
            let skip: Option<Tensor<4>> = part.skip(&mut kept);
            parts.push((part, h.clone(), skip.clone()));
            h = plain.seeing(part, h, skip, &inner_time, inner_context.as_ref());
            block += usize::from(part.is_block());
            if part.is_block() && states == Some(block) {
                let leaf = Tensor::from_inner(h.clone()).require_grad();
                seen = Some((parts.len() - 1, leaf));
            }
            if part.keeps() {
                kept.push(h.clone());
            }
        }
        Ok(Outline {
            network: self,
            x,
            time,
            context,
            parts,
            output: Tensor::from_inner(h).require_grad(),
            states: seen,
        })
    }

    /// A part that makes the keys and values of its attention itself.
    fn seeing(
        &self,
        part: Part,
        h: Tensor<4>,
        skip: Option<Tensor<4>>,
        time: &Tensor<2>,
        context: Option<&Tensor<3>>,
    ) -> Tensor<4> {
        let states = match (self.attention(part), context) {
            (Some(attention), Some(context)) => {
                attention.keys_values(&[context.clone(), context.clone()])
            }
            _ => Vec::new(),
        };
        self.part(part, h, skip, time, &mut states.iter())
    }
}

impl Outline<'_> {
    /// The network's prediction: a leaf.
    pub fn output(&self) -> Tensor<4> {
        self.output.clone()
    }

    /// What the block that was asked for gave: a leaf.
    pub fn states(&self) -> Option<Tensor<4>> {
        self.states.as_ref().map(|(_, states)| states.clone())
    }

    /// Goes on with the backward pass of a loss of [`output`](Self::output), and perhaps of [`states`](Self::states), that
    /// left `gradients`: those of the parameters, and of all else that the inputs were made of, each in one or more of the results.
    pub fn backward(self, gradients: &mut Gradients) -> Vec<Gradients> {
        let mut all = Vec::with_capacity(self.parts.len() + 1);
        let Some(mut ahead) = self.output.grad_remove(gradients) else {
            return all;
        };
        let time = leaf(&self.time);
        let context = self.context.as_ref().map(leaf);
        let (mut to_time, mut to_context) = (None, None);
        // Of the tensors kept on the way down, the first of them at the bottom.
        let mut to_kept: Vec<Option<Tensor<4>>> = Vec::new();
        let mut to_states = self
            .states
            .and_then(|(at, states)| Some((at, states.grad_remove(gradients)?)));
        for (at, (part, h, skip)) in self.parts.into_iter().enumerate().rev() {
            if part.keeps() {
                let more = to_kept.pop().flatten();
                ahead = more.map_or(ahead.clone(), |more| ahead + more);
            }
            if let Some((_, more)) = to_states.take_if(|(seen, _)| *seen == at) {
                ahead = ahead + more;
            }
            let h = Tensor::from_inner(h).require_grad();
            let skip = skip.map(|skip| Tensor::from_inner(skip).require_grad());
            let joins = matches!(part, Part::Up(..));
            let y = self
                .network
                .seeing(part, h.clone(), skip.clone(), &time, context.as_ref());
            let mut found = along(y, ahead).backward();
            to_time = add(to_time, time.grad_remove(&mut found));
            to_context = add(
                to_context,
                context.as_ref().and_then(|c| c.grad_remove(&mut found)),
            );
            if joins {
                to_kept.push(skip.and_then(|skip| skip.grad_remove(&mut found)));
            }
            let next = h.grad_remove(&mut found);
            all.push(found);
            match next {
                Some(next) => ahead = next,
                None => return all,
            }
        }
        let ends = [
            self.x.is_tracked().then(|| along(self.x, ahead)),
            to_time.map(|gradient| along(self.time, gradient)),
            self.context
                .zip(to_context)
                .map(|(context, gradient)| along(context, gradient)),
        ];
        let together = ends.into_iter().flatten().map(|x| x.cast(DType::F32));
        all.extend(together.reduce(|a, b| a + b).map(|loss| loss.backward()));
        all
    }
}
