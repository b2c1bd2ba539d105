//! A model of layouts: is in each box what was asked for?

use std::path::PathBuf;

use image::RgbImage;
use image::imageops::{FilterType, crop_imm, resize};
use latent_data::{Example, LabelledBox};
use latent_pipeline::Request;
use miette::{IntoDiagnostic, Result};
use serde_json::json;

use crate::network::{Lesson, answers, classifier, share};
use crate::{data, draw, screen};

#[derive(Debug, clap::Args)]
pub struct Layout {
    /// The folder that training wrote.
    #[arg(long)]
    model: PathBuf,
    /// Scenes for the classifier to learn from.
    #[arg(long)]
    real: String,
    /// Scenes that nothing has learnt from, whose layouts are drawn.
    #[arg(long)]
    test: String,
    /// Sides of pictures.
    #[arg(long, default_value_t = 64)]
    size: u32,
    /// Layouts to draw.
    #[arg(long, default_value_t = 150)]
    count: usize,
    /// Guidance.
    #[arg(long, default_value_t = 3.0)]
    guidance: f64,
    /// Steps of the classifier.
    #[arg(long, default_value_t = 800)]
    steps: u64,
    /// Where a sheet goes: real pictures and below them what was drawn for their layouts.
    #[arg(long)]
    sheet: PathBuf,
}

/// What lies in a box, 32 pixels wide and high.
fn crop(picture: &RgbImage, area: &LabelledBox) -> RgbImage {
    let (width, height) = picture.dimensions();
    let pixel = |part: f32, side: u32| (part * side as f32).round().clamp(0.0, side as f32) as u32;
    let [left, top, right, bottom] = area.area;
    let (left, top) = (
        pixel(left, width).min(width - 1),
        pixel(top, height).min(height - 1),
    );
    let size = |low: u32, high: f32, side: u32| pixel(high, side).saturating_sub(low).max(1);
    let part = crop_imm(
        picture,
        left,
        top,
        size(left, right, width),
        size(top, bottom, height),
    );
    resize(&part.to_image(), 32, 32, FilterType::Triangle)
}

/// The contents of the boxes of examples, taken out of `pictures`, and their classes.
fn crops<'a>(
    examples: &[Example],
    pictures: impl Iterator<Item = &'a RgbImage>,
) -> (Vec<RgbImage>, Vec<u8>) {
    let pairs = examples.iter().zip(pictures);
    pairs
        .flat_map(|(example, picture)| {
            example
                .boxes
                .iter()
                .map(|b| (crop(picture, b), b.class as u8))
        })
        .unzip()
}

/// Measures and prints.
pub fn run(args: &Layout) -> Result<()> {
    let real = data::examples(&args.real, args.size, usize::MAX)?;
    let test = data::examples(&args.test, args.size, args.count)?;
    let (pictures, classes) = crops(&real, real.iter().map(|e| &e.picture));
    let kinds = classes
        .iter()
        .max()
        .map_or(0, |most| usize::from(*most) + 1);
    let lesson = Lesson {
        pictures,
        answers: classes.into_iter().map(|class| vec![class]).collect(),
    };
    let network = classifier(&lesson, kinds, args.steps)?;

    let artist = draw::Artist::open(&args.model, args.size)?;
    let scratch = tempfile::tempdir().into_diagnostic()?;
    let bar = screen::bar("drawing", test.len() as u64);
    let mut drawn = Vec::new();
    for (i, example) in test.iter().enumerate() {
        let path = scratch.path().join(format!("{i}.json"));
        let boxes: Vec<_> = example
            .boxes
            .iter()
            .map(|b| json!({"class": b.class, "box": b.area}))
            .collect();
        std::fs::write(&path, json!(boxes).to_string()).into_diagnostic()?;
        let request = Request {
            layout: Some(path),
            cfg_scale: args.guidance,
            seed: Some(i as u64),
            ..Request::default()
        };
        drawn.extend(artist.draw(request)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mut shuffled = drawn.clone();
    shuffled.rotate_left(1);
    let originals: Vec<RgbImage> = test.iter().map(|e| e.picture.clone()).collect();
    println!(
        "| {} layouts of {kinds} kinds | boxes that show what was asked for |\n|---|---|",
        test.len()
    );
    for (name, pictures) in [
        ("real pictures", &originals),
        ("drawn", &drawn),
        ("drawn, another's layout", &shuffled),
    ] {
        let (crops, wanted) = crops(&test, pictures.iter());
        println!(
            "| {name} | {:.0} % |",
            100.0 * share(&answers(&network, &crops), &wanted)
        );
    }
    draw::pairs(&args.sheet, &originals, &drawn)?;
    println!("sheet: {}", args.sheet.display());
    Ok(())
}
