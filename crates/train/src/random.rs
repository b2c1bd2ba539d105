//! Random numbers that are a pure function of what they are for.

use std::f64::consts::TAU;

use burn::tensor::{Device, Tensor, TensorData};
use latent_diffusion::noise::philox4x32;

/// The numbers of one (seed, purpose, step, item): always the same ones, in the same order, whatever was
/// drawn before or elsewhere.
///
/// Philox4x32-10 with the seed and the purpose as its key; step, item and the number of the block are the
/// counter.
#[derive(Debug, Clone)]
pub struct Random {
    key: [u32; 2],
    /// Block, item, and the halves of the step.
    counter: [u32; 4],
    words: [u32; 4],
    /// How many of `words` have been given out.
    used: usize,
    /// The second of a pair of normal numbers.
    spare: Option<f64>,
}

impl Random {
    /// The stream of that name. `item` is below 2³².
    pub fn new(seed: u64, purpose: &str, step: u64, item: usize) -> Self {
        let key = mixed(seed) ^ hash(purpose);
        Self {
            key: [key as u32, (key >> 32) as u32],
            counter: [0, item as u32, step as u32, (step >> 32) as u32],
            words: [0; 4],
            used: 4,
            spare: None,
        }
    }

    fn word(&mut self) -> u32 {
        if self.used == 4 {
            self.words = philox4x32(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// A number of the open interval (0, 1), in steps of 2⁻³².
    pub fn uniform(&mut self) -> f64 {
        (f64::from(self.word()) + 0.5) / 4_294_967_296.0
    }

    /// A whole number below `count`; 0 if that is 0.
    pub fn below(&mut self, count: usize) -> usize {
        let word = u64::from(self.word()) << 32 | u64::from(self.word());
        ((u128::from(word) * count as u128) >> 64) as usize
    }

    /// A number of mean 0 and variance 1, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sine, cosine) = (TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sine);
        radius * cosine
    }

    /// Unit normal numbers as a tensor.
    pub fn normals<const D: usize>(&mut self, shape: [usize; D], device: &Device) -> Tensor<D> {
        let numbers: Vec<f32> = (0..shape.iter().product::<usize>())
            .map(|_| self.normal() as f32)
            .collect();
        Tensor::from_data(TensorData::new(numbers, shape), device)
    }
}

/// FNV-1a of the text's bytes.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |h, byte| {
        (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// splitmix64: neighbouring seeds have unlike keys.
fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(seed: u64, purpose: &str, step: u64, item: usize) -> Vec<u64> {
        let mut random = Random::new(seed, purpose, step, item);
        (0..9).map(|_| random.uniform().to_bits()).collect()
    }

    #[test]
    fn every_part_of_the_name_counts() {
        let same = first(1, "noise", 2, 3);
        assert_eq!(first(1, "noise", 2, 3), same);
        for other in [
            first(2, "noise", 2, 3),
            first(1 << 40, "noise", 2, 3),
            first(1, "time", 2, 3),
            first(1, "noise", 3, 3),
            first(1, "noise", 2 + (1 << 32), 3),
            first(1, "noise", 2, 4),
        ] {
            assert!(same.iter().zip(&other).all(|(a, b)| a != b));
        }
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut random = Random::new(0, "test", 0, 0);
        let count = 100_000;
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        let uniform: Vec<f64> = (0..count).map(|_| random.uniform()).collect();
        assert!((mean(&uniform) - 0.5).abs() < 5e-3);
        assert!(uniform.iter().all(|u| *u > 0.0 && *u < 1.0));
        let normal: Vec<f64> = (0..count).map(|_| random.normal()).collect();
        assert!(mean(&normal).abs() < 0.015);
        let squares: Vec<f64> = normal.iter().map(|n| n * n).collect();
        assert!((mean(&squares) - 1.0).abs() < 0.02);
        let pairs: Vec<f64> = normal.windows(2).map(|w| w[0] * w[1]).collect();
        assert!(mean(&pairs).abs() < 0.02);
        let mut counts = [0; 7];
        (0..70_000).for_each(|_| counts[random.below(7)] += 1);
        assert!(
            counts.iter().all(|c| (9_500..10_500).contains(c)),
            "{counts:?}"
        );
        assert_eq!(random.below(0), 0);
    }
}
