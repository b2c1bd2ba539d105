//! Attention.

use burn::backend::flex::FlexTensor;
use latent_kernels::{AttentionShape, Tokens, attention, attention_backward, output};

use super::layout::{dims, from_f32, numbers, rows, tensor, to_f32};
use super::operation::{Args, Operation, Saved, given};
use super::{by_type, instructions};

/// softmax(q·kᵀ / √width)·v in each head. Inputs: q `[b, queries, c]`, k and v `[b, keys, c]`.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub heads: usize,
    pub causal: bool,
}

impl Attention {
    fn shape(&self, [batch, _, channels]: [usize; 3]) -> AttentionShape {
        let width = channels / self.heads.max(1);
        AttentionShape {
            batch,
            heads: self.heads,
            width,
            causal: self.causal,
            scale: (width as f32).sqrt().recip(),
        }
    }
}

/// What attention keeps: the output, and the logarithm of each query's sum of powers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mixed {
    out: Option<FlexTensor>,
    log_sum_exp: Vec<f32>,
}

impl Operation<3> for Attention {
    type Kept = Mixed;

    fn forward(&self, inputs: Args<3>, mut kept: Option<&mut Mixed>) -> FlexTensor {
        let [q, k, v] = inputs.map(|x| rows(given(x)));
        by_type!(q.dtype(), T => {
            let size @ [batch, queries, _] = dims(&q);
            let tokens = |x| Tokens::new(numbers::<T>(x), dims(x));
            let mut out = output::<T>(size.iter().product());
            let sums = kept.as_deref_mut().map(|kept| {
                kept.log_sum_exp = output(batch * self.heads * queries);
                kept.log_sum_exp.as_mut_slice()
            });
            let shape = self.shape(size);
            attention(instructions(), shape, tokens(&q), tokens(&k), tokens(&v), &mut out, sums);
            let out = tensor(out, size);
            if let Some(kept) = kept {
                kept.out = Some(out.clone());
            }
            out
        })
    }

    fn reads(&self, _: [bool; 3]) -> [bool; 3] {
        [true; 3]
    }

    fn backward(&self, saved: Saved<3, Mixed>, gradient: FlexTensor) -> Args<3> {
        let inputs = saved.inputs.map(|x| rows(given(x)));
        let (out, gradient) = (given(saved.kept.out), rows(gradient));
        by_type!(gradient.dtype(), T => {
            // The kernel is for f32.
            let wide = inputs.each_ref().map(|x| to_f32(numbers::<T>(x)));
            let [q, k, v] = std::array::from_fn(|i| Tokens::new(&wide[i], dims(&inputs[i])));
            let mut found = wide.each_ref().map(|x| output::<f32>(x.len()));
            let [dq, dk, dv] = &mut found;
            attention_backward(
                instructions(),
                self.shape(dims(&inputs[0])),
                q,
                k,
                v,
                &to_f32(numbers::<T>(&out)),
                &saved.kept.log_sum_exp,
                &to_f32(numbers::<T>(&gradient)),
                dq,
                dk,
                dv,
            );
            let mut found = found.into_iter();
            std::array::from_fn(|i| {
                let gradient = found.next()?;
                let shape = dims::<3>(&inputs[i]);
                saved.wanted[i].then(|| tensor(from_f32::<T>(gradient), shape))
            })
        })
    }
}
