//! Self-attention that looks at what it was given in another call, beside its own pixels: a picture as reference, without any
//! network that was taught to read one ("reference-only" of lllyasviel's ControlNet for A1111, 2023).

use burn::tensor::Tensor;

use super::cross::{Beside, CrossAttention};

/// Below this, the rows that look at references do so whole, as the program that it is from has it.
const LEAST_FIDELITY: f64 = 1e-5;

/// What the self-attention of each transformer block was given, by the number of the block in the order in which they are
/// computed: `[batch, tokens, channels]`. `None` where nothing was kept, and where a block attends to the context alone.
pub type Remembered = Vec<Option<Tensor<3>>>;

/// What self-attention looks at beside its own pixels.
#[derive(Debug, Clone)]
pub struct Reference {
    /// As many rows as the call has; any number of tokens.
    pub states: Remembered,
    /// How much the rows of [`References::alone`] are as they would be without it, 0 to 1.
    pub fidelity: f64,
}

/// All references of a call.
#[derive(Debug, Clone)]
pub struct References {
    /// They are looked at together, and their fidelities have a mean.
    pub all: Vec<Reference>,
    /// For each row of the batch, whether fidelity is of it: rows of the negative prompt.
    pub alone: Vec<bool>,
}

/// The references of one self-attention.
pub(super) struct Seen<'a> {
    states: Vec<&'a Tensor<3>>,
    fidelity: f64,
    alone: &'a [bool],
}

impl References {
    /// Those of a transformer block, if it has any.
    pub(super) fn at(&self, block: usize) -> Option<Seen<'_>> {
        let all = self.all.iter();
        let found = all.filter_map(|one| Some((one.states.get(block)?.as_ref()?, one.fidelity)));
        let (states, fidelities): (Vec<_>, Vec<f64>) = found.unzip();
        (!states.is_empty()).then(|| Seen {
            fidelity: fidelities.iter().sum::<f64>() / fidelities.len() as f64,
            states,
            alone: &self.alone,
        })
    }
}

impl Seen<'_> {
    /// The attention of `h` on itself and on them, plus `residual`; rows that are alone are between this and the attention on
    /// themselves.
    pub(super) fn attend(
        &self,
        attention: &CrossAttention,
        h: Tensor<3>,
        residual: Tensor<3>,
        beside: &Beside<'_>,
    ) -> Tensor<3> {
        let [batch, ..] = h.dims();
        let flags = (0..batch).map(|row| self.alone.get(row).copied().unwrap_or(false));
        let flags: Vec<bool> = flags.collect();
        let (mut first, mut rows) = (0, Vec::new());
        for alike in flags.chunk_by(|a, b| a == b) {
            let part = |x: &Tensor<3>| x.clone().narrow(0, first, alike.len());
            let (own, plus) = (part(&h), part(&residual));
            let alone = alike[0] && self.fidelity > LEAST_FIDELITY;
            let on = |seen: Tensor<3>| {
                let seen = attention.keys_values(beside.own(seen));
                attention.forward(own.clone(), seen, plus.clone())
            };
            let with = || {
                let all = self.states.iter().map(|states| part(states));
                let all = std::iter::once(own.clone()).chain(all);
                on(Tensor::cat(all.collect(), 1))
            };
            rows.push(match (alone, self.fidelity >= 1.0) {
                (false, _) => with(),
                (true, true) => on(own.clone()),
                (true, false) => on(own.clone()) * self.fidelity + with() * (1.0 - self.fidelity),
            });
            first += alike.len();
        }
        match rows.len() {
            1 => rows.remove(0),
            _ => Tensor::cat(rows, 0),
        }
    }
}
