//! Pictures side by side.

use burn::tensor::Tensor;
use image::{Rgb, RgbImage};

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
}
