//! Attention.

use burn::backend::flex::FlexTensor;
use latent_kernels::{AttentionShape, Tokens, attention, attention_backward, cat_channels, output};

use super::layout::{dims, from_f32, numbers, rows, tensor, to_f32};
use super::operation::{Args, Operation, Saved, given};
use super::{by_type, instructions};

/// Of `channels` channels of a token in `heads` heads.
fn shape(heads: usize, batch: usize, channels: usize, causal: bool) -> AttentionShape {
    let width = channels / heads.max(1);
    AttentionShape {
        batch,
        heads,
        width,
        causal,
        scale: (width as f32).sqrt().recip(),
    }
}

/// softmax(q·kᵀ / √width)·v in each head. Inputs: q `[b, queries, c]`, k and v `[b, keys, c]`.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub heads: usize,
    pub causal: bool,
}

impl Attention {
    fn shape(&self, [batch, _, channels]: [usize; 3]) -> AttentionShape {
        shape(self.heads, batch, channels, self.causal)
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

/// The same of tokens that lie side by side. Inputs: `[b, tokens, 3 c]`, queries, keys and values of the tokens' attention on
/// themselves; or queries `[b, queries, c]`, and keys and values `[b, keys, 2 c]`.
#[derive(Debug, Clone)]
pub(crate) struct JoinedAttention {
    pub heads: usize,
}

/// Queries, keys and values.
type Three<'a, T> = [Tokens<'a, T>; 3];

/// What lies where: the tensors' numbers and shapes.
fn three<'a, T>(
    (a, a_dims): (&'a [T], [usize; 3]),
    b: Option<(&'a [T], [usize; 3])>,
) -> (Three<'a, T>, usize) {
    let part = |data: &'a [T], [_, tokens, stride]: [usize; 3], from: usize| Tokens {
        data: data.get(from..).unwrap_or_default(),
        tokens,
        stride,
        batch_stride: tokens * stride,
    };
    match b {
        None => {
            let channels = a_dims[2] / 3;
            let three = [0, 1, 2].map(|i| part(a, a_dims, i * channels));
            (three, channels)
        }
        Some((b, b_dims)) => {
            let [_, _, channels] = a_dims;
            let [k, v] = [0, 1].map(|i| part(b, b_dims, i * channels));
            ([part(a, a_dims, 0), k, v], channels)
        }
    }
}

impl Operation<2> for JoinedAttention {
    type Kept = Mixed;

    fn forward(&self, [a, b]: Args<2>, mut kept: Option<&mut Mixed>) -> FlexTensor {
        let (a, b) = (rows(given(a)), b.map(rows));
        by_type!(a.dtype(), T => {
            let size = dims::<3>(&a);
            let lies = |x| (numbers::<T>(x), dims(x));
            let ([q, k, v], channels) = three(lies(&a), b.as_ref().map(lies));
            let [batch, queries, _] = size;
            let mut out = output::<T>(batch * queries * channels);
            let sums = kept.as_deref_mut().map(|kept| {
                kept.log_sum_exp = output(batch * self.heads * queries);
                kept.log_sum_exp.as_mut_slice()
            });
            let shape = shape(self.heads, batch, channels, false);
            attention(instructions(), shape, q, k, v, &mut out, sums);
            let out = tensor(out, [batch, queries, channels]);
            if let Some(kept) = kept {
                kept.out = Some(out.clone());
            }
            out
        })
    }

    fn reads(&self, _: [bool; 2]) -> [bool; 2] {
        [true; 2]
    }

    fn backward(&self, saved: Saved<2, Mixed>, gradient: FlexTensor) -> Args<2> {
        let [a, b] = saved.inputs;
        let (a, b) = (rows(given(a)), b.map(rows));
        let (out, gradient) = (given(saved.kept.out), rows(gradient));
        by_type!(gradient.dtype(), T => {
            // The kernel is for f32.
            let wide_a = to_f32(numbers::<T>(&a));
            let wide_b = b.as_ref().map(|b| (to_f32(numbers::<T>(b)), dims::<3>(b)));
            let a_dims @ [batch, queries, _] = dims::<3>(&a);
            let lies = wide_b.as_ref().map(|(numbers, dims)| (&**numbers, *dims));
            let ([q, k, v], channels) = three((&*wide_a, a_dims), lies);
            let keys = k.tokens;
            let mut dq = output::<f32>(batch * queries * channels);
            let [mut dk, mut dv] = [(); 2].map(|()| output::<f32>(batch * keys * channels));
            attention_backward(
                instructions(),
                shape(self.heads, batch, channels, false),
                q,
                k,
                v,
                &to_f32(numbers::<T>(&out)),
                &saved.kept.log_sum_exp,
                &to_f32(numbers::<T>(&gradient)),
                &mut dq,
                &mut dk,
                &mut dv,
            );
            let joined = |tokens: usize, parts: &[&[f32]]| {
                let parts: Vec<_> = parts.iter().map(|part| (*part, channels)).collect();
                let width = channels * parts.len();
                let mut all = output::<f32>(batch * tokens * width);
                cat_channels(batch * tokens, &parts, &mut all);
                tensor(from_f32::<T>(all), [batch, tokens, width])
            };
            match b {
                None => [Some(joined(queries, &[&dq, &dk, &dv])), None],
                Some(_) => [
                    Some(tensor(from_f32::<T>(dq), a_dims)),
                    Some(joined(keys, &[&dk, &dv])),
                ],
            }
        })
    }
}
