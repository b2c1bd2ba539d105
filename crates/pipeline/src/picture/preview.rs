//! A quick look at a latent while it forms: by a linear map, one pixel a cell, or by a tiny autoencoder at full size.

use std::path::Path;

use burn::tensor::{DType, Device, Tensor};
use latent_checkpoint::{Checkpoint, LoadOptions, Network, Role};
use latent_diffusion::{NoiseSource, NoiseStreams, PictureSeed};
use latent_models::{AutoencoderTiny, AutoencoderTinyConfig};

use super::{Picture, resize::Filter};
use crate::error::{Error, Result};
use crate::family::Family;
use crate::model::{Compressor, Held, Model};
use crate::request::Size;

/// How four channels of a latent in the denoiser's scale show as red, green and blue in [−1, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Colours {
    /// Of each channel.
    pub channels: [[f32; 3]; 4],
    /// Of a latent of zeros.
    pub zero: [f32; 3],
}

/// Of Stable Diffusion 1 and 2: keturn's fit (<https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204>).
pub const SD1: Colours = Colours {
    channels: [
        [0.298, 0.207, 0.208],
        [0.187, 0.286, 0.173],
        [-0.158, 0.189, 0.264],
        [-0.184, -0.271, -0.473],
    ],
    zero: [0.0; 3],
};

/// Of SDXL: Timothy Alexis Vass's fit, in bytes there
/// (<https://huggingface.co/blog/TimothyAlexisVass/explaining-the-sdxl-latent-space>).
pub const SDXL: Colours = Colours {
    channels: [
        [0.4706, 0.4706, 0.4706],
        [-0.4706, -0.0392, 0.0784],
        [0.1961, 0.1176, -0.0392],
        [-0.5490, -0.3922, -0.2745],
    ],
    zero: [0.1765, 0.0980, 0.0196],
};

/// Rows and columns of the latent that a map is fitted to.
const FITTED: usize = 16;

/// What is to be said of a tiny autoencoder in the file or folder at `path` for a model of `family`, behind the flag that gave it:
/// nothing in the files of Stable Diffusion's and of SDXL's tells them apart but their names. `None` where the name fits.
pub fn other_tiny(path: &Path, family: &Family) -> Option<String> {
    let path = path.display().to_string();
    let for_xl = path.to_lowercase().contains("xl");
    let is_xl = family.preview == Some(SDXL);
    let model = match (is_xl, for_xl) {
        (true, false) => "SDXL, whose tiny autoencoder is usually called taesdxl",
        (false, true) => "no SDXL, and the file's name says that it is for SDXL",
        _ => return None,
    };
    Some(format!(
        "{path}: the model is {model}; of another model's latents it shows wrong colours"
    ))
}

/// What makes previews.
#[derive(Debug)]
pub enum Previewer {
    /// A linear map: the colour of each channel, and that of zeros.
    Linear(Vec<[f32; 3]>, [f32; 3]),
    /// A tiny autoencoder.
    Tiny(Box<AutoencoderTiny>),
}

impl Previewer {
    /// The linear map for the latents of `model`: the family's, or, where it has none, one that is fitted to what the model's own
    /// decoder makes of noise. Of a model without a decoder the latent is the picture.
    ///
    /// # Errors
    /// A decoder whose weights cannot be read.
    pub fn of(model: &Model) -> Result<Self> {
        let known = model.family.preview.filter(|_| model.moments.is_empty());
        if let Some(colours) = known {
            return Ok(Self::Linear(colours.channels.to_vec(), colours.zero));
        }
        let Some(part) = &model.autoencoder else {
            let own = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
            return Ok(Self::Linear(own.to_vec(), [0.0; 3]));
        };
        let held = part.is_held();
        let previewer = fitted(model, &*part.get()?);
        if !held {
            part.release();
        }
        Ok(previewer)
    }

    /// The tiny autoencoder (TAESD, TAESDXL) in the file or folder at `path`.
    ///
    /// # Errors
    /// A file that cannot be read, or that holds another network.
    pub fn tiny(path: &Path, device: &Device) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let role = Role::AUTOENCODER;
        let part = checkpoint.find(role);
        if !part.is_some_and(|part| matches!(part.config, Network::AutoencoderTiny(_))) {
            return Err(Error::Model {
                path: path.to_owned(),
                reason:
                    "it holds no tiny autoencoder, such as TAESD or TAESDXL, to show previews with"
                        .to_owned(),
            });
        }
        let options = LoadOptions::new(device.clone(), DType::F32);
        let progress = &mut |_, _| {};
        let (network, _) = checkpoint.load::<AutoencoderTinyConfig>(role, &options, progress)?;
        Ok(Self::Tiny(Box::new(network)))
    }

    /// Whether latents of `model` can be shown; packed for them.
    ///
    /// # Errors
    /// Latents of other channels or another size, in words for a person.
    pub fn fitting(self, model: &Model) -> Result<Self, String> {
        let latent = &model.latent;
        match self {
            Self::Tiny(tiny) => {
                let config = tiny.config();
                let (channels, down) = (config.latent_channels, config.downsampling());
                if (channels, down) != (latent.channels, latent.downsample) {
                    return Err(format!(
                        "it decodes latents of {channels} channels at 1/{down} size, and those of {} have {} at 1/{}",
                        model.family.name, latent.channels, latent.downsample
                    ));
                }
                Ok(Self::Tiny(Box::new(tiny.packed(model.nominal_latent()))))
            }
            linear => Ok(linear),
        }
    }

    /// The picture of a latent `[1, channels, height, width]` in the denoiser's scale (standard deviation near 1). `None` for a
    /// latent of other channels.
    pub fn picture(&self, latent: Tensor<4>) -> Option<Picture> {
        match self {
            Self::Tiny(tiny) => {
                let pixels = tiny.decode(latent);
                let [_, _, height, width] = pixels.dims();
                Picture::from_planes(width, height, &values(pixels), true)
            }
            Self::Linear(colours, zero) => {
                let [_, channels, height, width] = latent.dims();
                let (latent, area) = (values(latent), height * width);
                if colours.len() != channels || latent.len() != channels * area {
                    return None;
                }
                let planes: Vec<f32> = (0..3)
                    .flat_map(|colour| (0..area).map(move |i| (colour, i)))
                    .map(|(colour, i)| {
                        let shares = colours.iter().enumerate();
                        let sum: f32 = shares.map(|(c, s)| latent[c * area + i] * s[colour]).sum();
                        sum + zero[colour]
                    })
                    .collect();
                Picture::from_planes(width, height, &planes, true)
            }
        }
    }
}

fn values(t: Tensor<4>) -> Vec<f32> {
    t.into_data().convert::<f32>().iter::<f32>().collect()
}

/// The linear map nearest, by least squares, to what `decoder` makes of the cells of a latent of noise.
fn fitted(model: &Model, decoder: &Compressor) -> Previewer {
    let channels = model.latent.channels;
    let shape = [channels, FITTED, FITTED];
    let seeds = [PictureSeed::from(0)];
    let Ok(mut noise) = NoiseStreams::new(NoiseSource::TorchCpu, &seeds) else {
        return Previewer::Linear(vec![[0.0; 3]; channels], [0.0; 3]);
    };
    let latent = noise.initial(shape, &model.device);
    let pixels = decoder.decode(model.scale_out(latent.clone()));
    let side = pixels.dims()[3] / FITTED;
    let (latent, pixels) = (values(latent), values(pixels));
    let area = FITTED * FITTED;
    // Of each cell: its channels and 1, and the mean colour that it has become.
    let known = |cell: usize, k: usize| match k < channels {
        true => f64::from(latent[k * area + cell]),
        false => 1.0,
    };
    let mean = |cell: usize, colour: usize| {
        let (top, left) = (cell / FITTED * side, cell % FITTED * side);
        let width = FITTED * side;
        let plane = &pixels[colour * area * side * side..];
        let rows = (top..top + side).map(|y| &plane[y * width + left..][..side]);
        let sum: f64 = rows.flatten().map(|v| f64::from(*v)).sum();
        sum / (side * side) as f64
    };
    let n = channels + 1;
    let sum = |of: &dyn Fn(usize) -> f64| (0..area).map(of).sum::<f64>();
    let rows = (0..n).map(|i| {
        let squares = (0..n).map(|j| sum(&|cell| known(cell, i) * known(cell, j)));
        let right = (0..3).map(|colour| sum(&|cell| known(cell, i) * mean(cell, colour)));
        squares.chain(right).collect::<Vec<f64>>()
    });
    let solution = solved(rows.collect());
    let colour = |row: &Vec<f64>| [row[n] as f32, row[n + 1] as f32, row[n + 2] as f32];
    let mut colours: Vec<[f32; 3]> = solution.iter().map(colour).collect();
    let zero = colours.pop().unwrap_or_default();
    Previewer::Linear(colours, zero)
}

/// Gauss and Jordan's elimination of n rows of n numbers and their right sides, which the solution replaces. The numbers are a
/// positive definite matrix.
fn solved(mut rows: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for i in 0..rows.len() {
        let pivot = rows[i][i];
        rows[i].iter_mut().for_each(|v| *v /= pivot);
        let own = rows[i].clone();
        for (_, row) in rows.iter_mut().enumerate().filter(|(j, _)| *j != i) {
            let factor = row[i];
            row.iter_mut().zip(&own).for_each(|(v, o)| *v -= factor * o);
        }
    }
    rows
}

/// The picture as text for a terminal of true colour: each character is two pixels, the upper one its background and
/// the lower one a half block. At most `columns` characters wide. Lines end in a colour reset.
pub fn terminal(picture: &Picture, columns: usize) -> String {
    let width = picture.width().min(columns.max(1));
    let height = (picture.height() * width / picture.width()).max(1);
    let small = picture.resize(Size { width, height }, Filter::Area);
    let mut text = String::new();
    for y in (0..height).step_by(2) {
        for x in 0..width {
            let [r, g, b] = small.pixel(x, y);
            text += &format!("\x1b[48;2;{r};{g};{b}m");
            match y + 1 < height {
                true => {
                    let [r, g, b] = small.pixel(x, y + 1);
                    text += &format!("\x1b[38;2;{r};{g};{b}m▄");
                }
                false => text.push(' '),
            }
        }
        text += "\x1b[0m\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latent(values: &[f32], shape: [usize; 4]) -> Tensor<4> {
        let data = burn::tensor::TensorData::new(values.to_vec(), shape);
        Tensor::from_data(data, &Device::flex())
    }

    #[test]
    fn a_zero_latent_is_grey() {
        let sd1 = Previewer::Linear(SD1.channels.to_vec(), SD1.zero);
        let grey = sd1.picture(latent(&[0.0; 16], [1, 4, 2, 2])).unwrap();
        assert_eq!(grey.rgb(), [128; 12]);
        assert!(sd1.picture(latent(&[0.0; 12], [1, 3, 2, 2])).is_none());
        let red = sd1.picture(latent(&[3.0, 0.0, 0.0, 0.0], [1, 4, 1, 1]));
        assert_eq!(red.unwrap().pixel(0, 0), [241, 207, 207]);
        let xl = Previewer::Linear(SDXL.channels.to_vec(), SDXL.zero);
        let zero = xl.picture(latent(&[0.0; 4], [1, 4, 1, 1])).unwrap();
        assert_eq!(zero.pixel(0, 0), [150, 140, 130]);
    }

    #[test]
    fn equations_are_solved() {
        let rows = vec![vec![4.0, 2.0, 8.0], vec![2.0, 3.0, 8.0]];
        let solution = solved(rows);
        assert!((solution[0][2] - 1.0).abs() < 1e-12 && (solution[1][2] - 2.0).abs() < 1e-12);
    }

    #[test]
    fn two_rows_make_a_line() {
        let text = terminal(&Picture::plain(4, 3, [1, 2, 3]), 80);
        assert_eq!(text.lines().count(), 2);
        assert_eq!(text.matches('▄').count(), 4);
        assert!(text.contains("48;2;1;2;3"));
        assert_eq!(
            terminal(&Picture::plain(40, 40, [0; 3]), 10)
                .lines()
                .count(),
            5
        );
    }
}
