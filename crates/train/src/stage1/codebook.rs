//! Which entries of the codebook are in use, and what becomes of those that are not.

use burn::tensor::{Int, Tensor, TensorData};
use latent_models::Autoencoder;
use serde::{Deserialize, Serialize};

use crate::{Error, Peers, Step};

/// Brings back entries that nothing is rounded to: each becomes a latent of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revival {
    /// Steps between; an entry is dead when none of them used it.
    pub every: u64,
}

impl Revival {
    /// # Errors
    /// No steps between.
    pub fn validate(&self) -> Result<(), Error> {
        match self.every {
            0 => Err(Error::setting("model.revive.every", 0, "1 or more")),
            _ => Ok(()),
        }
    }
}

/// How often each entry was used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CodeUse(pub Vec<f64>);

impl CodeUse {
    pub fn new(entries: usize) -> Self {
        Self(vec![0.0; entries])
    }

    pub fn add(&mut self, ids: Tensor<2, Int>) {
        for id in ids.into_data().iter::<i64>() {
            if let Some(count) = usize::try_from(id).ok().and_then(|id| self.0.get_mut(id)) {
                *count += 1.0;
            }
        }
    }

    /// The share of entries in use.
    pub fn share(&self) -> f64 {
        let used = self.0.iter().filter(|count| **count > 0.0).count();
        used as f64 / self.0.len().max(1) as f64
    }

    /// The number of entries that equal use would need for this much information: exp(−Σ p·ln p).
    pub fn perplexity(&self) -> f64 {
        let total: f64 = self.0.iter().sum();
        let shares = self
            .0
            .iter()
            .filter(|count| **count > 0.0)
            .map(|count| count / total);
        shares.map(|p| -p * p.ln()).sum::<f64>().exp()
    }

    /// Gives every entry that no process used a latent of the first process's batch, and forgets the counts.
    /// Says how many there were.
    pub fn revive(
        &mut self,
        autoencoder: &mut Autoencoder,
        latent: &Tensor<4>,
        step: Step,
        peers: &dyn Peers,
    ) -> usize {
        peers.sum_wide(&mut self.0);
        let dead: Vec<usize> = (0..self.0.len()).filter(|&i| self.0[i] == 0.0).collect();
        self.0.fill(0.0);
        let Some(book) = autoencoder.quantize.as_mut().filter(|_| !dead.is_empty()) else {
            return 0;
        };
        let [rows, width] = book.embedding.weight.dims();
        let pixels: Vec<f32> = latent
            .clone()
            .inner()
            .permute([0, 2, 3, 1])
            .into_data()
            .iter::<f32>()
            .collect();
        let mut chosen = vec![0.0f32; dead.len() * width];
        if peers.rank() == 0 {
            for (&entry, row) in dead.iter().zip(chosen.chunks_exact_mut(width)) {
                let at = step.random("revive", entry).below(pixels.len() / width);
                row.copy_from_slice(&pixels[at * width..][..width]);
            }
        }
        peers.sum(&mut chosen);
        let weight = book.embedding.weight.clone();
        book.embedding.weight = weight.map(|table| {
            let (wants, device) = (table.is_require_grad(), table.device());
            let mut numbers: Vec<f32> = table.into_data().iter::<f32>().collect();
            for (&entry, row) in dead.iter().zip(chosen.chunks_exact(width)) {
                numbers[entry * width..][..width].copy_from_slice(row);
            }
            let table = Tensor::from_data(TensorData::new(numbers, [rows, width]), &device);
            table.set_require_grad(wants)
        });
        dead.len()
    }
}
