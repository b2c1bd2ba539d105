//! Strengths block by block, as hako-mikan's sd-webui-lora-block-weight counts blocks.

/// A weight for the text encoders and one for each block of the denoiser, in the original numbering: `input_blocks`, the middle,
/// `output_blocks`. Lists of 26 and 20 have every block of a denoiser with 12 and 9 input blocks; those of 17 and 12 have the
/// blocks that hold attention in published models, and the others are 0.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockWeights {
    weights: Vec<f64>,
}

/// How many weights there may be, of a denoiser with how many input blocks, and which of its blocks they are of.
const LISTS: [(usize, usize, [&[usize]; 2]); 4] = [
    (
        17,
        12,
        [&[1, 2, 4, 5, 7, 8], &[3, 4, 5, 6, 7, 8, 9, 10, 11]],
    ),
    (
        26,
        12,
        [
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        ],
    ),
    (12, 9, [&[4, 5, 7, 8], &[0, 1, 2, 3, 4, 5]]),
    (
        20,
        9,
        [&[0, 1, 2, 3, 4, 5, 6, 7, 8], &[0, 1, 2, 3, 4, 5, 6, 7, 8]],
    ),
];

impl BlockWeights {
    /// How many weights lists have.
    pub const COUNTS: [usize; 4] = [12, 17, 20, 26];

    /// # Errors
    /// A list of another length, or numbers that are not finite, as a sentence.
    pub fn new(weights: Vec<f64>) -> Result<Self, String> {
        if !Self::COUNTS.contains(&weights.len()) {
            return Err(format!(
                "{} block weights are given: expected 17 or 26 for a denoiser of 12 input blocks, 12 or 20 for one of 9, the first of \
                 them the text encoder's",
                weights.len()
            ));
        }
        match weights.iter().find(|weight| !weight.is_finite()) {
            Some(weight) => Err(format!("the block weight {weight} is not a finite number")),
            None => Ok(Self { weights }),
        }
    }

    /// In the order of the list.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Why they are not for a denoiser with so many input blocks; `None` where they are.
    pub(crate) fn misfit(&self, inputs: usize) -> Option<String> {
        let found = LISTS
            .iter()
            .find(|(count, ..)| *count == self.weights.len());
        let (count, wanted, _) = found?;
        (*wanted != inputs).then(|| {
            let fitting = LISTS.iter().filter(|(_, of, _)| *of == inputs);
            let fitting: Vec<String> = fitting.map(|(count, ..)| count.to_string()).collect();
            match fitting.is_empty() {
                true => format!("block weights are for denoisers of 12 or 9 input blocks, and this one has {inputs}"),
                false => format!(
                    "{count} block weights are for a denoiser of {wanted} input blocks, and this one has {inputs}: expected {}",
                    fitting.join(" or ")
                ),
            }
        })
    }

    /// That of the text encoders.
    pub(crate) fn text(&self) -> f64 {
        self.weights.first().copied().unwrap_or(1.0)
    }

    /// That of the module with this original name; 1 for what lies in no block.
    pub(super) fn of(&self, original: &str) -> f64 {
        self.at(original).unwrap_or(1.0)
    }

    /// The same; `None` for what lies in no block.
    pub(crate) fn at(&self, original: &str) -> Option<f64> {
        let found = LISTS
            .iter()
            .find(|(count, ..)| *count == self.weights.len());
        let (_, _, [inputs, outputs]) = found?;
        let number = |start: &str| {
            let rest = original.strip_prefix(start)?;
            rest.split('.').next()?.parse::<usize>().ok()
        };
        let place = |numbers: &[usize], number, before: usize| {
            let at = numbers.iter().position(|n| *n == number);
            at.map_or(0.0, |at| self.weights[before + at])
        };
        if let Some(number) = number("input_blocks.") {
            Some(place(inputs, number, 1))
        } else if original.starts_with("middle_block.") {
            Some(self.weights[1 + inputs.len()])
        } else {
            let number = number("output_blocks.")?;
            Some(place(outputs, number, 2 + inputs.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_stand_in_the_order_of_blocks() {
        for (count, inputs, [first, last]) in [
            (17, 12, ["input_blocks.1.1.x", "output_blocks.11.0.x"]),
            (26, 12, ["input_blocks.0.0", "output_blocks.11.0.x"]),
            (12, 9, ["input_blocks.4.1.x", "output_blocks.5.0.x"]),
            (20, 9, ["input_blocks.0.0", "output_blocks.8.0.x"]),
        ] {
            let weights = BlockWeights::new((0..count).map(|n| n as f64).collect()).unwrap();
            assert_eq!(weights.text(), 0.0);
            assert_eq!(weights.of(first), 1.0);
            assert_eq!(weights.of(last), (count - 1) as f64);
            assert_eq!(weights.of("time_embed.0"), 1.0);
            assert!(weights.misfit(inputs).is_none());
            assert!(
                weights
                    .misfit(21 - inputs)
                    .unwrap()
                    .contains("input blocks")
            );
        }
        let seventeen = BlockWeights::new((0..17).map(f64::from).collect()).unwrap();
        assert_eq!(seventeen.of("middle_block.1.x"), 7.0);
        assert_eq!(seventeen.of("input_blocks.3.0.op"), 0.0);
        assert!(
            BlockWeights::new(vec![1.0; 5])
                .unwrap_err()
                .contains("5 block weights")
        );
        assert!(BlockWeights::new(vec![f64::NAN; 12]).is_err());
    }
}
