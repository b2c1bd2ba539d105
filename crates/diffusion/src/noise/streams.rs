//! One stream of noise per picture.

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::{Error, Noise};

use super::{BrownianNoise, Generator, NoiseSource};

/// Everything that decides one picture's noise. `PictureSeed::from(seed)` is a plain seed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PictureSeed {
    /// The seed.
    pub seed: u64,
    /// The variation seed; it counts where `subseed_strength` is not 0.
    pub subseed: u64,
    /// How far the initial noise is turned from the seed's to the variation seed's: 0 not, 1 wholly.
    pub subseed_strength: f64,
    /// Latent (height, width) whose noise is drawn first and pasted into the middle, so that a seed keeps its picture at
    /// another size.
    pub resize_from: Option<(usize, usize)>,
    /// ENSD: where not 0, the noise after the initial is drawn from a fresh generator of seed + delta (modulo 2⁶⁴).
    pub eta_noise_seed_delta: i64,
}

impl From<u64> for PictureSeed {
    fn from(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }
}

/// The noise of a batch: first [`NoiseStreams::initial`], then, as a [`Noise`], what each ancestral step adds.
///
/// Each picture has its own generator, which goes on where the initial noise stopped (or starts afresh, with ENSD).
#[derive(Debug, Clone)]
pub struct NoiseStreams {
    source: NoiseSource,
    seeds: Vec<PictureSeed>,
    generators: Vec<Generator>,
}

impl NoiseStreams {
    /// One stream per seed.
    ///
    /// # Errors
    /// No seed, a sub-seed strength that is not a number from 0 to 1, or a resize from an empty size.
    pub fn new(source: NoiseSource, seeds: &[PictureSeed]) -> Result<Self, Error> {
        let error = |name, value: String, expected: &str| Error::Setting {
            name,
            value,
            expected: expected.to_owned(),
        };
        if seeds.is_empty() {
            return Err(error("seeds", "none".to_owned(), "one per picture"));
        }
        for seed in seeds {
            if !(0.0..=1.0).contains(&seed.subseed_strength) {
                let value = seed.subseed_strength.to_string();
                return Err(error("subseed strength", value, "a number from 0 to 1"));
            }
            if seed.resize_from.is_some_and(|(h, w)| h == 0 || w == 0) {
                let value = format!("{:?}", seed.resize_from);
                return Err(error(
                    "seed resize",
                    value,
                    "a size of at least 1×1 in the latent",
                ));
            }
        }
        let generators = seeds
            .iter()
            .map(|s| Generator::new(source, s.seed))
            .collect();
        Ok(Self {
            source,
            seeds: seeds.to_vec(),
            generators,
        })
    }

    /// How many pictures.
    pub fn pictures(&self) -> usize {
        self.seeds.len()
    }

    /// Where the numbers come from.
    pub fn source(&self) -> NoiseSource {
        self.source
    }

    /// The noise a picture starts from, of unit variance: sub-seed and resizing applied. With ENSD, later noise is drawn
    /// from the re-seeded generators. Call it once.
    ///
    /// # Shapes
    /// `shape` is one picture's `[channels, height, width]`; the result `[pictures, channels, height, width]`.
    pub fn initial(&mut self, shape: [usize; 3], device: &Device) -> Tensor<4> {
        let source = self.source;
        let streams = self.seeds.iter().zip(&mut self.generators);
        let values = streams.flat_map(|(seed, generator)| first(source, seed, generator, shape));
        let values = values.collect();
        for (seed, generator) in self.seeds.iter().zip(&mut self.generators) {
            if seed.eta_noise_seed_delta != 0 {
                let moved = seed.seed.wrapping_add_signed(seed.eta_noise_seed_delta);
                *generator = Generator::new(source, moved);
            }
        }
        self.tensor(values, shape, device)
    }

    /// The next draw of every stream, `[pictures, channels, height, width]` for a picture's `[channels, height, width]`.
    pub fn draw(&mut self, shape: [usize; 3], device: &Device) -> Tensor<4> {
        let count = shape.iter().product();
        let values = self
            .generators
            .iter_mut()
            .flat_map(|g| g.normal(count))
            .collect();
        self.tensor(values, shape, device)
    }

    /// The Brownian noise of the same pictures over a ladder from `sigma_max` to `sigma_min` > 0, which does not touch
    /// the streams.
    pub fn brownian(
        &self,
        shape: [usize; 3],
        sigma_min: f64,
        sigma_max: f64,
    ) -> Result<BrownianNoise, Error> {
        BrownianNoise::new(self.source, &self.seeds, shape, sigma_min, sigma_max)
    }

    fn tensor(&self, values: Vec<f32>, [c, h, w]: [usize; 3], device: &Device) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values, [self.pictures(), c, h, w]), device)
    }
}

impl Noise for NoiseStreams {
    /// `like` must have as many pictures as there are streams.
    fn between(&mut self, like: &Tensor<4>, _sigma: f64, _sigma_next: f64) -> Tensor<4> {
        let [_, c, h, w] = like.dims();
        self.draw([c, h, w], &like.device())
    }
}

/// One picture's initial noise. The order of draws is A1111's: the sub-seed and, when resizing, the old size come from
/// generators of their own; the picture's generator is asked once, for the picture's size.
fn first(
    source: NoiseSource,
    seed: &PictureSeed,
    generator: &mut Generator,
    shape: [usize; 3],
) -> Vec<f32> {
    let count = |s: [usize; 3]| s.iter().product();
    let resized = seed
        .resize_from
        .map(|(h, w)| [shape[0], h, w])
        .filter(|old| *old != shape);
    let drawn = resized.unwrap_or(shape);
    let mut noise = match resized {
        Some(old) => Generator::new(source, seed.seed).normal(count(old)),
        None => generator.normal(count(shape)),
    };
    if seed.subseed_strength != 0.0 {
        let other = Generator::new(source, seed.subseed).normal(count(drawn));
        noise = slerp(seed.subseed_strength, &noise, &other, drawn);
    }
    match resized {
        Some(old) => {
            let mut canvas = generator.normal(count(shape));
            paste(&mut canvas, shape, &noise, old);
            canvas
        }
        None => noise,
    }
}

/// Turns `low` towards `high` along the sphere, column by column: the vectors are those along the **height** of each
/// channel, and where they are nearly parallel on average the blend is linear with the weights the other way round. Both
/// are oddities of the reference that pictures depend on.
fn slerp(strength: f64, low: &[f32], high: &[f32], [c, h, w]: [usize; 3]) -> Vec<f32> {
    let column = |i: usize| {
        let start = i / w * h * w + i % w;
        (0..h).map(move |y| start + y * w)
    };
    let dot = |i: usize, a: &[f32], b: &[f32]| {
        let products = column(i).map(|k| f64::from(a[k]) * f64::from(b[k]));
        products.sum::<f64>()
    };
    let cosines: Vec<f64> = (0..c * w)
        .map(|i| dot(i, low, high) / (dot(i, low, low) * dot(i, high, high)).sqrt())
        .collect();
    let blend = |k: usize, a: f64, b: f64| (a * f64::from(low[k]) + b * f64::from(high[k])) as f32;
    if cosines.iter().sum::<f64>() / cosines.len() as f64 > 0.9995 {
        return (0..low.len())
            .map(|k| blend(k, strength, 1.0 - strength))
            .collect();
    }
    let mut turned = vec![0.0; low.len()];
    for (i, cosine) in cosines.into_iter().enumerate() {
        let angle = cosine.clamp(-1.0, 1.0).acos();
        let share = |s: f64| (s * angle).sin() / angle.sin();
        let (a, b) = (share(1.0 - strength), share(strength));
        for k in column(i) {
            turned[k] = blend(k, a, b);
        }
    }
    turned
}

/// Copies the middle of `from` into the middle of `to`.
fn paste(to: &mut [f32], [c, h, w]: [usize; 3], from: &[f32], [_, old_h, old_w]: [usize; 3]) {
    // (first in `from`, first in `to`, length) along one axis; halves round down, as in the reference
    let along = |new: usize, old: usize| {
        if new >= old {
            (0, (new - old) / 2, old)
        } else {
            let cut = (old - new).div_ceil(2);
            (cut, 0, old - 2 * cut)
        }
    };
    let (from_y, to_y, rows) = along(h, old_h);
    let (from_x, to_x, columns) = along(w, old_w);
    for channel in 0..c {
        for y in 0..rows {
            let source = (channel * old_h + from_y + y) * old_w + from_x;
            let target = (channel * h + to_y + y) * w + to_x;
            to[target..target + columns].copy_from_slice(&from[source..source + columns]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pasting_is_centred_both_ways() {
        let small = [1.0, 2.0, 3.0, 4.0];
        let mut big = [0.0; 16];
        paste(&mut big, [1, 4, 4], &small, [1, 2, 2]);
        assert_eq!(big[5..7], [1.0, 2.0]);
        assert_eq!(big[9..11], [3.0, 4.0]);
        assert_eq!(big.iter().sum::<f32>(), 10.0);
        // an odd difference: python's -1 // 2 is -1, so a row and column more is cut than needed
        let three: Vec<f32> = (0..9u8).map(f32::from).collect();
        let mut two = [-1.0; 4];
        paste(&mut two, [1, 2, 2], &three, [1, 3, 3]);
        assert_eq!(two, [4.0, -1.0, -1.0, -1.0]);
    }

    #[test]
    fn slerp_of_right_angles_is_a_quarter_circle() {
        let (low, high) = ([1.0, 0.0], [0.0, 1.0]);
        let half = slerp(0.5, &low, &high, [1, 2, 1]);
        let root = 0.5f32.sqrt();
        assert!(half.iter().all(|v| (v - root).abs() < 1e-6), "{half:?}");
        let whole = slerp(1.0, &low, &high, [1, 2, 1]);
        assert!(
            whole[0].abs() < 1e-6 && (whole[1] - 1.0).abs() < 1e-6,
            "{whole:?}"
        );
    }
}
