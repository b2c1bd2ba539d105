//! Answers that are pushed away from what other pictures ask for.
//!
//! Stoica et al., "Contrastive Flow Matching", 2506.05350: beside coming near to the velocity of its own picture and noise, an
//! answer goes away from that of another row of the batch, so that conditions draw flows of their own and not their mean.

use burn::tensor::Tensor;
use latent_diffusion::Prediction;
use serde::{Deserialize, Serialize};

use crate::objective::chosen;
use crate::{Distance, Error, Example, Noisy, Objective, ObjectiveConfig, Step};

/// `[model.contrast]`: how strongly, and from which rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContrastConfig {
    /// λ, the share of the squared error to another row's target that is taken away from the loss, above 0 and below 1; 0.05
    /// in the paper.
    pub weight: f64,
    /// Columns of the data's table: the other row is one that says the same in all of them, where the batch has such a one.
    pub same: Vec<String>,
}

impl Default for ContrastConfig {
    fn default() -> Self {
        Self {
            weight: 0.05,
            same: Vec::new(),
        }
    }
}

impl ContrastConfig {
    /// # Errors
    /// A weight out of its range, or an objective, or a model without a condition, that cannot be contrasted.
    pub fn validate(&self, objective: &ObjectiveConfig, conditional: bool) -> Result<(), Error> {
        let refused =
            |value: &str, expected: &str| Err(Error::setting("model.contrast", value, expected));
        if !(self.weight > 0.0 && self.weight < 1.0) {
            let expected = "above 0 and below 1: from 1 on the loss has no least value";
            return Err(Error::setting(
                "model.contrast.weight",
                self.weight,
                expected,
            ));
        }
        if objective.prediction != Prediction::Flow {
            return refused("set", "absent, unless objective.prediction is \"flow\"");
        }
        if objective.loss != Distance::L2 {
            return refused(
                "set",
                "absent, unless objective.loss is \"l2\": what is taken away grows with the square",
            );
        }
        match conditional {
            true => Ok(()),
            false => refused(
                "set",
                "absent where there is no model.conditioner: it keeps the flows of conditions apart",
            ),
        }
    }

    /// The rows that are contrasted, and for each the row whose target it is kept from. Those whose condition is left out are
    /// not contrasted; a row alone is not either.
    ///
    /// # Errors
    /// Examples without the columns.
    pub fn pairs(
        &self,
        batch: &[Example],
        left_out: &[bool],
        step: Step,
    ) -> Result<Vec<[usize; 2]>, Error> {
        if let Some(example) = batch.iter().find(|e| e.columns.len() != self.same.len()) {
            return Err(Error::Example {
                id: example.id.clone(),
                problem: format!(
                    "it comes without the columns {}, which model.contrast.same names",
                    self.same.join(", ")
                ),
            });
        }
        let other = |row: usize| {
            let others = || (0..batch.len()).filter(move |&other| other != row);
            let mut among: Vec<usize> = others()
                .filter(|&other| batch[other].columns == batch[row].columns)
                .collect();
            if among.is_empty() {
                among = others().collect();
            }
            let share = step.random("contrast", row).uniform();
            let at = (share * among.len() as f64) as usize;
            Some([row, *among.get(at)?])
        };
        let rows = (0..batch.len()).filter(|&row| !left_out[row]);
        Ok(rows.filter_map(other).collect())
    }
}

/// How far the answers of the first of each pair are from the targets of the second: `[pairs]`.
pub(super) fn apart(
    objective: &Objective,
    answer: Tensor<4>,
    noisy: &Noisy,
    pairs: &[[usize; 2]],
) -> Tensor<1> {
    let [own, other] = [0, 1].map(|at| pairs.iter().map(|pair| pair[at]).collect::<Vec<_>>());
    let sigmas: Vec<f64> = own.iter().map(|&row| noisy.sigmas[row]).collect();
    let targets = chosen(noisy.target.clone(), &other);
    objective.judge(chosen(answer, &own), targets, &sigmas)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use image::RgbImage;

    use super::*;
    use crate::{Level, Random};

    fn example(columns: &[&str]) -> Example {
        Example {
            id: "e".to_owned(),
            index: 0,
            number: 0,
            picture: RgbImage::new(1, 1),
            original: [1, 1],
            crop: [0, 0],
            flipped: false,
            caption: None,
            class: None,
            mask: None,
            boxes: Vec::new(),
            low: None,
            columns: columns.iter().map(|&c| c.to_owned()).collect(),
        }
    }

    fn at(number: u64, first: usize) -> Step {
        Step {
            number,
            seed: 4,
            first,
        }
    }

    #[test]
    fn another_row_of_the_same_columns_is_taken_where_there_is_one() {
        let config = ContrastConfig {
            same: vec!["ground".to_owned(), "style".to_owned()],
            ..ContrastConfig::default()
        };
        let rows = [
            ["white", "flat"],
            ["red", "flat"],
            ["white", "flat"],
            ["white", "flat"],
        ];
        let batch: Vec<Example> = rows.iter().map(|row| example(row)).collect();
        let mut seen = [[0; 4]; 4];
        for number in 0..200 {
            let left_out = [false, false, false, true];
            for [own, other] in config.pairs(&batch, &left_out, at(number, 0)).unwrap() {
                seen[own][other] += 1;
            }
        }
        let some = |row: usize| seen[row].map(|count| count > 50);
        // No other row is on red: any will do. The last row's condition is left out.
        assert_eq!(some(0), [false, false, true, true]);
        assert_eq!(some(1), [true, false, true, true]);
        assert_eq!(some(2), [true, false, false, true]);
        assert_eq!(seen[3], [0; 4]);
        let alone = config.pairs(&batch[..1], &[false], at(0, 0)).unwrap();
        assert!(alone.is_empty());
        let error = config
            .pairs(&[example(&[]), example(&[])], &[false; 2], at(0, 0))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("ground, style") && error.contains("model.contrast.same"),
            "{error}"
        );
    }

    /// The gradient of the whole loss in the answer v of a row with target t and another's t̃: (v − t − λ(v − t̃))·2/numbers.
    #[test]
    fn the_loss_and_its_gradient_are_the_papers() {
        let device = Device::flex();
        let objective = Objective::new(ObjectiveConfig {
            prediction: Prediction::Flow,
            ..ObjectiveConfig::default()
        })
        .unwrap();
        let mut random = Random::new(2, "contrast", 0, 0);
        let shape = [3, 2, 2, 2];
        let [latents, noise, answer] = [(); 3].map(|()| random.normals::<4>(shape, &device));
        let levels = [0.2, 0.5, 0.9].map(|sigma| Level {
            time: 1000.0 * sigma,
            sigma,
            band: 0,
        });
        let noisy = objective.noisy(latents, noise, &levels).unwrap();
        let pairs = [[0, 2], [2, 1]];
        let leaf = Tensor::from_inner(answer.clone()).require_grad();
        let own = objective.judge(leaf.clone(), noisy.target.clone(), &noisy.sigmas);
        let away = apart(&objective, leaf.clone(), &noisy, &pairs);
        let lambda = 0.05;
        let loss = own.mean() - away.sum() * (lambda / 3.0);
        let numbers = |x: Tensor<4>| -> Vec<f32> { x.into_data().iter::<f32>().collect() };
        let gradient = numbers(leaf.grad(&loss.clone().backward()).unwrap());
        let (v, t) = (numbers(answer), numbers(noisy.target));
        let mut value = 0.0;
        for row in 0..3 {
            let pair = pairs.iter().find(|pair| pair[0] == row);
            for i in 0..8 {
                let (v, t) = (v[8 * row + i], |row: usize| t[8 * row + i]);
                let mut error = v - t(row);
                value += error * error;
                if let Some([_, other]) = pair {
                    value -= 0.05 * (v - t(*other)).powi(2);
                    error -= 0.05 * (v - t(*other));
                }
                let want = 2.0 * error / 24.0;
                let got = gradient[8 * row + i];
                assert!((got - want).abs() < 1e-6, "{row} {i}: {got} {want}");
            }
        }
        let got = loss.into_scalar::<f32>();
        assert!((got - value / 24.0).abs() < 1e-6, "{got} {value}");
    }
}
