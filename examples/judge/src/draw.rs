//! Drawing as `latent generate` draws.

use std::path::Path;

use burn::tensor::{DType, Device};
use image::RgbImage;
use latent_pipeline::request::Size;
use latent_pipeline::{Model, ModelFiles, Quiet, Request, run};
use miette::{IntoDiagnostic, Result, miette};

use crate::network::tensor;

/// A trained model.
pub struct Artist {
    model: Model,
    size: Size,
}

impl Artist {
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
        let autoencoder = self.model.autoencoder.as_ref();
        let autoencoder = autoencoder.ok_or_else(|| miette!("the model has no autoencoder"))?;
        let given = tensor(&[picture], &Device::flex());
        let made = autoencoder.decode(autoencoder.encode(given.clone()).mean);
        let numbers = |x: burn::tensor::Tensor<4>| x.into_data().iter::<f32>().collect();
        Ok((numbers(given), numbers(made.clamp(-1.0, 1.0))))
    }

    /// The pictures of a request; its size is the artist's.
    pub fn draw(&self, request: Request) -> Result<Vec<RgbImage>> {
        let request = Request {
            width: self.size.width,
            height: self.size.height,
            steps: 25,
            ..request
        };
        let outputs = run(&request, &self.model, None, &mut Quiet).into_diagnostic()?;
        let picture = |output: latent_pipeline::Output| {
            let (width, height) = (output.picture.width(), output.picture.height());
            RgbImage::from_raw(width as u32, height as u32, output.picture.rgb().to_vec())
                .ok_or_else(|| miette!("a picture of {width}×{height} pixels has other bytes"))
        };
        outputs.into_iter().map(picture).collect()
    }
}

/// Writes pictures of one size side by side, so many in a row, each pixel `zoom` times as large.
pub fn sheet(path: &Path, pictures: &[RgbImage], columns: u32, zoom: u32) -> Result<()> {
    let Some(first) = pictures.first() else {
        return Ok(());
    };
    let (width, height) = first.dimensions();
    let rows = (pictures.len() as u32).div_ceil(columns);
    let sheet = RgbImage::from_fn(columns * width * zoom, rows * height * zoom, |x, y| {
        let (x, y) = (x / zoom, y / zoom);
        let picture = pictures.get((y / height * columns + x / width) as usize);
        picture.map_or(image::Rgb([255; 3]), |p| {
            *p.get_pixel(x % width, y % height)
        })
    });
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).into_diagnostic()?;
    }
    sheet.save(path).into_diagnostic()
}

/// A sheet of the first real pictures, ten in a row, each row above what was drawn for it.
pub fn pairs(path: &Path, originals: &[RgbImage], drawn: &[RgbImage]) -> Result<()> {
    let rows = originals
        .chunks_exact(10)
        .zip(drawn.chunks_exact(10))
        .take(3);
    let pictures: Vec<RgbImage> = rows.flat_map(|(a, b)| [a, b].concat()).collect();
    sheet(path, &pictures, 10, 1)
}
