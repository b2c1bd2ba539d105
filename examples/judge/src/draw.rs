//! Drawing as `latent generate` draws.

use std::path::Path;

use burn::tensor::{DType, Device};
use image::RgbImage;
use latent_pipeline::request::{GuidanceOptions, Size};
use latent_pipeline::resources::Disk;
use latent_pipeline::{Model, ModelFiles, Quiet, Request, run};
use miette::{IntoDiagnostic, Result, miette};

use crate::network::tensor;
use crate::screen;

/// A trained model, and the size of its pictures.
pub struct Subject {
    model: Model,
    size: Size,
}

impl Subject {
    /// Of the folder that training wrote, for pictures of that size.
    pub fn open(folder: &Path, side: u32) -> Result<Self> {
        let files = ModelFiles {
            model: folder.to_owned(),
            ..ModelFiles::default()
        };
        let opened = Model::open(&files, &Device::flex(), DType::F32, &mut |_, _, _| {});
        let (model, _) = opened.into_diagnostic()?;
        let size = Size {
            width: side as usize,
            height: side as usize,
        };
        Ok(Self { model, size })
    }

    /// What the autoencoder makes of a picture, within −1..=1, channel by channel.
    pub fn reconstruct(&self, picture: &RgbImage) -> Result<(Vec<f32>, Vec<f32>)> {
        let autoencoder = self.model.compressor().into_diagnostic()?;
        let autoencoder = autoencoder.ok_or_else(|| miette!("the model has no autoencoder"))?;
        let given = tensor(&[picture], &Device::flex());
        let made = autoencoder.decode(autoencoder.encode(given.clone()).mean);
        let numbers = |x: burn::tensor::Tensor<4>| x.into_data().iter::<f32>().collect();
        Ok((numbers(given), numbers(made.clamp(-1.0, 1.0))))
    }

    /// The pictures of requests, each from a seed of its own, with the guidance that the model was exported with.
    pub fn draw(
        &self,
        count: usize,
        request: impl Fn(usize) -> Result<Request>,
    ) -> Result<Vec<RgbImage>> {
        let bar = screen::bar("drawing", count as u64);
        let mut drawn = Vec::new();
        for i in 0..count {
            let asked = request(i)?;
            let request = Request {
                width: self.size.width,
                height: self.size.height,
                steps: 25,
                seed: Some(1000 * i as u64),
                guidance: GuidanceOptions {
                    scale: self.model.guidance.unwrap_or(1.0),
                    ..asked.guidance
                },
                ..asked
            };
            for output in
                run(&request, &self.model, &Disk::default(), None, &mut Quiet).into_diagnostic()?
            {
                let (width, height) = (output.picture.width(), output.picture.height());
                let picture =
                    RgbImage::from_raw(width as u32, height as u32, output.picture.rgb().to_vec());
                drawn.push(picture.ok_or_else(|| {
                    miette!("a picture of {width}×{height} pixels has other bytes")
                })?);
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(drawn)
    }
}

/// What was drawn, each in the place of another.
pub fn shuffled(drawn: &[RgbImage]) -> Vec<RgbImage> {
    let mut drawn = drawn.to_vec();
    drawn.rotate_left(1);
    drawn
}

/// Writes pictures of one size side by side, so many in a row, and says where.
pub fn sheet(path: &Path, pictures: &[RgbImage], columns: u32) -> Result<()> {
    let Some(first) = pictures.first() else {
        return Ok(());
    };
    let (width, height) = first.dimensions();
    let rows = (pictures.len() as u32).div_ceil(columns);
    let sheet = RgbImage::from_fn(columns * width, rows * height, |x, y| {
        let picture = pictures.get((y / height * columns + x / width) as usize);
        picture.map_or(image::Rgb([255; 3]), |p| {
            *p.get_pixel(x % width, y % height)
        })
    });
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).into_diagnostic()?;
    }
    sheet.save(path).into_diagnostic()?;
    println!("sheet: {}", path.display());
    Ok(())
}

/// A sheet of the first real pictures, ten in a row, each row above what was drawn for it.
pub fn pairs(path: &Path, originals: &[RgbImage], drawn: &[RgbImage]) -> Result<()> {
    let rows = originals
        .chunks_exact(10)
        .zip(drawn.chunks_exact(10))
        .take(3);
    let pictures: Vec<RgbImage> = rows.flat_map(|(a, b)| [a, b].concat()).collect();
    sheet(path, &pictures, 10)
}
