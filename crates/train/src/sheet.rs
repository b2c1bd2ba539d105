//! Pictures side by side.

use std::io::Cursor;
use std::path::Path;

use burn::tensor::Tensor;
use image::{ImageFormat, Rgb, RgbImage};

use crate::Error;

/// Pictures within −1..=1 as a grid that is about as high as wide, row by row; white where there is none.
///
/// # Shapes
///
/// `[batch, 3, height, width]`
pub fn grid(pictures: Tensor<4>) -> RgbImage {
    let [batch, _, height, width] = pictures.dims();
    let columns = (1..=batch).find(|c| c * c >= batch).unwrap_or(1);
    let rows = batch.div_ceil(columns);
    let mut sheet = RgbImage::from_pixel(
        (columns * width) as u32,
        (rows * height) as u32,
        Rgb([255; 3]),
    );
    let numbers: Vec<f32> = pictures
        .permute([0, 2, 3, 1])
        .into_data()
        .iter::<f32>()
        .collect();
    for (at, pixel) in numbers.as_chunks::<3>().0.iter().enumerate() {
        let (picture, y, x) = (at / (height * width), at / width % height, at % width);
        let (column, row) = (picture % columns, picture / columns);
        let byte = |v: f32| ((v + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8;
        sheet.put_pixel(
            (column * width + x) as u32,
            (row * height + y) as u32,
            Rgb(pixel.map(byte)),
        );
    }
    sheet
}

/// A sheet as a PNG file; `path` is what errors call it.
///
/// # Errors
/// Memory that does not suffice.
pub(crate) fn png(sheet: &RgbImage, path: &Path) -> Result<Vec<u8>, Error> {
    let mut png = Cursor::new(Vec::new());
    let encodes = |e: image::ImageError| Error::io(path, "encode")(std::io::Error::other(e));
    sheet
        .write_to(&mut png, ImageFormat::Png)
        .map_err(encodes)?;
    Ok(png.into_inner())
}

/// The line between two halves, in pixels.
const LINE: u32 = 4;

/// Two grids of as many pictures, one above the other, with a grey line between them.
///
/// # Shapes
///
/// Both `[batch, 3, height, width]`
pub(crate) fn halves(above: Tensor<4>, below: Tensor<4>) -> RgbImage {
    let [above, below] = [above, below].map(grid);
    let (width, height) = above.dimensions();
    let mut sheet = RgbImage::from_pixel(width, 2 * height + LINE, Rgb([128; 3]));
    image::imageops::replace(&mut sheet, &above, 0, 0);
    image::imageops::replace(&mut sheet, &below, 0, i64::from(height + LINE));
    sheet
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn pictures_stand_row_by_row() {
        let device = Device::flex();
        let picture = |v: f32| Tensor::<4>::full([1, 3, 2, 3], v, &device);
        let sheet = grid(Tensor::cat(
            [-1.0, 0.0, 1.0, -0.5, -2.0].map(picture).to_vec(),
            0,
        ));
        assert_eq!(sheet.dimensions(), (9, 4));
        let at = |x, y| sheet.get_pixel(x, y)[0];
        assert_eq!(
            [at(0, 0), at(3, 1), at(6, 0), at(1, 2), at(5, 3), at(8, 3)],
            [0, 128, 255, 64, 0, 255]
        );
    }

    #[test]
    fn halves_lie_apart() {
        let device = Device::flex();
        let of = |v: f32| Tensor::<4>::full([3, 3, 2, 3], v, &device);
        let sheet = halves(of(-1.0), of(1.0));
        assert_eq!(sheet.dimensions(), (6, 4 + 4 + 4));
        let row = |y| sheet.get_pixel(0, y)[0];
        assert_eq!([row(3), row(4), row(7), row(8)], [0, 128, 128, 255]);
    }
}
