//! A model of layouts: is in each box what was asked for?

use image::RgbImage;
use image::imageops::{FilterType, crop_imm, resize};
use latent_data::{Example, LabelledBox};
use latent_pipeline::Request;
use latent_pipeline::request::Conditions;
use miette::{IntoDiagnostic, Result};
use serde_json::json;

use crate::asked::Taught;
use crate::network::{Lesson, answers, classifier, share};
use crate::{data, draw};

/// Steps of the classifier.
const STEPS: u64 = 800;

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
pub fn run(Taught { asked, real }: &Taught) -> Result<()> {
    let real = data::examples(real, asked.size, usize::MAX)?;
    let test = data::examples(&asked.test, asked.size, asked.count)?;
    let (pictures, classes) = crops(&real, real.iter().map(|e| &e.picture));
    let kinds = classes
        .iter()
        .max()
        .map_or(0, |most| usize::from(*most) + 1);
    let lesson = Lesson {
        pictures,
        answers: classes.into_iter().map(|class| vec![class]).collect(),
    };
    let network = classifier(&lesson, kinds, STEPS)?;

    let subject = draw::Subject::open(&asked.model, asked.size)?;
    let scratch = tempfile::tempdir().into_diagnostic()?;
    let drawn = subject.draw(test.len(), |i| {
        let path = scratch.path().join(format!("{i}.json"));
        let boxes = test[i].boxes.iter();
        let boxes: Vec<_> = boxes
            .map(|b| json!({"class": b.class, "box": b.area}))
            .collect();
        std::fs::write(&path, json!(boxes).to_string()).into_diagnostic()?;
        Ok(Request {
            condition: Conditions {
                layout: Some(path.into()),
                ..Conditions::default()
            },
            ..Request::default()
        })
    })?;
    let shuffled = draw::shuffled(&drawn);
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
    draw::pairs(&asked.sheet, &originals, &drawn)
}
