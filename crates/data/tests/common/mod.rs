//! Small data sets on disk.
#![allow(dead_code)]

use std::{fs, io::Cursor, path::Path, sync::Arc};

use image::{GrayImage, ImageFormat, Rgb, RgbImage};
use latent_data::{DataConfig, Source, open};

/// A picture whose pixels tell where they come from: red is x, green is y, blue is `mark`.
pub fn gradient(width: u32, height: u32, mark: u8) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, mark]))
}

pub fn png(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

pub fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

pub fn grey_png(picture: &GrayImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Writes a file and the folders it needs.
pub fn put(root: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

pub fn config(root: &Path) -> DataConfig {
    DataConfig::of(root.to_str().unwrap())
}

pub fn source(config: &DataConfig) -> Arc<dyn Source> {
    open(config, &[]).unwrap()
}

/// `count` squares, each of one mark, with captions.
pub fn squares(root: &Path, count: u8, side: u32) {
    for mark in 0..count {
        put(
            root,
            &format!("{mark:03}.png"),
            png(&gradient(side, side, mark)),
        );
        put(root, &format!("{mark:03}.txt"), format!("picture {mark}"));
    }
}
